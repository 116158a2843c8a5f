"""A federated server in later rounds, after its clip has moved: the same questions again.

A clip that adapts follows the number of updates below it, which is released too
(`Andrew et al. (2021) <https://arxiv.org/abs/1905.03871>`_).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from dpaudit.accounting.composed import EpsilonOf
from dpaudit.accounting.law import GaussianNoise
from dpaudit.bounds.lower_bound import Finding
from dpaudit.inspection.array_adapters import Aggregate
from dpaudit.inspection.mechanism import Array
from dpaudit.inspection.probe import Probe
from dpaudit.inspection.sight import POWER, Sight
from dpaudit.runtime.check import FloatArray

FACTOR = 1e3  # of long updates over the clip, and of the clip over short ones
WARM = 5  # rounds before the questions
STARTS = 24
LEAST_STARTS = 12  # of the slowest server too
TOLERANCE = 0.05


@dataclass(frozen=True)
class Rounds:
    """How a server is asked in later rounds.

    Args:
        start: a new aggregation, in its first round.
        clients: in a round.
        weight: examples an ordinary client reports.
        count_noise: standard deviation of the noise on the count that is stated; None where it is not.
    """

    start: Callable[[], Aggregate]
    clients: int
    weight: float
    count_noise: float | None

    def play(self, probe: Probe, aggregate: Aggregate, updates: list[Array]) -> FloatArray:
        """One round of updates that `Probe.arrays` has made: how far the model moved, on the scale of the sum."""
        origin: list[Array] = [np.zeros(shape, np.float32) for shape in probe.mechanism.shapes]
        moved = aggregate(origin, updates, np.full(len(updates[0]), self.weight, np.float32))
        flat = np.concatenate([np.ravel(array).astype(np.float64) for array in moved])
        return flat * probe.stated.divisor(self.clients)


def total_multiplier(sum_multiplier: float, count_noise: float | None) -> float:
    """Noise multiplier of a noisy sum and a noisy count together: theorem 1 of Andrew et al. (2021).

    >>> round(total_multiplier(1.05272, 1.6), 4)
    1.0
    """
    if count_noise is None or sum_multiplier == 0:
        return sum_multiplier
    return 0.0 if count_noise == 0 else (sum_multiplier**-2 + (2 * count_noise) ** -2) ** -0.5


def check_later_rounds(
    probe: Probe, rounds: Rounds, epsilon_of: EpsilonOf, *, effort: float, seconds: float
) -> tuple[list[Finding], list[Sight]]:
    """Some clients are held, the others varied, in a round after others that move the clip up or down.

    What the held clients move may not exceed what the noise of the round is made for, and that noise may not depend on
    the other clients of the round.
    """
    kind = "a client that moves too far in later rounds"
    if not isinstance(probe.stated.law, GaussianNoise) or probe.stated.noise_multiplier == 0:
        return [], [Sight(kind, "only Gaussian noise is compared from round to round", asked=False)]
    unit, across = _two_directions(probe)
    held = max(2, rounds.clients // 4)
    clip = probe.stated.clip
    fixed = np.tile(FACTOR * clip * unit, (held, 1))
    pairs = max(1, (rounds.clients - held) // 2)
    if not probe.clock.allows(kind):
        return [], []
    others = {
        f"{2 * pairs} others with short updates": np.full(pairs, 1 / FACTOR),
        f"{2 * pairs} others with long updates": np.full(pairs, FACTOR),
        f"{2 * pairs} others, half of them with long updates": np.where(np.arange(pairs) % 2, FACTOR, 1 / FACTOR),
        "no others": np.zeros(0),
    }
    histories = {"long": FACTOR, "short": 1 / FACTOR}
    begin = time.monotonic()
    twice = probe.arrays(np.tile(FACTOR * clip * unit, (2 * rounds.clients, 1)))
    _question(probe, rounds, twice, probe.arrays(fixed))
    each = (time.monotonic() - begin) * len(others) * len(histories)
    starts = int(np.clip(seconds / max(each, 1e-9), LEAST_STARTS, STARTS * max(1.0, effort)))
    asked = len(histories) * len(others)
    level = probe.level / (3 * asked)
    margin = float(stats.t.isf(level, starts - 1))
    findings: list[Finding] = []
    for name, factor in histories.items():
        warm = probe.arrays(np.tile(factor * clip * unit, (rounds.clients, 1)))
        fed = f"{WARM} rounds of {name} updates, then {held} clients with long updates beside "
        first: FloatArray | None = None
        for words, norms in others.items():
            if not probe.clock.allows(kind):
                continue
            batch = probe.arrays(np.concatenate([fixed, clip * np.concatenate([norms, -norms])[:, None] * across]))
            shares, noises = _measured(probe, rounds, warm, batch, starts, unit, across)
            ratio = shares / held / noises * probe.stated.noise_multiplier
            error = margin * float(ratio.std(ddof=1)) / math.sqrt(starts)
            if ratio.mean() - error > 1 + TOLERANCE:
                findings.append(_too_far(probe, fed + words, float(ratio.mean()), epsilon_of))
            logs = np.log(noises)
            first = logs if first is None else first
            gap = float(logs.mean() - first.mean())
            error = margin * math.sqrt(float(logs.var(ddof=1) + first.var(ddof=1)) / starts)
            if abs(gap) - error > TOLERANCE:
                findings.append(_follows(fed + words, math.exp(gap), next(iter(others))))
    blur = (margin + stats.norm.ppf(POWER)) * probe.stated.noise_multiplier / held / math.sqrt(starts)
    seen = f"{1 + TOLERANCE + blur:.3g} times as far as allowed, after {WARM} rounds, by {starts} starts"
    return findings[:1], [Sight(kind, seen)]


def _two_directions(probe: Probe) -> tuple[FloatArray, FloatArray]:
    """Two orthogonal unit vectors: of the held clients and of the others."""
    unit = probe.direction(None)
    across = probe.random_direction(np.random.default_rng([probe.seed, 41]))
    across = across - (across @ unit) * unit
    return unit, across / np.linalg.norm(across)


def _question(probe: Probe, rounds: Rounds, warm: list[Array], batch: list[Array]) -> FloatArray:
    """The question's round after `WARM` others."""
    aggregate = rounds.start()
    for _ in range(WARM):
        rounds.play(probe, aggregate, warm)
    return rounds.play(probe, aggregate, batch)


