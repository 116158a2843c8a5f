"""Rung 1 of the audit ladder: a mechanism is asked chosen questions, and its own arithmetic is held against it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dpaudit.accounting.claim import Claim
from dpaudit.accounting.composed import EpsilonOf, epsilon_under
from dpaudit.accounting.law import DiscreteGaussian, Laplace, correlated
from dpaudit.bounds.lower_bound import Finding
from dpaudit.inspection.after import Opaque
from dpaudit.inspection.check_batch_size import check_denominator, check_empty
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
from dpaudit.inspection.check_state import check_beyond_clip, check_determinism, check_repeats, check_state
from dpaudit.inspection.mechanism import Array, Mechanism, Release, Stated
from dpaudit.inspection.microbatches import name_microbatches
from dpaudit.inspection.noise import CALLS, LEAST, NoiseRun, listen, smaller
from dpaudit.inspection.probe import Probe
from dpaudit.inspection.samples import LEAST_CALLS, Move, measure_moves
from dpaudit.inspection.sight import Sight
from dpaudit.inspection.undo import undone
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.progress import Progress, Silent

LEVEL = 1e-6
# Statistical checks that share the level: denominator, scale, independence, directions, law, rare steps, excited steps,
# fresh noise, empty batches, extremes.
SHARES = 10
SECONDS = 10.0  # an inspection may take at effort 1, where it is not given; less where the mechanism is fast
FOR_NOISE = 0.5  # of it
FOR_CURVE = 0.3
FOR_BUILDS = 0.1
PORTFOLIO = 24  # calls that one more repeat of the questions about an example beside others costs, with the curve's
NEARLY = 0.9  # of the stated noise
STILL = 0.5  # of what one example may move beside such noise: less is no measurement of a sensitivity


@dataclass(frozen=True)
class Inspection:
    """What an inspection found.

    Args:
        mechanism: name of what was inspected.
        findings: violations first; empty when nothing was found.
        noise_multiplier: measured noise over measured sensitivity, the worst over variables; compare with the stated.
            None where it cannot be measured, for which a sight has the reason.
        level: chance that a right mechanism gets a violation.
        calls: how often the mechanism was called.
        seconds: how long it took.
        interval: 95 % interval of ``noise_multiplier``; None where it was not measured.
        sights: for each kind of fault the smallest that would have been found with probability 0.8, or why it was not
            looked for.
        effort: factor on the calls and on the time.
    """

    mechanism: str
    findings: tuple[Finding, ...]
    noise_multiplier: float | None
    level: float
    calls: int
    seconds: float
    interval: tuple[float, float] | None = None
    sights: tuple[Sight, ...] = ()
    effort: float = 1.0

    @property
    def violations(self) -> tuple[Finding, ...]:
        """The findings that contradict the claim."""
        return tuple(finding for finding in self.findings if finding.severity == "violation")


def inspect_mechanism(
    mechanism: Mechanism | Release,
    stated: Stated,
    *,
    seed: int,
    claim: Claim | None = None,
    level: float = LEVEL,
    effort: float = 1.0,
    budget: float | None = None,
    progress: Progress | None = None,
) -> Inspection:
    """Ask a mechanism whether it clips, adds noise and divides as it says.

    Args:
        mechanism: a `Mechanism`, or the bare callable: per-example gradients in (list of arrays with a leading batch
            axis), privatised gradient out (list of arrays).
        stated: what it says of itself.
        seed: seed of the canaries' directions; the mechanism's own randomness is its own.
        claim: where it is given with its composition, findings carry the ε there really is.
        level: chance, over the mechanism's noise, that a right one gets a violation.
        effort: factor on the number of calls: more of them see rarer steps, smaller pools and further tails.
        budget: seconds after which only the necessary questions are asked; 10 times ``effort`` when not given.
        progress: where it says how far it is.

    Raises:
        InputError: the mechanism raises on an ordinary batch, returns other shapes or NaN, or is not the same twice
            where it says it can be reset.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> def forgot_to_clip(gradients):
    ...     return [g.sum(axis=0) + rng.normal(0.0, 1.0, g.shape[1:]) for g in gradients]
    >>> stated = Stated(clip=1.0, noise_multiplier=1.0, denominator=1.0)
    >>> sorted({finding.check for finding in inspect_mechanism(forgot_to_clip, stated, seed=1).violations})
    ['non-finite gradient', 'sensitivity']
    """
    return inspect_with(
        mechanism,
        stated,
        seed=seed,
        epsilon_of=epsilon_under(claim),
        level=level,
        effort=effort,
        budget=budget,
        progress=progress,
    )


def inspect_with(
    mechanism: Mechanism | Release,
    stated: Stated,
    *,
    seed: int,
    epsilon_of: EpsilonOf,
    level: float,
    effort: float,
    budget: float | None,
    progress: Progress | None,
) -> Inspection:
    """`inspect_mechanism` with a function from an effective noise multiplier to ε in the place of a claim."""
    start = time.perf_counter()
    subject = mechanism if isinstance(mechanism, Mechanism) else Mechanism(mechanism)
    check.integer("seed", seed, at_least=0)
    check.open_unit("level", level)
    check.positive("effort", effort)
    seconds = SECONDS * effort if budget is None else check.positive("budget", budget)
    count = [0]
    probe = Probe(_counted(undone(subject), count), stated, level / SHARES, seed)
    check_determinism(probe)
    if not subject.partial and stated.adjacency == "add-remove":
        raise InputError(
            f"{subject.name} takes only batches of {subject.batch_size}, so it cannot be private for added or removed "
            "records; state replace-one or zero-out adjacency."
        )
    with (progress or Silent()).task(f"inspection of {subject.name}", total=100) as advance:
        opaque = next((step for step in subject.after if isinstance(step, Opaque)), None)
        if opaque is not None:
            asked = _only_what_outlasts(probe, opaque, effort)
        else:
            asked = _everything(probe, epsilon_of, effort, seconds, _whole(advance))
    return Inspection(
        mechanism=subject.name,
        findings=_in_order(asked.findings),
        noise_multiplier=asked.noise_multiplier,
        level=level,
        calls=count[0],
        seconds=time.perf_counter() - start,
        interval=asked.interval,
        sights=tuple(asked.sights),
        effort=effort,
    )


@dataclass(frozen=True)
class _Asked:
    findings: list[Finding]
    sights: list[Sight]
    noise_multiplier: float | None
    interval: tuple[float, float] | None


def _everything(
    probe: Probe, epsilon_of: EpsilonOf, effort: float, seconds: float, advance: Callable[[float], None]
) -> _Asked:
    begin = time.monotonic()
    denominator, of_the_mean = check_denominator(probe)
    asked = probe
    if of_the_mean:  # one cause is one finding: all else is asked with the size of the batch as public
        asked = replace(probe, stated=replace(probe.stated, adjacency="zero-out", denominator="batch"))
    if probe.stated.noise_multiplier == 0:
        noise = listen(replace(asked, stated=replace(asked.stated, noise_multiplier=1.0)), calls=16)
    else:
        noise = listen(
            asked,
            calls=max(LEAST, round(CALLS * effort)),
            until=begin + FOR_NOISE * seconds,
            advance=lambda share: advance(60 * share),
        )
    each = max(time.monotonic() - begin, 1e-9) / noise.calls
    patience = FOR_CURVE * seconds / each / PORTFOLIO
    points, places, repeats = (
        int(np.clip(patience, least, most)) for least, most in ((12, 48), (6, 64), (LEAST_CALLS, 100))
    )
    builds = int(np.clip(FOR_BUILDS * seconds / each, 2, 64 * max(1.0, effort)))
    sizes = [probe.batch_size, smaller(probe)] if probe.mechanism.partial else [probe.batch_size]
    moved: list[Move] = []
    for size in sizes:
        moved += measure_moves(
            asked, size, noise, level=probe.level / 3 / 32, points=points, places=places, repeats=repeats
        )
        advance(30 / len(sizes))
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
    findings += [*check_extremes(asked, zeros), *check_state(asked)]
    if probe.stated.noise_multiplier:
        findings += [*([] if now_and_then else check_excited(asked, noise)), *check_fresh(asked, builds)]
    measured = effective_noise_multiplier(asked, noise, moved)
    sights = [*sights_of_scale(asked, noise, moved), *_sights(asked, noise)]
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
        return _Asked(findings, sights, None, None)
    return _Asked(findings, sights, measured.estimate, (measured.low, measured.high))


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


def _only_what_outlasts(probe: Probe, step: Opaque, effort: float) -> _Asked:
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
    return _Asked(findings, sights, None, None)


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
    return noise.values[noise.kind == 0] if correlated(probe.stated.law) is None else probe.releases(zeros, LEAST)


def _counted(mechanism: Mechanism, count: list[int]) -> Mechanism:
    """The mechanism, and all that are built anew from it, with their calls counted."""

    def release(gradients: Sequence[Array]) -> Sequence[Array]:
        count[0] += 1
        return mechanism.release(gradients)

    def fresh() -> Mechanism:
        assert mechanism.fresh is not None
        return _counted(mechanism.fresh(), count)

    return replace(mechanism, release=release, fresh=None if mechanism.fresh is None else fresh)


def _whole(advance: Callable[[int], None]) -> Callable[[float], None]:
    """Shares of a hundred, told when they add up to a whole number."""
    left = [0.0]

    def told(share: float) -> None:
        left[0] += share
        whole = int(left[0])
        left[0] -= whole
        advance(whole)

    return told


def _in_order(findings: list[Finding]) -> tuple[Finding, ...]:
    """Violations first; of one check and severity only the first, because batch sizes repeat each other."""
    first: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        first.setdefault((finding.check, finding.severity), finding)
    return tuple(sorted(first.values(), key=lambda finding: finding.severity != "violation"))
