"""From reconstruction successes to lower bounds on ε, and to a verdict against the reconstruction bound.

`Balle, Cherubin and Hayes (2022) <https://arxiv.org/abs/2201.04845>`_: if guessing from the prior alone succeeds with
probability κ, no attack on an (ε, δ)-differentially private release succeeds with more than e^ε κ + δ. `Hayes,
Mahloujifar and Balle (2023) <https://arxiv.org/abs/2302.07225>`_: nor with more than γ(κ), the mechanism's own
trade-off curve, which is tight.
"""

import math
from dataclasses import dataclass
from typing import Literal

from scipy.special import ndtri

from dpaudit.accounting.claim import Adjacency, GaussianSteps, Unit
from dpaudit.accounting.gaussian import gaussian_epsilon
from dpaudit.accounting.mechanism import epsilon, trade_off
from dpaudit.accounting.trade_off_curve import TradeOff
from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.scores.intervals import lower_limit

CANDIDATES = "the hidden candidate was drawn uniformly and independently of everything else, so κ is exact"


@dataclass(frozen=True)
class Successes:
    """Successes of independent reconstruction trials.

    Args:
        successes: trials in which the attack met its fixed success criterion.
        trials: independent trainings (or releases) attacked.
        kappa: probability, or a certain upper bound on it, that the criterion is met without the release: 1 / M for M
            equally likely candidates.

    >>> round(Successes(70, 100, 1 / 8).lower(0.95), 3)
    0.616
    """

    successes: int
    trials: int
    kappa: float

    def __post_init__(self) -> None:
        check.integer("trials", self.trials, at_least=1)
        check.integer("successes", self.successes, at_least=0, at_most=self.trials)
        check.open_unit("kappa", self.kappa)

    def lower(self, confidence: float) -> float:
        """Exact (Clopper-Pearson) one-sided lower bound on the success probability."""
        return lower_limit(self.successes, self.trials, 1 - check.open_unit("confidence", confidence))

    @property
    def perfect(self) -> "Successes":
        """The same trials, all successful: what a perfect attack would have shown."""
        return Successes(self.trials, self.trials, self.kappa)


def from_definition(
    result: Successes,
    *,
    delta: float,
    confidence: float,
    adjacency: Adjacency = "add-remove",
    unit: Unit = "record",
    assumption: str = CANDIDATES,
) -> LowerBound:
    """ε ≥ ln((success - δ) / κ): holds for every mechanism, and is never more than ln(1 / κ).

    >>> bound = from_definition(Successes(95, 100, 1 / 100), delta=1e-5, confidence=0.95)
    >>> round(bound.epsilon, 2), round(bound.ceiling, 2)
    (4.5, 4.58)
    """
    slack = check.delta("delta", delta)

    def figure(success: float) -> float:
        return max(0.0, math.log((success - slack) / result.kappa)) if success > slack else 0.0

    return LowerBound(
        epsilon=figure(result.lower(confidence)),
        delta=slack,
        confidence=confidence,
        method="reconstruction",
        adjacency=adjacency,
        unit=unit,
        assumptions=(assumption, "trials are independent"),
        ceiling=figure(result.perfect.lower(confidence)),
        trials=result.trials,
    )


def within_family(
    result: Successes,
    mechanism: GaussianSteps,
    *,
    delta: float,
    confidence: float,
    adjacency: Adjacency = "add-remove",
    unit: Unit = "record",
    assumption: str = CANDIDATES,
) -> LowerBound:
    """ε of the most Gaussian noise that still allows the success seen, on the accounted sampler and steps.

    Much stronger than `from_definition`, and only as true as "Gaussian noise, this sampler, this many steps": it audits
    how much noise there really is. The mechanism's own noise multiplier is not used.

    >>> from dpaudit.accounting.claim import Poisson
    >>> result = Successes(389, 1000, 1 / 10)
    >>> bound = within_family(result, GaussianSteps(10.0, 100, Poisson(1.0)), delta=1e-5, confidence=0.95)
    >>> round(bound.epsilon, 2)
    4.04
    """

    def figure(success: float) -> float:
        if success <= result.kappa:
            return 0.0
        if mechanism.sampling.rate == 1:
            return gaussian_epsilon(float(ndtri(success) - ndtri(result.kappa)), delta)
        noise = noise_allowing(success, result.kappa, mechanism, adjacency=adjacency)
        return epsilon(_with_noise(mechanism, noise), delta=delta, adjacency=adjacency).epsilon

    return LowerBound(
        epsilon=figure(result.lower(confidence)),
        delta=check.delta("delta", delta),
        confidence=confidence,
        method="reconstruction-family",
        adjacency=adjacency,
        unit=unit,
        assumptions=(assumption, "trials are independent", "the noise is Gaussian and enters as accounted"),
        ceiling=figure(result.perfect.lower(confidence)),
        trials=result.trials,
        family="Gaussian noise on the accounted sampler",
    )


