"""Rung 1 of the audit ladder: a mechanism is asked chosen questions, and its own arithmetic is held against it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dpaudit.accounting.claim import Claim
from dpaudit.accounting.composed import EpsilonOf, epsilon_under
from dpaudit.bounds.lower_bound import Finding
from dpaudit.inspection.after import Opaque
from dpaudit.inspection.ask import clock_of, everything, handy, only_what_outlasts
from dpaudit.inspection.check_state import check_determinism
from dpaudit.inspection.clock import Clock
from dpaudit.inspection.mechanism import Array, Mechanism, Release, Stated
from dpaudit.inspection.probe import Probe
from dpaudit.inspection.sight import Sight
from dpaudit.inspection.undo import undone
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.progress import Progress, Silent

LEVEL = 1e-6
# Statistical checks that share the level: denominator, scale, independence, directions, law, rare steps, excited steps,
# fresh noise, empty batches, extremes, batch sizes.
SHARES = 11


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
        budget: seconds that the questions may take; those that there was no time for are listed. Without it about 10
            times ``effort`` are planned; on a busy machine it may take up to 60 times ``effort``.
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
    check.positive("effort", effort)
    if budget is not None:
        check.positive("budget", budget)
    return inspect_with(
        mechanism,
        stated,
        seed=seed,
        epsilon_of=epsilon_under(claim),
        level=level,
        effort=effort,
        clock=clock_of(effort, budget),
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
    clock: Clock,
    progress: Progress | None,
) -> Inspection:
    """`inspect_mechanism` with a function from an effective noise multiplier to ε in the place of a claim."""
    start = time.perf_counter()
    subject = mechanism if isinstance(mechanism, Mechanism) else Mechanism(mechanism)
    check.integer("seed", seed, at_least=0)
    check.open_unit("level", level)
    count = [0]
    probe = Probe(_counted(undone(handy(subject)), count), stated, level / SHARES, seed, clock)
    check_determinism(probe)
    if not subject.partial and stated.adjacency == "add-remove":
        raise InputError(
            f"{subject.name} takes only batches of {subject.batch_size}, so it cannot be private for added or removed "
            "records; state replace-one or zero-out adjacency."
        )
    with (progress or Silent()).task(f"inspection of {subject.name}", total=100) as advance:
        opaque = next((step for step in subject.after if isinstance(step, Opaque)), None)
        if opaque is not None:
            asked = only_what_outlasts(probe, opaque, effort)
        else:
            asked = everything(probe, epsilon_of, effort=effort, planned=subject.batch_size, advance=_whole(advance))
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
