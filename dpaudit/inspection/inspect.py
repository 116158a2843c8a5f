"""Rung 1 of the audit ladder: a mechanism is asked chosen questions, and its own arithmetic is held against it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dpaudit.accounting.claim import Claim
from dpaudit.accounting.composed import epsilon_under
from dpaudit.bounds.lower_bound import Finding
from dpaudit.inspection.check_batch_size import check_batch_size
from dpaudit.inspection.check_extremes import check_extremes
from dpaudit.inspection.check_independence import check_fresh, check_independence
from dpaudit.inspection.check_scale import check_scale, effective_noise_multiplier, measure_scale
from dpaudit.inspection.check_state import check_determinism, check_state
from dpaudit.inspection.mechanism import Array, Mechanism, Release, Stated
from dpaudit.inspection.probe import Probe
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError

LEVEL = 1e-6
# Statistical checks that share the level: scale at two batch sizes, independence, fresh noise, batch size, extremes.
SHARES = 6


@dataclass(frozen=True)
class Inspection:
    """What an inspection found.

    Args:
        mechanism: name of what was inspected.
        findings: violations first; empty when nothing was found.
        noise_multiplier: measured noise over measured sensitivity, the worst over variables; compare with the stated.
        level: chance that a right mechanism gets a violation.
        calls: how often the mechanism was called.
        seconds: how long it took.
    """

    mechanism: str
    findings: tuple[Finding, ...]
    noise_multiplier: float
    level: float
    calls: int
    seconds: float

    @property
    def violations(self) -> tuple[Finding, ...]:
        """The findings that contradict the claim."""
        return tuple(finding for finding in self.findings if finding.severity == "violation")


def inspect_mechanism(
    mechanism: Mechanism | Release, stated: Stated, *, seed: int, claim: Claim | None = None, level: float = LEVEL
) -> Inspection:
    """Ask a mechanism whether it clips, adds noise and divides as it says.

    Args:
        mechanism: a `Mechanism`, or the bare callable: per-example gradients in (list of arrays with a leading batch
            axis), privatised gradient out (list of arrays).
        stated: what it says of itself.
        seed: seed of the canaries' directions; the mechanism's own randomness is its own.
        claim: where it is given with its composition, findings carry the ε there really is.
        level: chance, over the mechanism's noise, that a right one gets a violation.

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
    start = time.perf_counter()
    subject = mechanism if isinstance(mechanism, Mechanism) else Mechanism(mechanism)
    check.integer("seed", seed, at_least=0)
    check.open_unit("level", level)
    calls = 0

    def release(gradients: Sequence[Array]) -> Sequence[Array]:
        nonlocal calls
        calls += 1
        return subject.release(gradients)

    probe = Probe(replace(subject, release=release), stated, level / SHARES, seed)
    epsilon_of = epsilon_under(claim)
    check_determinism(probe)
    if not subject.partial and stated.adjacency == "add-remove":
        raise InputError(
            f"{subject.name} takes only batches of {subject.batch_size}, so it cannot be private for added or removed "
            "records; state replace-one or zero-out adjacency."
        )
    full = measure_scale(probe, subject.batch_size)
    scales = [full, measure_scale(probe, max(4, subject.batch_size // 4))] if subject.partial else [full]
    findings = [
        *(finding for scale in scales for finding in check_scale(probe, scale, epsilon_of)),
        *check_independence(probe, full.noise),
        *check_fresh(probe),
        *check_batch_size(probe, full.noise),
        *check_extremes(probe, full.noise),
        *check_state(probe),
    ]
    return Inspection(
        mechanism=subject.name,
        findings=_in_order(findings),
        noise_multiplier=min(effective_noise_multiplier(probe, scale) for scale in scales),
        level=level,
        calls=calls,
        seconds=time.perf_counter() - start,
    )


def _in_order(findings: list[Finding]) -> tuple[Finding, ...]:
    """Violations first; of one check and severity only the first, because batch sizes repeat each other."""
    first: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        first.setdefault((finding.check, finding.severity), finding)
    return tuple(sorted(first.values(), key=lambda finding: finding.severity != "violation"))