def noise_allowing(
    success: float, kappa: float, mechanism: GaussianSteps, *, adjacency: Adjacency = "add-remove"
) -> float:
    """The largest noise multiplier whose reconstruction bound γ(κ) still reaches ``success``.

    >>> from dpaudit.accounting.claim import Poisson
    >>> round(noise_allowing(0.3891, 0.1, GaussianSteps(1.0, 100, Poisson(1.0))), 2)
    10.0
    """
    from scipy.optimize import brentq

    if not kappa < success < 1:
        raise InputError(f"success must lie between κ = {kappa:g} and 1, got {success!r}.")

    def excess(log_noise: float) -> float:
        return (
            trade_off(_with_noise(mechanism, math.exp(log_noise)), adjacency=adjacency).reconstruction(kappa) - success
        )

    # Start where the central limit theorem for DP-SGD (arXiv:1911.11607) puts it: μ = q √(T (e^(1/σ²) - 1)).
    mu = float(ndtri(success) - ndtri(kappa)) / mechanism.sampling.rate
    low = high = -0.5 * math.log(math.log1p(mu**2 / mechanism.steps))
    while excess(high) > 0:
        high += 0.05
    while excess(low) < 0:
        low -= 0.05
    return math.exp(float(brentq(excess, low, high, xtol=1e-3)))


@dataclass(frozen=True)
class ReconstructionVerdict:
    """Successes beside the reconstruction bound.

    Args:
        verdict: ``contradicted``: the success is certainly above γ(κ). ``too weak``: not even success in every trial
            would have been. ``consistent``: neither.
        success: share of successful trials.
        lower: its exact one-sided lower bound.
        gamma: γ(κ), the bound the claim implies.
        kappa: success of guessing.
        confidence: of ``lower``.
        sentence: the verdict in plain words.
    """

    verdict: Literal["contradicted", "consistent", "too weak"]
    success: float
    lower: float
    gamma: float
    kappa: float
    confidence: float
    sentence: str


def judge_reconstruction(result: Successes, claimed: TradeOff, *, confidence: float) -> ReconstructionVerdict:
    """Test the claim: no attack succeeds with probability above γ(κ).

    Args:
        result: what an attack with a fixed success criterion reached.
        claimed: trade-off curve of the claimed mechanism, for the claim's unit and adjacency.
        confidence: that a true claim is not called contradicted.

    >>> from dpaudit.accounting import gaussian_trade_off
    >>> judge_reconstruction(Successes(90, 100, 1 / 8), gaussian_trade_off(1.0), confidence=0.95).verdict
    'contradicted'
    """
    gamma = claimed.reconstruction(result.kappa)
    lower, share = result.lower(confidence), result.successes / result.trials
    counted = f"{result.successes} of {result.trials} reconstructions succeeded, a success rate certainly at least"
    if lower > gamma:
        return ReconstructionVerdict(
            "contradicted", share, lower, gamma, result.kappa, confidence,
            f"{counted} {lower:.3g} ({confidence:.4g} confidence); the claimed mechanism allows {gamma:.3g} at most.",
        )  # fmt: skip
    if result.perfect.lower(confidence) <= gamma:
        return ReconstructionVerdict(
            "too weak", share, lower, gamma, result.kappa, confidence,
            f"The claimed mechanism allows success up to {gamma:.3g}; {result.trials} trials cannot show more than "
            f"{result.perfect.lower(confidence):.3g} even when all succeed.",
        )  # fmt: skip
    return ReconstructionVerdict(
        "consistent", share, lower, gamma, result.kappa, confidence,
        f"{counted} {lower:.3g} ({confidence:.4g} confidence); the claimed mechanism allows up to {gamma:.3g}.",
    )  # fmt: skip


def _with_noise(mechanism: GaussianSteps, noise: float) -> GaussianSteps:
    return GaussianSteps(noise, mechanism.steps, mechanism.sampling, mechanism.slack)
