"""Which questions an inspection asks, in which order, and what their answers say together."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dpaudit.accounting.composed import EpsilonOf
from dpaudit.accounting.law import DiscreteGaussian, Laplace, correlated
from dpaudit.bounds.lower_bound import Finding
from dpaudit.inspection.after import Opaque
from dpaudit.inspection.check_batch_size import check_denominator, check_empty, check_sizes
from dpaudit.inspection.check_extremes import check_extremes
from dpaudit.inspection.check_independence import (
    check_directions,
    check_fresh,
    check_independence,
    sights_of_directions,
    sights_of_independence,
)
from dpaudit.inspection.check_law import check_law, sights_of_law
from dpaudit.inspection.check_rare import check_excited, check_rare, rare_steps, sights_of_rare
from dpaudit.inspection.check_scale import check_scale, effective_noise_multiplier, sights_of_scale
from dpaudit.inspection.check_state import check_beyond_clip, check_repeats, check_state
from dpaudit.inspection.clock import Clock
from dpaudit.inspection.listen import CALLS, OF_EACH, listen
from dpaudit.inspection.mechanism import Mechanism
from dpaudit.inspection.microbatches import name_microbatches
from dpaudit.inspection.noise import NoiseRun, smaller
from dpaudit.inspection.probe import Probe
from dpaudit.inspection.samples import LEAST_CALLS, Move, Patience, measure_moves
from dpaudit.inspection.sight import Sight
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError

SECONDS = 10.0  # planned for an inspection at effort 1, where no budget is given; less where the mechanism is fast
BUSY, AT_MOST = 3.0, 6.0  # times that are planned, and taken, on a machine that is busy with other work
# Shares of that time at which each stage ends: the run, the moves in batches of each size, the rest but for new builds.
UNTIL_NOISE, UNTIL_MOVES, UNTIL_LAST = 0.5, (0.75, 0.83, 0.88), 0.95
FOR_CURVE = 0.3
FOR_BUILDS = 0.1
LEAST = 96  # calls of a run of little effort
NUMBERS = 4_000_000  # in a batch that is fed again and again
FEWEST = 8  # examples of such a batch
PORTFOLIO = 24  # calls that one more repeat of the questions about an example beside others costs, with the curve's
NEARLY = 0.9  # of the stated noise
STILL = 0.5  # of what one example may move beside such noise: less is no measurement of a sensitivity


def clock_of(effort: float, budget: float | None) -> Clock:
    """The time of an inspection that begins now."""
    return Clock(AT_MOST * SECONDS * effort, SECONDS * effort) if budget is None else Clock(budget)


@dataclass(frozen=True)
class Asked:
    """What the questions found."""

    findings: list[Finding]
    sights: list[Sight]
    noise_multiplier: float | None
    interval: tuple[float, float] | None


def everything(
    probe: Probe, epsilon_of: EpsilonOf, *, effort: float, planned: int, advance: Callable[[float], None]
) -> Asked:
    """All questions that there is time for by the clock of the probe.

    Args:
        probe: the mechanism.
        epsilon_of: ε of an effective noise multiplier.
        effort: factor on the number of calls.
        planned: examples in a batch as it is planned, where smaller ones are asked.
        advance: told by how many hundredths the inspection is further.
    """
    clock = probe.clock
    each, busy = _speed(probe)
    clock.planned = min(clock.seconds, clock.planned * busy)
    clock.stage(UNTIL_NOISE * 0.2)
    denominator, of_the_mean = check_denominator(probe)
    asked = probe
    if of_the_mean:  # one cause is one finding: all else is asked with the size of the batch as public
        asked = replace(probe, stated=replace(probe.stated, adjacency="zero-out", denominator="batch"))
    large, unasked = larger(probe, planned)
    begin = time.monotonic()
    clock.stage(UNTIL_NOISE, planned=True)
    if probe.stated.noise_multiplier == 0:
        noise = listen(replace(asked, stated=replace(asked.stated, noise_multiplier=1.0)), calls=16, large=large)
    else:
        noise = listen(
            asked,
            calls=max(LEAST, round(CALLS * effort)),
            planned=max(1.0, clock.left / each),
            large=large,
            advance=lambda share: advance(60 * share),
        )
    each = max(time.monotonic() - begin, 1e-9) / noise.calls
    patience = FOR_CURVE * clock.planned / each / PORTFOLIO
    points, places, repeats = (
        int(np.clip(patience, least, most)) for least, most in ((12, 48), (6, 64), (LEAST_CALLS, 100))
    )
    builds = int(np.clip(FOR_BUILDS * clock.planned / each, 2, 64 * max(1.0, effort)))
    sizes = [
        probe.batch_size,
        *([smaller(probe)] if probe.mechanism.partial else []),
        *([] if large is None else [large]),
    ]
    moved: list[Move] = []
    for size, until in zip(sizes, UNTIL_MOVES, strict=False):
        clock.stage(until)
        if moved and not clock.allows(f"one example in batches of {size}"):
            continue
        moved += measure_moves(
            asked, size, noise, level=probe.level / 3 / 32, patience=Patience(points, places, repeats)
        )
        advance(30 / len(sizes))
    clock.stage(UNTIL_LAST)
    of_the_noise = _of_the_noise(asked, noise, moved, epsilon_of)
    # Steps without noise are in one batch size more often than in another by chance.
    now_and_then = any(finding.check in ("rare steps", "correlated steps") for finding in of_the_noise)
    if of_the_mean:
        findings = [*denominator, *of_the_noise]
    else:
        findings = [*of_the_noise, *([] if now_and_then else denominator)]
    zeros = _plain(asked, noise)
    if not of_the_mean:
        findings += check_empty(asked, zeros)
    findings += [*check_extremes(asked, zeros, noise.spacing), *check_state(asked)]
    if probe.stated.noise_multiplier:
        findings += [] if now_and_then else check_excited(asked, noise)
        if (
            large is not None
            and not any(each.severity == "violation" for each in findings)
            and correlated(asked.stated.law) is None
        ):
            findings += check_sizes(asked, noise, large)
        clock.stage(1.0)
        findings += check_fresh(asked, builds)
    measured = effective_noise_multiplier(asked, noise, moved)
    sights = [*sights_of_scale(asked, noise, moved), *_sights(asked, noise), *unasked, *clock.sights()]
    advance(10)
    findings = name_microbatches(asked, findings)
    why = ""
    if any(finding.check == "correlated steps" for finding in findings):
        why = "every answer holds something of the steps before it: state what follows the noise, or its law"
    elif (
        probe.mechanism.reset is None
        and not any(finding.check == "sensitivity" for finding in findings)
        and moved[0].interval(probe.level).high < STILL * min(1.0, float(noise.level.max()))
    ):
        why = "the release does not move along what was fed, as in another basis: Mechanism(reset=...) is needed"
    if why:
        sights = [Sight(each.kind, why, asked=False) if "example" in each.kind else each for each in sights]
        return Asked(findings, sights, None, None)
    return Asked(findings, sights, measured.estimate, (measured.low, measured.high))


def handy(mechanism: Mechanism) -> Mechanism:
    """The mechanism, asked with smaller batches where its own hold more numbers than can be fed again and again."""
    coordinates = sum(math.prod(shape) for shape in mechanism.shapes)
    most = max(FEWEST, NUMBERS // coordinates)
    return replace(mechanism, batch_size=most) if mechanism.partial and mechanism.batch_size > most else mechanism


def larger(probe: Probe, planned: int) -> tuple[int | None, list[Sight]]:
    """Size of batches larger than the planned one, as Poisson sampling draws them; or why they are not asked."""
    size = max(2 * probe.batch_size + 1, planned)
    kind = f"batches of more than {probe.batch_size} examples"
    if not probe.mechanism.partial:
        return None, []
    if not probe.clock.allows(kind):
        return None, []
    try:
        probe.release(probe.zeros(size))
    except InputError as error:
        return None, [Sight(kind, str(error), asked=False)]
    return size, [Sight(f"batches of more than {size} examples", "Mechanism(batch_size=...) asks them", asked=False)]


def _speed(probe: Probe) -> tuple[float, float]:
    """Seconds of one call (the first one may build something), and how much longer that is for other work."""
    zeros = probe.zeros(probe.batch_size)
    probe.releases(zeros, 1)
    begin, used = time.monotonic(), time.process_time()
    calls = len(probe.releases(zeros, 3, least=1))
    used, wall = time.process_time() - used, time.monotonic() - begin
    return max(wall / calls, 1e-9), float(np.clip(wall / max(used, 1e-9), 1.0, BUSY))


def _of_the_noise(probe: Probe, noise: NoiseRun, moved: list[Move], epsilon_of: EpsilonOf) -> list[Finding]:
    """What one run says; steps that are not like the others are one finding, and left out of the rest."""
    if probe.stated.noise_multiplier == 0:
        return check_scale(probe, noise, moved, epsilon_of)
    dependent = check_independence(probe, noise)
    if any(finding.check == "correlated steps" for finding in dependent):
        return dependent  # what a step remembers of the ones before it is in every answer
    alike = any(finding.check in ("frozen seed", "shared seed") for finding in dependent)
    rare = rare_steps(probe, noise)
    if alike or not rare.any():
        findings = []
    else:
        findings, noise = check_rare(noise, rare), noise.without(rare)
    # How far the deviation of draws that are alike lies from the stated one is chance.
    findings += [f for f in check_scale(probe, noise, moved, epsilon_of) if not (alike and f.check == "noise")]
    findings = [*dependent, *findings]
    if dependent or noise.missing:
        return findings  # its shape and its directions follow from that
    free = check_directions(probe, noise)
    # Scores of another law follow its shape only where the scale is the stated one.
    misfit = isinstance(probe.stated.law, Laplace | DiscreteGaussian) and bool(findings)
    other = [] if free or misfit else check_law(probe, noise)
    if other and float(noise.level.min()) > NEARLY:  # a tail that is cut off takes a little of the deviation along
        findings = [finding for finding in findings if finding.check not in ("noise", "scale")]
    return [*findings, *free, *other]


def only_what_outlasts(probe: Probe, step: Opaque, effort: float) -> Asked:
    """After a step that cannot be undone: what no such step can hide."""
    reason = f"the release comes after {step.name}: {step.reason}"
    hidden = ("too little noise", "an example that moves too far", "shape and directions of the noise")
    sights = [Sight(kind, f"{reason}; inspect the noisy sum before it", asked=False) for kind in hidden]
    findings = [*check_repeats(probe, int(64 * max(1.0, effort))), *check_fresh(probe), *check_state(probe)]
    sights.append(Sight("the same release twice", "two equal releases of one batch"))
    if probe.mechanism.reset is None:
        sights.append(
            Sight(
                "gradients beyond the clip",
                "a mechanism that can be reset is needed: Mechanism(reset=...)",
                asked=False,
            )
        )
    else:
        findings += check_beyond_clip(probe)
        sights.append(Sight("gradients beyond the clip", "a release that changes between norms of 10 C and 1000 C"))
    return Asked(findings, sights, None, None)


def _sights(probe: Probe, noise: NoiseRun) -> list[Sight]:
    sights = []
    if probe.stated.noise_multiplier and not noise.missing:
        sights += [
            *sights_of_rare(probe, noise),
            *sights_of_independence(probe, noise),
            *sights_of_directions(probe, noise),
            *sights_of_law(probe, noise),
        ]
    if probe.mechanism.fresh is None:
        sights.append(
            Sight("seeds that a program repeats", "what builds it anew is needed: Mechanism(fresh=...)", asked=False)
        )
    if probe.mechanism.state is None:
        sights.append(
            Sight("what is published beside the release", "Mechanism(state=..., reset=...) is needed", asked=False)
        )
    return sights


def _plain(probe: Probe, noise: NoiseRun) -> FloatArray:
    """Releases of batches of zeros, as they came."""
    zeros = probe.zeros(probe.batch_size)
    return (
        noise.values[noise.kind == 0]
        if correlated(probe.stated.law) is None
        else probe.releases(zeros, LEAST, least=OF_EACH)
    )
