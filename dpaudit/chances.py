"""How likely each method contradicts a claim after so many trials of a Gaussian leak.

Probabilities are computed, not simulated: binomial where every trial is guessed, and an integral over the threshold
that the guesses reach where some are not. A threshold or number of guesses is taken to be chosen beforehand, at its
best.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy.special import betaincinv, ndtr, ndtri
from scipy.stats import binom

from dpaudit._check import FloatArray
from dpaudit.accounting import gaussian_mu
from dpaudit.bounds import one_run_trade_off as trade_offs
from dpaudit.bounds.accuracy import accuracy_bound
from dpaudit.bounds.clopper_pearson import clopper_pearson
from dpaudit.bounds.conditional import SHARE_FOR_RATE, conditional
from dpaudit.bounds.counts import Counts, Guesses
from dpaudit.bounds.null import ApproximateCurve, Definition, Gaussian, GaussianCurve, accuracy
from dpaudit.bounds.one_run import one_run_ceiling, one_run_p_value
from dpaudit.bounds.whole_curve import whole_curve
from dpaudit.intervals import lower_rate, upper_rate

NODES = 64  # of the integral over the threshold the guesses reach
HALVINGS = 60  # of a range of some 40 standard deviations: to the last digit
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
    chances = _rates_at(grid, side, mu, test, curve)
    best = int(np.argmax(chances))
    fine = np.linspace(grid[max(best - 1, 0)], grid[min(best + 1, grid.size - 1)], 9)
    return float(max(chances[best], _rates_at(fine, side, mu, test, curve).max()))


def _rates_at(
    thresholds: FloatArray, side: int, mu: float, test: Hypothesis, curve: GaussianCurve | None
) -> FloatArray:
    alarms, weights = _outcomes(side, ndtr(-thresholds))
    fpr = upper_rate(alarms, side, test.level / 2)
    if curve is None:
        grow = math.exp(test.claimed)
        room = np.maximum(1 - test.delta - grow * fpr, (1 - test.delta - fpr) / grow)
    else:
        room = 1 - ndtr(ndtri(fpr) + curve.mu)
    # The most misses whose upper limit is still below the room there is.
    most = np.where(room > 0, binom.ppf(test.level / 2, side, np.clip(room, 1e-300, 1)) - 1, -1)
    seen = np.where(most >= 0, binom.cdf(most, side, ndtr(thresholds - mu)[:, None]), 0.0)
    chances: FloatArray = (weights * seen).sum(axis=1)
    return chances


def _conditional(n: int, mu: float, test: Hypothesis) -> float:
    """Best share of trials guessed; all of them need no allowance for how many the guesses reach."""
    shares = np.array(SHARES)[:, None]
    right = _accuracy_above(shares[:, 0], mu)[:, None]
    made, weights = _outcomes(n, shares[:, 0])
    weights, made = np.where(made > 0, weights, 0.0), np.maximum(made, 1)
    guessing = np.where(shares == 1, 1.0, lower_rate(made, n, SHARE_FOR_RATE * test.level))
    left = np.where(shares == 1, test.level, (1 - SHARE_FOR_RATE) * test.level)
    grow = math.exp(test.claimed)
    rate = np.clip((grow + test.delta / guessing) / (1 + grow), 0, 1)
    needed = binom.isf(left, made, rate) + 1
    return float((weights * binom.sf(needed - 1, made, right)).sum(axis=1).max())


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
    return float(np.mean(binom.sf(high - 1, made, _accuracy_above(reached, mu))))


def _accuracy_above(shares: FloatArray, mu: float) -> FloatArray:
    """Accuracy on each share of trials whose scores are farthest from the middle."""
    low, high = np.zeros(len(shares)), np.full(len(shares), mu / 2 + 40)
    for _ in range(HALVINGS):
        cut = (low + high) / 2
        wider = ndtr(mu / 2 - cut) + ndtr(-mu / 2 - cut) > shares
        low, high = np.where(wider, cut, low), np.where(wider, high, cut)
    right, wrong = ndtr(mu / 2 - low), ndtr(-mu / 2 - low)
    found: FloatArray = right / (right + wrong)
    return found


def _outcomes(n: int, rates: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Outcomes of binomials and their probabilities, a row for each rate; thinned to quantiles where they are many."""
    low, high = (np.asarray(limit(1e-9, n, rates), np.float64) for limit in (binom.ppf, binom.isf))
    many = high - low >= CELLS
    counts = low[:, None] + np.arange(min(CELLS, int((high - low).max()) + 1))
    weights = np.where(counts <= high[:, None], binom.pmf(counts, n, rates[:, None]), 0.0)
    if many.any():
        counts[many] = binom.ppf((np.arange(CELLS) + 0.5) / CELLS, n, rates[many, None])
        weights[many] = 1 / CELLS
    return np.minimum(counts, n), weights


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
