"""Noise and sensitivity against what is stated: the two numbers everything else rests on.

A release whose noise and sensitivity are wrong by the same factor is private as stated (only its learning rate is
off) and gives a warning; what counts is their ratio.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from scipy import special

from dpaudit.accounting.composed import EpsilonOf
from dpaudit.accounting.law import Laplace
from dpaudit.bounds.lower_bound import Finding
from dpaudit.inspection.noise import NoiseRun
from dpaudit.inspection.probe import Probe
from dpaudit.inspection.questions import ANYWHERE, CLIP, OF_ITS_OWN
from dpaudit.inspection.samples import EstimateInterval, Move, scale_of
from dpaudit.inspection.sight import Sight, least_ratio, resolution

# Smallest relative deviation worth a word: with three digits a smaller one reads as 1.
TOLERANCE = 5e-3
CONFIDENCE = 0.95


def check_scale(probe: Probe, noise: NoiseRun, moves: Sequence[Move], epsilon_of: EpsilonOf) -> list[Finding]:
    """Too little noise for the sensitivity there is, per variable; then a scale that is merely not the stated one."""
    rooms = [(place, size) for size in _sizes(noise) for place in _places(probe)]
    level, of_moves = probe.level / 3 / (len(rooms) * len(noise.kinds)), probe.level / 3 / len(moves)
    worst: dict[tuple[str, str], tuple[float, Finding]] = {}
    for place, size in rooms:
        room = _room(probe, noise, moves, place, size, level, of_moves)
        sigma, findings = _judge(probe, place, noise, *room, of_moves)
        for finding in findings:  # the same fault shows in several variables
            key = (finding.check, finding.severity)
            if key not in worst or sigma < worst[key][0]:
                worst[key] = (sigma, finding)
    found = [
        replace(finding, true_epsilon=epsilon_of(sigma)) if finding.severity == "violation" else finding
        for sigma, finding in worst.values()
    ]
    if any(finding.severity == "violation" for finding in found):
        return [finding for finding in found if finding.severity == "violation"]
    return [*_by_content(probe, noise, probe.level / 3), *found]


def effective_noise_multiplier(probe: Probe, noise: NoiseRun, moves: Sequence[Move]) -> EstimateInterval:
    """Measured noise over measured sensitivity, the worst over variables, with its 95 % interval.

    Infinite when nothing moves the release.
    """
    rooms = [(place, size) for size in _sizes(noise) for place in _places(probe)]
    level = (1 - CONFIDENCE) / 4 / len(rooms)
    found = []
    for place, size in rooms:
        kinds, worst = _room(probe, noise, moves, place, size, level, probe.level / 3 / len(moves))
        # The largest of many moves is too large by chance: the surest one counts where no other is surely larger.
        surest = min(
            (move for move in moves if (move.variable, move.batch_size) == (worst.variable, worst.batch_size)),
            key=lambda move: (move.error, -move.size),
        )
        larger = worst.interval(probe.level / 3 / len(moves)).low > surest.size
        moved = (worst if larger else surest).interval(level)
        least = min(kinds.values(), key=lambda interval: interval.high)
        pairs = ((least.low, moved.high), (least.estimate, moved.estimate), (least.high, moved.low))
        found.append([n / m if m > 0 else math.inf for n, m in pairs])
    # So it is with places: that of all variables in an ordinary batch counts where no other is surely worse.
    ordinary = found[rooms.index((None, probe.batch_size))]
    worst_of_all = min(found, key=lambda each: each[2])
    _, estimate, high = worst_of_all if worst_of_all[2] < ordinary[1] else ordinary
    sigma = probe.stated.noise_multiplier
    return EstimateInterval(min(each[0] for each in found) * sigma, estimate * sigma, max(high, estimate) * sigma)


def sights_of_scale(probe: Probe, noise: NoiseRun, moves: Sequence[Move]) -> list[Sight]:
    """What these checks would have found."""
    level = probe.level / 3
    zeros = (noise.kind == 0).sum()
    ratio = min(
        least_ratio(level / (len(noise.sizes) + 1) / len(noise.kinds), float(zeros * size)) for size in noise.sizes
    )
    steps = resolution(level / len(moves))
    kinds = (
        ("an example that moves too far, wherever it is", CLIP),
        ("a clip that depends on norm or place", ANYWHERE),
    )
    sights = [
        Sight("too little noise", f"{ratio * (1 - TOLERANCE):.3g} times the stated noise in the smallest variable")
    ]
    for kind, remedy in (*kinds, ("an example that changes what others count", OF_ITS_OWN)):
        asked = [move for move in moves if move.remedy == remedy]
        if not asked:
            sights.append(Sight(kind, "no time was left for it: a longer budget asks it (--budget)", asked=False))
            continue
        low, high = (1 + TOLERANCE + steps * pick(move.error for move in asked) for pick in (min, max))
        far = (
            f"{low:.4g} times" if high - low < 0.01 else f"{low:.4g} (a whole batch) to {high:.3g} times (one example)"
        )
        how = "without error" if high <= 1 + TOLERANCE else "with noise, and without by Mechanism(reset=...)"
        sights.append(Sight(kind, f"{far} as far as allowed, by {len(asked)} questions {how}"))
    return sights


def _places(probe: Probe) -> list[int | None]:
    return [*range(len(probe.slices)), None]


def _sizes(noise: NoiseRun) -> list[int]:
    return sorted({len(kind.batch) for kind in noise.kinds}, reverse=True)


def _room(
    probe: Probe, noise: NoiseRun, moves: Sequence[Move], place: int | None, size: int, level: float, of_moves: float
) -> tuple[dict[int, EstimateInterval], Move]:
    """Noise on each kind of batch of one size, in one variable, and the move there that is surely the largest."""
    kinds = {
        index: _relative(probe, noise, place, index, level)
        for index, kind in enumerate(noise.kinds)
        if len(kind.batch) == size
    }
    # In a smaller batch a slow mechanism is not asked in every variable; what moves over all of them stands in for it.
    there = [move for move in moves if move.variable == place and move.batch_size == size]
    there = there or [move for move in moves if move.variable is None and move.batch_size == size]
    there = there or [move for move in moves if move.variable is None and move.batch_size == probe.batch_size]
    return kinds, max(there, key=lambda move: move.interval(of_moves).low)


def _relative(probe: Probe, noise: NoiseRun, place: int | None, kind: int, level: float) -> EstimateInterval:
    """Noise on one kind of batch over the stated noise."""
    squares = noise.squares[noise.kind == kind]
    if place is None:
        found = scale_of(float(squares.sum()), len(squares) * int(noise.sizes.sum()), level=level)
    else:
        found = scale_of(float(squares[:, place].sum()), len(squares) * int(noise.sizes[place]), level=level)
    law = probe.stated.law
    if isinstance(law, Laplace):
        return EstimateInterval(law.ratio(found.low), law.ratio(found.estimate), law.ratio(found.high))
    return found


def _by_content(probe: Probe, noise: NoiseRun, level: float) -> list[Finding]:
    """Two kinds of batches with different noise: its size tells which one it was."""
    sums = noise.squares.sum(axis=1)
    for kind in range(1, len(noise.kinds)):
        alike = [i for i in range(kind) if len(noise.kinds[i].batch) == len(noise.kinds[kind].batch)]
        if not alike or not noise.sound[noise.kind == kind].all():
            continue
        zeros, other = sums[noise.kind == alike[0]], sums[noise.kind == kind]
        # What a float32 sum of large gradients leaves is not noise.
        ratio = float(other.mean() / zeros.mean()) if zeros.any() else math.inf
        freedom = len(other) * noise.sizes.sum(), len(zeros) * noise.sizes.sum()
        tail = min(special.fdtr(*freedom, ratio), special.fdtrc(*freedom, ratio))
        if abs(math.sqrt(ratio) - 1) < TOLERANCE or 2 * tail * len(noise.kinds) >= level:
            continue
        return [
            Finding(
                check="noise by content",
                severity="violation",
                fed=f"{noise.kinds[alike[0]].words}, and {noise.kinds[kind].words}",
                observed=f"{math.sqrt(ratio):.4g} times the noise on the second: its size tells what the batch holds",
                expected="noise that does not depend on the gradients",
                remedy="compute noise and denominator from fixed numbers only",
                rung=1,
            )
        ]
    return []


def _judge(
    probe: Probe, place: int | None, noise: NoiseRun, kinds: dict[int, EstimateInterval], move: Move, level: float
) -> tuple[float, list[Finding]]:
    where = "over all variables" if place is None else f"in variable {place}"
    sigma = probe.stated.noise_multiplier
    least = min(kinds.values(), key=lambda interval: interval.high)
    size = len(noise.kinds[next(iter(kinds))].batch)
    moved = move.interval(level)
    ratio = least.high / moved.low if moved.low > 0 else math.inf
    if sigma == 0:
        ratio, least = (1 / moved.low if moved.low > 0 else math.inf), EstimateInterval(1.0, 1.0, 1.0)
    if ratio < 1 - TOLERANCE:
        best = least.estimate / moved.estimate
        truth = f"noise multiplier {best * sigma:.3g} instead of {sigma:g}"
        findings = []
        if least.high < 1 - TOLERANCE:
            findings.append(
                Finding(
                    check="noise",
                    severity="violation",
                    fed=f"one batch of {size} gradients, again and again",
                    observed=f"{least.estimate:.3g} times the stated noise {where}{_only(noise, kinds)}: {truth}",
                    expected=f"standard deviation {probe.stated.noise(size):.4g} in every coordinate",
                    remedy="add noise of noise_multiplier x clip / denominator to every variable, at every step",
                    rung=1,
                )
            )
        if moved.low > 1 + TOLERANCE or not findings:
            as_stated = least.low <= 1 + TOLERANCE and moved.low > 1 + TOLERANCE
            beside = "" if as_stated else f" beside {least.estimate:.4g} times the stated noise"
            findings.append(
                Finding(
                    check="sensitivity",
                    severity="violation",
                    fed=move.canary,
                    observed=f"one example moves the release {moved.estimate:.4g} times as far as allowed{beside}: "
                    f"{truth}",
                    expected=f"at most {probe.stated.sensitivity(move.batch_size):.4g} in L{probe.stated.law.norm} "
                    "norm",
                    remedy=move.remedy,
                    rung=1,
                )
            )
        return best * sigma, findings
    most = max(kinds.values(), key=lambda interval: interval.low)
    if sigma and (most.low > 1 + TOLERANCE or least.high < 1 - TOLERANCE):
        shown = most if most.low > 1 + TOLERANCE else least
        # Alike when what moves is nearer to the noise than to what is stated.
        nearer = moved.estimate**2 > shown.estimate if shown.estimate > 1 else True
        why = "both are scaled alike" if nearer else "there is more noise than stated"
        return math.inf, [
            Finding(
                check="scale",
                severity="warning",
                fed=f"batches of {size} gradients",
                observed=f"{shown.estimate:.3g} times the stated noise {where}, {moved.estimate:.3g} times the "
                f"stated sensitivity: {why}, and privacy does not suffer",
                expected="noise and sensitivity as stated",
                remedy="state the denominator that is used; noise beyond the stated only costs accuracy",
                rung=1,
            )
        ]
    return math.inf, []


def _only(noise: NoiseRun, kinds: dict[int, EstimateInterval]) -> str:
    """On which kind of batch the noise is too small, where it is not on every one."""
    low = [interval.high < 1 - TOLERANCE for interval in kinds.values()]
    empty = [noise.kinds[index].empty for index in kinds]
    if low == empty:
        return " when there is nothing to protect"
    return " when the batch holds gradients" if low == [not each for each in empty] else ""
