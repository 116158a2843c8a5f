"""ε as it follows from noise, sampling and rounds, against the ε that is claimed.

scipy and dp-accounting are imported when a trace is inspected, so that one can be written without them.
"""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from dpaudit.accounting.claim import FULL_BATCH, FixedSize, GaussianSteps, Poisson, Sampling, too_small
from dpaudit.bounds.lower_bound import Finding, Unchecked
from dpaudit.trace.manifest import DpClaim
from dpaudit.trace.reader import Trace

if TYPE_CHECKING:
    from dpaudit.accounting.mechanism import Accounted

LEVEL = 1e-6  # chance that a right run gets a violation, shared among the statistical checks
LITTLE = 0.02  # noise multiplier below which ε is counted in hundreds: it is then accounted as if all took part
BEYOND = 700.0  # a claimed ε as large as this claims nothing and is not judged
POINTS = 2e6  # of a loss distribution: the grid is no finer than that, whatever noise and rounds a manifest states


def check_rounds(trace: Trace, claim: DpClaim) -> list[Finding]:
    """More rounds than the accountant was told of."""
    ran = max(one.number for one in trace.rounds) + 1
    if claim.rounds is None or ran <= claim.rounds:
        return []
    return [
        Finding(
            "more rounds than accounted",
            "violation",
            "the trace",
            f"{ran} rounds were run",
            f"at most the {claim.rounds} that were accounted",
            "account for every round",
            true_epsilon=true_epsilon(trace, claim, claim, rounds=ran),
            rung=0,
        )
    ]


def check_epsilon(trace: Trace, claim: DpClaim) -> list[Finding | Unchecked]:
    """The claimed ε against the one that follows from noise, sampling and rounds."""
    if claim.epsilon is None:
        return [Unchecked("claimed ε", "the claim states none")]
    ours = accounted(trace, claim, claim)
    if ours is None:
        return [
            Finding(
                "ε cannot be recomputed",
                "warning",
                "the claim",
                f"ε = {claim.epsilon:g} without all of delta, noise_multiplier, sampler, clients, of and rounds",
                "what an accountant needs",
                "write it into the manifest",
                rung=0,
            )
        ]
    fed = "noise, sampling and rounds as the manifest gives them"
    expected = f"ε = {ours.certain:.4g} at δ = {claim.delta:g}"
    if not too_small(claim.epsilon, min(ours.certain, BEYOND)):
        if not too_small(claim.epsilon, min(ours.epsilon, BEYOND)):
            return []
        seen = (
            f"ε = {claim.epsilon:g} is claimed; the smallest upper bound known is {ours.epsilon:.4g} ({ours.method}), "
            f"the largest lower bound {ours.at_least:.4g}"
        )
        remedy = "say which accountant the figure is from"
        return [Finding("claimed ε", "warning", fed, seen, f"ε of at least {ours.epsilon:.4g}", remedy, rung=0)]
    amplified = claim.sampler in ("fixed-size", "shuffled", "all")
    assumed = replace(claim, sampler="poisson")
    as_poisson = true_epsilon(trace, assumed, assumed) if amplified and claim.rate else None
    fits = as_poisson and not too_small(claim.epsilon, as_poisson)
    hint = "; it fits Poisson sampling, which this was not" if fits else ""
    return [
        Finding(
            "claimed ε",
            "violation",
            fed,
            f"ε = {claim.epsilon:g} is claimed{hint}",
            expected if ours.exact else expected.replace("ε =", "ε of at least"),
            "account for the sampling that was run, and for every round",
            true_epsilon=ours.certain,
            rung=0,
        )
    ]


def check_formula(trace: Trace, claim: DpClaim) -> list[Finding]:
    """The classical Gaussian formula, used where its proof does not hold."""
    if claim.accountant != "classical-gaussian" or claim.epsilon is None or claim.epsilon <= 1:
        return []
    return [
        Finding(
            "classical Gaussian formula",
            "violation",
            "the claim",
            f"ε = {claim.epsilon:g} comes from the formula with √(2 ln(1.25/δ)), whose proof needs ε below 1",
            "an accountant that holds for any ε",
            "use the privacy loss distribution of dp-accounting",
            true_epsilon=true_epsilon(trace, claim, claim),
            rung=0,
        )
    ]


def scale_noise(claim: DpClaim, factor: float) -> DpClaim:
    """The claim with its noise multiplier times a factor."""
    return claim if claim.noise_multiplier is None else replace(claim, noise_multiplier=claim.noise_multiplier * factor)


def claimed_mechanism(trace: Trace, claim: DpClaim, *, rounds: int | None = None) -> GaussianSteps | None:
    """What the accountant is told; None when the manifest does not say enough."""
    total, sampling = rounds or claim.rounds or trace.manifest.rounds, _sampling(claim)
    if claim.noise_multiplier is None or total is None or sampling is None:
        return None
    return GaussianSteps(claim.noise_multiplier, total, sampling, unit=claim.unit)


def true_epsilon(trace: Trace, claim: DpClaim, assumed: DpClaim, *, rounds: int | None = None) -> float | None:
    """The ε there certainly is with other noise, rate or rounds than claimed; None where too little is stated."""
    found = accounted(trace, claim, assumed, rounds=rounds)
    return None if found is None else found.certain


def accounted(trace: Trace, claim: DpClaim, assumed: DpClaim, *, rounds: int | None = None) -> "Accounted | None":
    """ε of the claim's own accounting with other noise, rate or rounds; None when the manifest does not say enough.

    Where it is too large to tell (beyond 700) it is that of a run in which all take part, which is larger.
    """
    from dpaudit.accounting.mechanism import Accounted, epsilon

    mechanism = claimed_mechanism(trace, assumed, rounds=rounds)
    if mechanism is None or claim.delta is None:
        return None
    adjacency = claim.adjacency
    if mechanism.noise_multiplier == 0:
        return Accounted(math.inf, claim.delta, adjacency, "no noise", at_least=math.inf)
    if isinstance(mechanism.sampling, FixedSize) and adjacency == "add-remove":
        adjacency = "replace-one"  # a fixed number of clients has no add-remove accounting
    if mechanism.noise_multiplier >= LITTLE:
        found = epsilon(mechanism, delta=claim.delta, adjacency=adjacency, grid=_grid(mechanism))
        if math.isfinite(found.epsilon):
            return found
    everybody = replace(mechanism, sampling=FULL_BATCH)
    return epsilon(everybody, delta=claim.delta, adjacency=adjacency)


def _grid(mechanism: GaussianSteps) -> float:
    """Spacing of the losses: the accountant's own, or as wide as `POINTS` of them need to reach twenty deviations."""
    from dpaudit.accounting.mechanism import GRID

    sigma, steps = mechanism.noise_multiplier, mechanism.steps
    # The loss of a step is a line in the release; whether one takes part moves it as well.
    deviation, widest = 1 / sigma + 1 / (4 * sigma**2), (1 + 20 * sigma) / sigma**2
    return max(GRID, (20 * math.sqrt(steps) * deviation + widest) / POINTS)


def _sampling(claim: DpClaim) -> Sampling | None:
    if claim.noise == "local" or claim.sampler in ("all", "shuffled"):
        return FULL_BATCH  # nobody is hidden by sampling: a client's own message, or a known position
    if claim.sampler == "poisson" and claim.rate:
        return Poisson(claim.rate)
    if claim.sampler == "fixed-size" and claim.clients is not None and claim.of is not None:
        return FixedSize(round(claim.clients), claim.of)
    return None