def _measured(
    probe: Probe,
    rounds: Rounds,
    warm: list[Array],
    batch: list[Array],
    starts: int,
    unit: FloatArray,
    across: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """What the held clients moved, and the deviation of the noise, for each start."""
    shares, noises = np.empty(starts), np.empty(starts)
    for start in range(starts):
        release = _question(probe, rounds, warm, batch)
        shares[start] = release @ unit
        rest = release - shares[start] * unit - (release @ across) * across
        noises[start] = np.linalg.norm(rest) / math.sqrt(probe.coordinates - 2)
    return shares, np.maximum(noises, 1e-300)


def _too_far(probe: Probe, fed: str, ratio: float, epsilon_of: EpsilonOf) -> Finding:
    return Finding(
        check="later rounds",
        severity="violation",
        fed=fed,
        observed=f"each of them moves the sum {ratio:.3g} times as far as the noise of that round is made for",
        expected="at most as far as the clip for which the noise is made, in every round",
        remedy="clip every update at one norm that is known before the round, and make the noise for it",
        rung=1,
        true_epsilon=epsilon_of(probe.stated.noise_multiplier / ratio),
    )


def _follows(fed: str, ratio: float, beside: str) -> Finding:
    return Finding(
        check="later rounds",
        severity="violation",
        fed=fed,
        observed=f"{ratio:.3g} times the noise that there is beside {beside}: the noise tells who the others are",
        expected="noise that depends on earlier rounds only",
        remedy="compute clip, noise and denominator of a round from what earlier rounds released",
        rung=1,
    )
