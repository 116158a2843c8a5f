"""How likely each method contradicts a claim after so many trials of a Gaussian leak.

Probabilities are computed, not simulated: binomial where every trial is guessed, and an integral over the threshold
that the guesses reach where some are not. A threshold or number of guesses is taken to be chosen beforehand, at its
best.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaincinv, ndtr, ndtri
from scipy.stats import binom

from dpaudit._check import FloatArray
from dpaudit.accounting import gaussian_mu
from dpaudit.bounds import one_run_trade_off as trade_offs
from dpaudit.bounds.accuracy import accuracy_bound
from dpaudit.bounds.clopper_pearson import clopper_pearson
from dpaudit.bounds.conditional import SHARE_FOR_RATE, conditional
from dpaudit.bounds.null import ApproximateCurve, Definition, Gaussian, GaussianCurve, accuracy
from dpaudit.bounds.one_run import one_run_ceiling, one_run_p_value
from dpaudit.bounds.selection import Counts, Guesses
from dpaudit.bounds.whole_curve import whole_curve
from dpaudit.intervals import lower_rate, upper_rate

NODES = 64  # of the integral over the threshold the guesses reach
CELLS = 200  # outcomes of one world summed over; more than that are thinned to quantiles
SHARES = tuple(float(share) for share in np.geomspace(0.003, 1.0, 12))


@dataclass(frozen=True)
class Hypothesis:
    """The claim under test: (``claimed``, ``delta``), refuted at ``level``."""

    claimed: float
    delta: float
    level: float


@dataclass(frozen=True)
class Planned:
    """How likely a method contradicts the claim after n trials of a Gaussian leak μ, and its ceiling."""

    one_run: bool
    chance: Callable[[int, float, Hypothesis], float]
    ceiling: Callable[[int, Hypothesis], float]
    family: str = ""
    exact: bool = False


def _accuracy(n: int, mu: float, test: Hypothesis, *, gaussian: bool) -> float:
    curve = (
        GaussianCurve(gaussian_mu(test.claimed, test.delta)) if gaussian else ApproximateCurve(test.claimed, test.delta)
    )
    needed = binom.isf(test.level, n, accuracy(curve)) + 1
    return float(binom.sf(needed - 1, n, ndtr(mu / 2)))


def floor(mu: float, test: Hypothesis, wanted: float) -> int:
    """Two-sample z-test of the mean score, half of the trials in each world."""
    apart = (ndtri(1 - test.level) + ndtri(wanted)) / (mu - gaussian_mu(test.claimed, test.delta))
    return 2 * math.ceil(2 * apart**2)


def _rates(n: int, mu: float, test: Hypothesis, *, gaussian: bool) -> float:
    """False-positive and false-negative counts of n / 2 trainings per world, best threshold."""
    side = n // 2
    if side == 0:
        return 0.0
    curve = GaussianCurve(gaussian_mu(test.claimed, test.delta)) if gaussian else None
    grid = np.linspace(mu / 2 - 1, mu / 2 + 4.5, 23)
    chances = [_rates_at(float(t), side, mu, test, curve) for t in grid]
    best = int(np.argmax(chances))
    fine = np.linspace(grid[max(best - 1, 0)], grid[min(best + 1, grid.size - 1)], 9)
    return max(max(chances), *(_rates_at(float(t), side, mu, test, curve) for t in fine))


def _rates_at(threshold: float, side: int, mu: float, test: Hypothesis, curve: GaussianCurve | None) -> float:
    alarms, weights = _outcomes(side, float(ndtr(-threshold)))
    fpr = upper_rate(alarms, side, test.level / 2)
    if curve is None:
        grow = math.exp(test.claimed)
        room = np.maximum(1 - test.delta - grow * fpr, (1 - test.delta - fpr) / grow)
    else:
        room = 1 - ndtr(ndtri(fpr) + curve.mu)
    # The most misses whose upper limit is still below the room there is.
    most = np.where(room > 0, binom.ppf(test.level / 2, side, np.clip(room, 1e-300, 1)) - 1, -1)
    return float(weights @ np.where(most >= 0, binom.cdf(most, side, ndtr(threshold - mu)), 0.0))


def _conditional(n: int, mu: float, test: Hypothesis) -> float:
    return max(_conditional_at(share, n, mu, test) for share in SHARES)


def _conditional_at(share: float, n: int, mu: float, test: Hypothesis) -> float:
    right = _accuracy_above(share, mu)
    every = share == 1
    made, weights = (np.array([float(n)]), np.ones(1)) if every else _outcomes(n, share)
    made, weights = made[made > 0], weights[made > 0]
    guessing = 1.0 if every else lower_rate(made, n, SHARE_FOR_RATE * test.level)
    left = test.level * (1.0 if every else 1 - SHARE_FOR_RATE)
    grow = math.exp(test.claimed)
    rate = np.clip((grow + test.delta / guessing) / (1 + grow), 0, 1)
    needed = binom.isf(left, made, rate) + 1
    return float(weights @ binom.sf(needed - 1, made, right))


def _one_run(n: int, mu: float, test: Hypothesis) -> float:
    def surprising(guesses: Guesses) -> bool:
        return one_run_p_value(guesses, test.claimed, test.delta) <= test.level

    return max(guessing(share, n, mu, surprising) for share in SHARES)


def _one_run_trade_off(n: int, mu: float, test: Hypothesis, *, gaussian: bool) -> float:
    curve = (
        GaussianCurve(gaussian_mu(test.claimed, test.delta)) if gaussian else ApproximateCurve(test.claimed, test.delta)
    )
    return max(guessing(share, n, mu, lambda g: trade_offs.refutes(g, curve, test.level)) for share in SHARES)


def guessing(share: float, n: int, mu: float, surprising: Callable[[Guesses], bool]) -> float:
    """Chance that guesses on the ``share`` of canaries farthest from the middle surprise.

    Given the distance that the guesses reach, each is right independently with the same probability; the share of all
    canaries beyond that distance is an order statistic of uniforms, a Beta variable.
    """
    made = max(1, round(share * n))
    low, high = made // 2, made + 1  # the least number of right guesses that surprises lies between
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if surprising(Guesses(n, made, middle)) else (middle, high)
    if high > made:
        return 0.0
    if made == n:
        return float(binom.sf(high - 1, n, ndtr(mu / 2)))
    reached = betaincinv(made + 1, n - made, (np.arange(NODES) + 0.5) / NODES)
    rates = np.array([_accuracy_above(float(each), mu) for each in reached])
    return float(np.mean(binom.sf(high - 1, made, rates)))


@lru_cache(maxsize=65536)
def _accuracy_above(share: float, mu: float) -> float:
    """Accuracy on the ``share`` of trials whose score is farthest from the middle."""
    if share >= 1:
        return float(ndtr(mu / 2))
    cut = brentq(lambda x: ndtr(mu / 2 - x) + ndtr(-mu / 2 - x) - share, 0.0, mu / 2 + 40)
    return float(ndtr(mu / 2 - cut) / (ndtr(mu / 2 - cut) + ndtr(-mu / 2 - cut)))


def _outcomes(n: int, rate: float) -> tuple[FloatArray, FloatArray]:
    """Outcomes of a binomial and their probabilities; thinned to quantiles when there are too many."""
    low, high = binom.ppf(1e-9, n, rate), binom.isf(1e-9, n, rate)
    if high - low < CELLS:
        counts = np.arange(low, high + 1)
        return counts, np.asarray(binom.pmf(counts, n, rate), np.float64)
    counts = binom.ppf((np.arange(CELLS) + 0.5) / CELLS, n, rate)
    return np.asarray(counts, np.float64), np.full(CELLS, 1 / CELLS)


def _perfect(n: int) -> Counts:
    side = max(1, n // 2)
    return Counts(side, 0, 0, side)


FAMILY = Gaussian().family
METHODS: Mapping[str, Planned] = MappingProxyType(
    {
        "accuracy, Gaussian": Planned(
            False,
            lambda n, mu, test: _accuracy(n, mu, test, gaussian=True),
            lambda n, test: accuracy_bound(n, n, test.delta, test.level),
            FAMILY,
            exact=True,
        ),
        "accuracy, any mechanism": Planned(
            False,
            lambda n, mu, test: _accuracy(n, mu, test, gaussian=False),
            lambda n, test: accuracy_bound(n, n, test.delta, test.level, null=Definition()),
            exact=True,
        ),
        "conditional": Planned(
            False, _conditional, lambda n, test: conditional(Guesses(n, n, n), test.delta, test.level)
        ),
        "clopper-pearson": Planned(
            False,
            lambda n, mu, test: _rates(n, mu, test, gaussian=False),
            lambda n, test: clopper_pearson(_perfect(n), test.delta, test.level),
        ),
        "whole curve, Gaussian": Planned(
            False,
            lambda n, mu, test: _rates(n, mu, test, gaussian=True),
            lambda n, test: whole_curve(_perfect(n), test.delta, test.level, null=Gaussian()),
            FAMILY,
        ),
        "one-run": Planned(True, _one_run, lambda n, test: one_run_ceiling(Guesses(n, n, n), test.delta, test.level)),
        "one-run trade-off, Gaussian": Planned(
            True,
            lambda n, mu, test: _one_run_trade_off(n, mu, test, gaussian=True),
            lambda n, test: trade_offs.one_run_trade_off(Guesses(n, n, n), test.delta, test.level, null=Gaussian()),
            FAMILY,
        ),
        "one-run trade-off, any mechanism": Planned(
            True,
            lambda n, mu, test: _one_run_trade_off(n, mu, test, gaussian=False),
            lambda n, test: trade_offs.one_run_trade_off(Guesses(n, n, n), test.delta, test.level, null=Definition()),
        ),
    }
)
