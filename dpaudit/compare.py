"""A promise beside what was measured: one of three verdicts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dpaudit.claim import Claim
from dpaudit.errors import InputError
from dpaudit.evidence import Finding, LowerBound
from dpaudit.planning import POWER, Basis, Reach, reach

Verdict = Literal["contradicted", "consistent", "too weak"]


@dataclass(frozen=True)
class Comparison:
    """The verdict on one claim.

    Args:
        subject: the model the claim is about.
        claim: what is promised.
        verdict: ``contradicted``: a bound lies above the claim, or a check found a violation. ``consistent``: not
            contradicted by an audit that could have seen more than the claim. ``too weak``: not contradicted, and no
            leak, however large, would have been.
        strongest: the lower bound that decides: the largest that holds for every mechanism, or the largest within a
            family where only that lies above the claim; None when only findings speak.
        ceiling: the largest ε that a perfect attack could have certified.
        sentence: the verdict in plain words.
        reach: smallest true ε that the audit would probably have reported as a violation; infinite when none.
    """

    subject: str
    claim: Claim
    verdict: Verdict
    strongest: LowerBound | None
    ceiling: float
    sentence: str
    reach: float = math.inf


def compare(subject: str, claim: Claim, bounds: Sequence[LowerBound], findings: Sequence[Finding] = ()) -> Comparison:
    """Judge a claim by lower bounds and findings.

    The bounds must speak of the claim's unit and adjacency. A bound at a larger δ than the claim's may contradict it,
    because (ε, δ) implies (ε, δ') for δ' > δ; one at a smaller δ may not. A bound that holds within a family only is
    not mixed with those that hold for every mechanism: it decides when none of them does, and the verdict names the
    family. Their confidences must share one level, fixed before the scores.

    Raises:
        InputError: nothing to judge by, or a bound that speaks of something else.
    """
    violations = [finding for finding in findings if finding.severity == "violation"]
    if not bounds and not findings:
        raise InputError(f"nothing was measured that could judge the claim on {subject!r}.")
    for bound in bounds:
        _comparable(subject, claim, bound)
    strongest = _decisive(bounds, claim.epsilon)
    ceiling = max((bound.ceiling for bound in bounds), default=0.0)
    seen, basis = min(
        (
            (found.epsilon, _in_words(found, bound))
            for bound in bounds
            for found in [reach(bound, claim.epsilon, steps=claim.mechanism)]
        ),
        default=(math.inf, ""),
    )
    if violations:
        verdict: Verdict = "contradicted"
        sentence = (
            f"Contradicted by {violations[0].check}: {violations[0].observed}; expected {violations[0].expected}."
        )
    elif strongest is not None and strongest.epsilon > claim.epsilon:
        verdict = "contradicted"
        within = f", within: {strongest.family}" if strongest.family else ""
        sentence = (
            f"Promised ε ≤ {claim.epsilon:.3g}, measured ε ≥ {strongest.epsilon:.3g} "
            f"({strongest.confidence:.4g} confidence{within}): the promise does not hold."
        )
    elif math.isinf(seen):
        verdict = "too weak"
        sentence = (
            f"The promise of ε ≤ {claim.epsilon:.3g} was not contradicted, but no leak would have been seen here: even "
            f"a perfect attack certifies no more than ε = {ceiling:.3g}, so the audit says nothing about the promise."
        )
    else:
        measured = strongest.epsilon if strongest is not None else 0.0
        verdict = "consistent"
        sentence = (
            f"Promised ε ≤ {claim.epsilon:.3g}, measured ε ≥ {measured:.3g}{_more_within(bounds, measured)}: nothing "
            f"contradicts the promise; {basis}. "
            "No audit can prove a promise."
        )
    return Comparison(subject, claim, verdict, strongest, ceiling, sentence, seen)


def unmeasured(subject: str, claim: Claim) -> Comparison:
    """The verdict on a claim when nothing that was run could have contradicted it.

    >>> unmeasured("model", Claim(2.0, 1e-5, "record", "add-remove", "the plan")).verdict
    'too weak'
    """
    sentence = (
        f"The promise of ε ≤ {claim.epsilon:.3g} was not tested: nothing that was run could have contradicted it."
    )
    return Comparison(subject, claim, "too weak", None, 0.0, sentence)


def _decisive(bounds: Sequence[LowerBound], claimed: float) -> LowerBound | None:
    general = max((bound for bound in bounds if not bound.family), key=_size, default=None)
    within = max((bound for bound in bounds if bound.family), key=_size, default=None)
    if general is None or (within is not None and general.epsilon <= claimed < within.epsilon):
        return within
    return general


def _more_within(bounds: Sequence[LowerBound], measured: float) -> str:
    """The largest bound within a family, where it is above what holds for every mechanism."""
    within = max((bound for bound in bounds if bound.family), key=_size, default=None)
    if within is None or within.epsilon <= measured:
        return ""
    return f" (≥ {within.epsilon:.3g} within: {within.family})"


def _size(bound: LowerBound) -> float:
    return bound.epsilon


def _in_words(found: Reach, bound: LowerBound) -> str:
    within = f" (within: {bound.family})" if bound.family else ""
    if found.basis is Basis.PERFECT:
        return f"a perfect attack would have shown up to ε = {bound.ceiling:.3g} here{within}"
    if found.basis is Basis.LESS_NOISE:
        return f"noise so low that ε is {found.epsilon:.3g} would have been seen with probability {POWER:g}{within}"
    return f"{found.basis.value} of ε = {found.epsilon:.3g} would have been seen with probability {POWER:g}{within}"


def _comparable(subject: str, claim: Claim, bound: LowerBound) -> None:
    if bound.unit != claim.unit or bound.adjacency != claim.adjacency:
        raise InputError(
            f"the claim on {subject!r} is about one {claim.unit} under {claim.adjacency} adjacency, the bound "
            f"{bound.method} about one {bound.unit} under {bound.adjacency}: they cannot be compared."
        )
    if bound.delta < claim.delta:
        raise InputError(
            f"the bound {bound.method} holds at δ = {bound.delta:g}, smaller than the claim's {claim.delta:g} on "
            f"{subject!r}: a violation at a smaller δ does not contradict the claim."
        )
