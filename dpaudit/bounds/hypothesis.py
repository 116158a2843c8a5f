"""What a test compares the attack with: the trade-off curves that belong to an ε.

A bound is found by asking which curves the counts refute. `Definition` holds every (ε, δ)-private mechanism and needs
nothing; `Gaussian` and `MechanismFamily` hold one curve per strength, refute much more with the same counts, and are
valid only for mechanisms of that family, which the bound says.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from threading import Lock
from typing import Protocol

from dpaudit.accounting.claim import Adjacency, GaussianSteps
from dpaudit.accounting.gaussian import gaussian_epsilon, gaussian_mu
from dpaudit.accounting.mechanism import epsilon as accounted
from dpaudit.accounting.mechanism import trade_off
from dpaudit.accounting.trade_off_curve import TradeOff
from dpaudit.runtime.errors import InputError

COARSE = 1e-3  # loss grid of the curves tried on the way; pessimistic at any spacing, its error is below 1e-7
STRONGEST = 50.0  # ε beyond which a family is not followed: the bound then reports about this much and stays valid
WEAKEST = 1e-3  # strength below which nothing is reported
LATTICE = 2e-3  # logarithmic distance of the strengths of a mechanism that are tried
NORMAL = NormalDist()


class Curve(Protocol):
    """A trade-off curve: what `TradeOff` offers, or a closed form of it."""

    @property
    def total_variation(self) -> float:
        """Largest TPR - FPR."""

    def tpr_at(self, fpr: float) -> float:
        """Largest true-positive rate."""

    def fpr_at(self, tpr: float) -> float:
        """Smallest false-positive rate."""


@dataclass(frozen=True)
class ApproximateCurve:
    """All that (ε, δ)-differential privacy says: two straight lines and their mirror images."""

    epsilon: float
    delta: float

    @property
    def total_variation(self) -> float:
        """(e^ε - 1 + 2 δ) / (e^ε + 1)."""
        return math.tanh(self.epsilon / 2) + 2 * self.delta / (1 + math.exp(self.epsilon))

    def tpr_at(self, fpr: float) -> float:
        """Largest true-positive rate."""
        rising = math.exp(self.epsilon) * fpr + self.delta
        return min(1.0, rising, 1 - math.exp(-self.epsilon) * max(0.0, 1 - self.delta - fpr))

    def fpr_at(self, tpr: float) -> float:
        """Smallest false-positive rate."""
        return max(
            0.0, math.exp(-self.epsilon) * (tpr - self.delta), 1 - self.delta - math.exp(self.epsilon) * (1 - tpr)
        )


@dataclass(frozen=True)
class GaussianCurve:
    """N(0, 1) against N(μ, 1), in closed form."""

    mu: float

    @property
    def total_variation(self) -> float:
        """2 Φ(μ / 2) - 1."""
        return math.erf(self.mu / math.sqrt(8))

    def tpr_at(self, fpr: float) -> float:
        """Φ(Φ⁻¹(FPR) + μ)."""
        return fpr if fpr in (0.0, 1.0) else _normal_cdf(NORMAL.inv_cdf(fpr) + self.mu)

    def fpr_at(self, tpr: float) -> float:
        """Φ(Φ⁻¹(TPR) - μ)."""
        return tpr if tpr in (0.0, 1.0) else _normal_cdf(NORMAL.inv_cdf(tpr) - self.mu)


@dataclass(frozen=True)
class Definition:
    """Every (ε, δ)-differentially private mechanism: no family, nothing assumed. The strength is ε."""

    family: str = ""

    def curve(self, strength: float, delta: float) -> Curve:
        """The curve of (ε, δ)."""
        return ApproximateCurve(strength, delta)

    symmetric = curve

    def epsilon(self, strength: float, delta: float) -> float:
        """ε itself."""
        return strength

    def strength(self, epsilon: float, delta: float) -> float:
        """ε itself."""
        return epsilon


@dataclass(frozen=True)
class Gaussian:
    """Mechanisms that leak as one Gaussian release: μ-Gaussian differential privacy. The strength is μ."""

    family: str = "Gaussian noise without amplification by sampling (μ-Gaussian differential privacy)"

    def curve(self, strength: float, delta: float) -> Curve:
        """N(0, 1) against N(μ, 1)."""
        return GaussianCurve(strength)

    symmetric = curve

    def epsilon(self, strength: float, delta: float) -> float:
        """ε of μ at δ."""
        return gaussian_epsilon(strength, delta)

    def strength(self, epsilon: float, delta: float) -> float:
        """μ of ε at δ."""
        return gaussian_mu(epsilon, delta)


@dataclass(frozen=True)
class MechanismFamily:
    """DP-SGD as claimed, with less (or more) noise than claimed: "the noise there really is".

    The strength is the factor by which the noise is too small; 1 is the claim.

    Args:
        steps: the mechanism claimed; its sampler, number of steps and adjacency are taken as true.
        adjacency: of the claim.
    """

    steps: GaussianSteps
    adjacency: Adjacency

    def __post_init__(self) -> None:
        if self.steps.noise_multiplier == 0:
            raise InputError("a mechanism without noise claims nothing and cannot be a null hypothesis.")

    @property
    def family(self) -> str:
        """The family in words."""
        sampling = self.steps.sampling
        return f"{self.steps.steps} Gaussian steps with {type(sampling).__name__} sampling at rate {sampling.rate:g}"

    def scaled(self, strength: float) -> GaussianSteps:
        """The mechanism with its noise divided by the strength."""
        return GaussianSteps(
            self.steps.noise_multiplier / strength, self.steps.steps, self.steps.sampling, self.steps.slack
        )

    def curve(self, strength: float, delta: float) -> TradeOff:
        """Curve from the privacy loss distribution."""
        return _curve(self, strength)

    def symmetric(self, strength: float, delta: float) -> TradeOff:
        """The curve and its mirror image."""
        return _symmetric(self, strength)

    def epsilon(self, strength: float, delta: float) -> float:
        """ε of the scaled mechanism; 0 at strength 0, where the noise is infinite."""
        return _epsilon(self, strength, delta) if strength > 0 else 0.0

    def strength(self, epsilon: float, delta: float) -> float:
        """The factor at which the mechanism has this ε."""
        return _bracketed(lambda factor: self.epsilon(factor, delta) - epsilon, tolerance=1e-6)


def strongest_refuted(
    margin: Callable[[float], float],
    null: Definition | Gaussian | MechanismFamily,
    delta: float,
    *,
    tolerance: float = 1e-7,
) -> float:
    """ε of the largest strength that the data refute: ``margin`` is positive up to it and negative beyond.

    The figure is rounded down by the relative ``tolerance`` of the search, never up; for a mechanism, whose curves are
    dear, to the next strength of a lattice 0.2 % apart, so that searches share their curves.
    """
    from scipy.optimize import brentq

    if isinstance(null, MechanismFamily):
        return _strongest_of_lattice(margin, null, delta)
    low, high = WEAKEST, 1.0
    if margin(low) <= 0:
        return 0.0
    while margin(high) > 0:
        if null.epsilon(high, delta) > STRONGEST:
            return null.epsilon(high, delta)
        low, high = high, 1.5 * high
    at = math.exp(brentq(lambda log: margin(math.exp(log)), math.log(low), math.log(high), xtol=tolerance))
    return null.epsilon(at * (1 - 2 * tolerance), delta)


def _strongest_of_lattice(margin: Callable[[float], float], null: MechanismFamily, delta: float) -> float:
    def refuted(place: int) -> bool:
        return margin(math.exp(LATTICE * place)) > 0

    lowest = math.floor(math.log(WEAKEST) / LATTICE)
    stride, low, high = 128, 0, 0
    while not refuted(low):
        if low == lowest:
            return 0.0
        low, high, stride = max(low - stride, lowest), low, 2 * stride
    stride = 128
    while high <= low:
        if not refuted(low + stride):
            high = low + stride
        elif null.epsilon(math.exp(LATTICE * (low + stride)), delta) > STRONGEST:
            return null.epsilon(math.exp(LATTICE * (low + stride)), delta)
        else:
            low += stride
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return null.epsilon(math.exp(LATTICE * low), delta)


def accuracy(curve: Curve) -> float:
    """Largest probability of a right guess under a fair coin: (1 + TV) / 2."""
    return (1 + curve.total_variation) / 2


class Kept:
    """Curves that an audit looks at again and again, the last ones used, so many as ``most`` bytes hold."""

    def __init__(self, most: int) -> None:
        self.most, self.size, self.lock = most, 0, Lock()
        self.curves: OrderedDict[Hashable, TradeOff] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], TradeOff]) -> TradeOff:
        """The curve of a key, made when it is not there."""
        with self.lock:
            if key in self.curves:
                self.curves.move_to_end(key)
                return self.curves[key]
        curve = make()
        with self.lock:
            if key not in self.curves:
                self.curves[key] = curve
                self.size += _bytes(curve)
            while self.size > self.most:
                self.size -= _bytes(self.curves.popitem(last=False)[1])
        return curve


def _bytes(curve: TradeOff) -> int:
    return curve.fpr.nbytes + curve.tpr.nbytes


KEPT = Kept(128 * 2**20)


def _curve(null: MechanismFamily, strength: float) -> TradeOff:
    return KEPT.get((null, strength), lambda: trade_off(null.scaled(strength), adjacency=null.adjacency, grid=COARSE))


def _symmetric(null: MechanismFamily, strength: float) -> TradeOff:
    return KEPT.get((null, strength, "symmetric"), lambda: _curve(null, strength).symmetric())


@lru_cache(maxsize=512)
def _epsilon(null: MechanismFamily, strength: float, delta: float) -> float:
    return accounted(null.scaled(strength), delta=delta, adjacency=null.adjacency, grid=COARSE).epsilon


def _bracketed(excess: Callable[[float], float], *, tolerance: float) -> float:
    from scipy.optimize import brentq

    low, high = 0.5, 1.5
    while excess(low) > 0:
        low /= 2
    while excess(high) < 0:
        high *= 1.5
    return float(brentq(excess, low, high, xtol=tolerance, rtol=tolerance))


def _normal_cdf(x: float) -> float:
    return math.erfc(-x / math.sqrt(2)) / 2
