"""What a training claims: its claim, how ε was accounted, and the whole trade-off curve behind it."""

import math
from dataclasses import dataclass

import numpy as np

from dpaudit.accounting.claim import Adjacency, Claim, GaussianSteps, Shuffled, Unit
from dpaudit.accounting.mechanism import epsilon, trade_off
from dpaudit.accounting.trade_off_curve import TradeOff, from_profile
from dpaudit.runtime import check

CURVE_POINTS = 200


@dataclass(frozen=True)
class AccountedClaim:
    """A claim with where it comes from.

    Args:
        claim: what is claimed.
        accountant: how ε was computed.
        optimistic: whether the accountant assumed more than what was run, so that the true ε may be larger.
        note: what to know about the number.
        fpr: false-positive rates of the curve, increasing.
        tpr: the largest true-positive rate the claim allows at each.
        curve: where the curve comes from.
    """

    claim: Claim
    accountant: str
    optimistic: bool
    note: str
    fpr: list[float]
    tpr: list[float]
    curve: str

    def __post_init__(self) -> None:
        check.vector("tpr of the claimed curve", self.tpr, length=check.vector("fpr of it", self.fpr).size)


def account(
    mechanism: GaussianSteps | None, stated: Claim | None, *, delta: float, adjacency: Adjacency, unit: Unit
) -> AccountedClaim | None:
    """The claim of a training; None when it makes none (no stated claim, and no noise).

    A stated claim is judged as it stands; the curve is the mechanism's own where there is one, because a single (ε, δ)
    allows two to three times the true-positive rate that the mechanism does.
    """
    private = mechanism is not None and mechanism.noise_multiplier > 0
    if stated is None and not private:
        return None
    if stated is not None and not private:
        alone = from_profile(np.array([stated.epsilon]), np.array([stated.delta]))
        return _with_curve(stated, "stated", False, "", alone, "the stated (ε, δ) alone")
    assert mechanism is not None
    accounted = epsilon(mechanism, delta=delta, adjacency=adjacency)
    curve = trade_off(mechanism, adjacency=adjacency)
    where = "privacy loss distribution of the mechanism"
    if isinstance(mechanism.sampling, Shuffled):
        where += ", as if its batches were Poisson-sampled (optimistic for shuffling)"
    if stated is not None:
        note = f"the training accounts to ε = {accounted.epsilon:.4g} ({accounted.method}); {accounted.note}".rstrip(
            "; "
        )
        return _with_curve(stated, "stated", accounted.optimistic, note, curve, where)
    if not math.isfinite(accounted.epsilon):
        return None
    claim = Claim(
        accounted.epsilon,
        delta,
        unit=unit,
        adjacency=adjacency,
        source=f"{accounted.method} of {mechanism.steps} steps at noise multiplier {mechanism.noise_multiplier:g}",
        mechanism=mechanism,
    )
    return _with_curve(claim, accounted.method, accounted.optimistic, accounted.note, curve, where)


def _with_curve(
    claim: Claim, accountant: str, optimistic: bool, note: str, curve: TradeOff, where: str
) -> AccountedClaim:
    fpr = np.concatenate([[0.0], np.geomspace(1e-5, 1.0, CURVE_POINTS)])
    tpr = np.interp(fpr, curve.fpr, curve.tpr)
    return AccountedClaim(claim, accountant, optimistic, note, fpr.tolist(), tpr.tolist(), where)
