"""A promise beside what was measured: one of three verdicts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dpaudit.claim import Claim
from dpaudit.errors import InputError
from dpaudit.evidence import Finding, LowerBound

Verdict = Literal["contradicted", "consistent", "too weak"]


@dataclass(frozen=True)
class Comparison:
    """The verdict on one claim.

    Args:
        subject: the model the claim is about.
        claim: what is promised.
        verdict: ``contradicted``: a bound lies above the claim, or a check found a violation. ``consistent``: not
            contradicted by an audit that could have seen more than the claim. ``too weak``: not contradicted, and even
            a perfect attack could not have certified more than the claim on this many trials.
        strongest: the largest lower bound; None when only findings speak.
        ceiling: the largest ε that a perfect attack could have certified.
        sentence: the verdict in plain words.
    """

    subject: str
    claim: Claim
    verdict: Verdict
    strongest: LowerBound | None
    ceiling: float
    sentence: str


def compare(subject: str, claim: Claim, bounds: Sequence[LowerBound], findings: Sequence[Finding] = ()) -> Comparison:
    """Judge a claim by lower bounds and findings.

    The bounds must speak of the claim's unit and adjacency. A bound at a larger δ than the claim's may contradict it,
    because (ε, δ) implies (ε, δ') for δ' > δ; one at a smaller δ may not.

    Raises:
        InputError: nothing to judge by, or a bound that speaks of something else.
    """
    violations = [finding for finding in findings if finding.severity == "violation"]
    if not bounds and not findings:
        raise InputError(f"nothing was measured that could judge the claim on {subject!r}.")
    for bound in bounds:
        _comparable(subject, claim, bound)
    strongest = max(bounds, key=lambda bound: bound.epsilon, default=None)
    ceiling = max((bound.ceiling for bound in bounds), default=0.0)
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
    elif not bounds or ceiling <= claim.epsilon:
        verdict = "too weak"
        sentence = (
            f"The promise of ε ≤ {claim.epsilon:.3g} was not contradicted, but this audit could not have seen an ε "
            f"above {ceiling:.3g} even with a perfect attack: it says nothing about the promise."
        )
    else:
        measured = strongest.epsilon if strongest is not None else 0.0
        verdict = "consistent"
        sentence = (
            f"Promised ε ≤ {claim.epsilon:.3g}, measured ε ≥ {measured:.3g}: nothing contradicts the promise; a "
            f"perfect attack would have shown up to ε = {ceiling:.3g} here. No audit can prove a promise."
        )
    return Comparison(subject, claim, verdict, strongest, ceiling if math.isfinite(ceiling) else math.inf, sentence)


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
