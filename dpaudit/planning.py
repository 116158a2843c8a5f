"""Planning an audit: how many trials each method needs, and what an audit at hand could have seen.

The leak is taken to be Gaussian: a record moves the best score by μ standard deviations, with μ from the suspected ε.
Probabilities are computed, not simulated: binomial where every trial is guessed, and an integral over the threshold
that the guesses reach where some are not. A threshold or number of guesses is taken to be chosen beforehand, at its
best.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaincinv, ndtr, ndtri
from scipy.stats import binom

from dpaudit import _check
from dpaudit._check import FloatArray
from dpaudit.accounting import gaussian_epsilon, gaussian_mu
from dpaudit.bounds import one_run_trade_off as trade_offs
from dpaudit.bounds.accuracy import accuracy_bound
from dpaudit.bounds.clopper_pearson import clopper_pearson
from dpaudit.bounds.conditional import SHARE_FOR_RATE, conditional
from dpaudit.bounds.null import ApproximateCurve, Definition, Gaussian, GaussianCurve, accuracy
from dpaudit.bounds.one_run import one_run_ceiling, one_run_p_value
from dpaudit.bounds.selection import Counts, Guesses
from dpaudit.bounds.whole_curve import whole_curve
from dpaudit.errors import InputError
from dpaudit.evidence import LowerBound
from dpaudit.intervals import lower_rate, upper_rate

Access = Literal["steps", "runs", "one-run"]
ACCESS: tuple[str, ...] = get_args(Access)
POWER = 0.8  # probability with which a violation is to be seen, where nothing else is said
PERFECT = "a perfect attack"
LARGEST = 10_000_000  # trials beyond which a method is said never to get there
NODES = 64  # of the integral over the threshold the guesses reach
CELLS = 200  # outcomes of one world summed over; more than that are thinned to quantiles
SHARES = tuple(float(share) for share in np.geomspace(0.003, 1.0, 12))


@dataclass(frozen=True)
class Required:
    """What one method needs.

    Args:
        method: name of the bound and the curves it refutes.
        one_run: True when the trials are canaries of one run; else they are independent steps or runs.
        trials: smallest number found that reaches the wanted power; None when none up to ten million does.
        ceiling: the ε that a perfect attack could certify with as many.
        family: empty when the method holds for every mechanism, else the family it holds in.
    """

    method: str
    one_run: bool
    trials: int | None
    ceiling: float
    family: str


@dataclass(frozen=True)
class PowerPlan:
    """Trials per method, cheapest first.

    Args:
        claimed: ε of the claim.
        suspected: ε there might really be.
        delta: δ of both.
        confidence: of the bound.
        power: wanted probability of contradicting the claim.
        floor: trials that the best test of all would need: the mean score, its standard deviation known.
        rows: one per method.
    """

    claimed: float
    suspected: float
    delta: float
    confidence: float
    power: float
    floor: int
    rows: tuple[Required, ...]

    @property
    def best(self) -> Required | None:
        """The method with the fewest trials; None when no method gets there."""
        return next((row for row in self.rows if row.trials is not None), None)


def power(
    claimed: float,
    suspected: float | None = None,
    *,
    delta: float,
    bug_factor: float | None = None,
    access: Access | None = None,
    confidence: float = 0.95,
    power: float = 0.8,
) -> PowerPlan:
    """Trials needed to contradict a claim of (``claimed``, δ) when the truth is ``suspected``.

    Args:
        claimed: ε of the claim.
        suspected: ε there might really be; or give ``bug_factor``.
        delta: δ of both, above 0.
        bug_factor: how many times too small the noise is, instead of ``suspected``.
        access: what can be repeated: ``steps``, ``runs``, or canaries in ``one-run``; all methods when None.
        confidence: of the bound.
        power: probability with which the claim is to be contradicted.

    Raises:
        InputError: neither or both of ``suspected`` and ``bug_factor``, or a suspicion that the claim allows.

    >>> power(4.0, 8.0, delta=1e-5, access="steps").best.trials
    89
    """
    start, slack = _check.nonnegative("claimed", claimed), _check.positive("delta", _check.delta("delta", delta))
    level = 1 - _check.open_unit("confidence", confidence)
    _check.open_unit("power", power)
    if (suspected is None) == (bug_factor is None):
        raise InputError("give either suspected or bug_factor.")
    if suspected is None:
        factor = _check.positive("bug_factor", bug_factor)
        suspected = gaussian_epsilon(factor * gaussian_mu(start, slack), slack)
    if _check.nonnegative("suspected", suspected) <= start:
        raise InputError(f"suspected must be above the claimed {start:g}, got {suspected:g}: the claim allows it.")
    if access is not None:
        _check.one_of("access", access, ACCESS)
    mu = gaussian_mu(suspected, slack)
    test = _Test(start, slack, level)
    names = [name for name, method in METHODS.items() if access is None or method.one_run == (access == "one-run")]
    rows = sorted((_required(name, mu, test, power) for name in names), key=lambda row: row.trials or math.inf)
    return PowerPlan(start, suspected, slack, confidence, power, _floor(mu, test, power), tuple(rows))


def _required(name: str, mu: float, test: "_Test", wanted: float) -> Required:
    method = METHODS[name]
    trials = _smallest(lambda n: method.chance(n, mu, test), wanted, exact=method.exact)
    ceiling = method.ceiling(trials, test) if trials is not None else 0.0
    return Required(name, method.one_run, trials, ceiling, method.family)


@lru_cache(maxsize=4096)  # the attacks of one audit have the same bounds on as many trials
def visible(
    method: str, trials: int, *, claimed: float, delta: float, confidence: float = 0.95, power: float = POWER
) -> float:
    """The smallest true ε at which this audit would have contradicted the claim with probability ``power``.

    Infinite when no leak, however large, would have: the audit says nothing about the claim.

    Args:
        method: a key of `METHODS`; bounds are found by their own ``method`` and family with `planned_as`.
        trials: as in `LowerBound.trials`.
        claimed: ε of the claim.
        delta: δ of the bound, above 0.
        confidence: of the bound.
        power: wanted probability.

    >>> round(visible("accuracy, Gaussian", 97, claimed=4.0, delta=1e-5), 2)
    7.78
    """
    planned = METHODS[_check.one_of("method", method, tuple(METHODS))]
    n = _check.integer("trials", trials, at_least=1)
    slack = _check.positive("delta", _check.delta("delta", delta))
    test = _Test(_check.nonnegative("claimed", claimed), slack, 1 - _check.open_unit("confidence", confidence))
    low = gaussian_mu(test.claimed, slack)

    def short(mu: float) -> float:
        return planned.chance(n, mu, test) - _check.open_unit("power", power)

    high = low + 0.5
    while short(high) < 0:
        high *= 1.5
        if high > 40:
            return math.inf
    return gaussian_epsilon(float(brentq(short, low, high, xtol=1e-4)), slack)


@dataclass(frozen=True)
class Reach:
    """What an audit at hand could have seen.

    Args:
        epsilon: smallest true ε that would have contradicted the claim; infinite when none would.
        basis: how it was found, in words.
    """

    epsilon: float
    basis: str


def reach(bound: LowerBound, claimed: float, *, power: float = POWER) -> Reach:
    """What the audit behind a bound could have seen of a violation of ``claimed``.

    For methods whose power is computed here it is the smallest ε of a Gaussian leak that would have been reported with
    probability ``power``; for the others what a perfect attack could have certified, which flatters them.

    >>> from dpaudit.bounds.clopper_pearson import ClopperPearson
    >>> from dpaudit.bounds.selection import Fixed
    >>> from dpaudit.scores import Scores
    >>> scores = Scores(np.ones(500), np.zeros(500))
    >>> bound = ClopperPearson(Fixed(0.5))(
    ...     scores, delta=1e-5, confidence=0.95, adjacency="add-remove", unit="record"
    ... )
    >>> found = reach(bound, 2.0)
    >>> round(found.epsilon, 1), found.basis
    (7.9, 'a Gaussian leak, seen with probability 0.8')
    """
    if bound.ceiling <= claimed:
        return Reach(math.inf, PERFECT)  # whatever other choices of threshold or guesses would have allowed
    name = planned_as(bound.method, bound.family)
    if name is None or bound.delta == 0:
        return Reach(bound.ceiling, PERFECT)
    figure = visible(name, bound.trials, claimed=claimed, delta=bound.delta, confidence=bound.confidence, power=power)
    return Reach(figure, f"a Gaussian leak, seen with probability {power:g}")


def planned_as(method: str, family: str) -> str | None:
    """The key of `METHODS` for a bound's method and family; None when its power is not computed here.

    >>> planned_as("one-run", "")
    'one-run'
    """
    plain = {
        "clopper-pearson": "clopper-pearson",
        "conditional": "conditional",
        "one-run": "one-run",
        "accuracy": "accuracy, any mechanism",
        "one-run-trade-off": "one-run trade-off, any mechanism",
    }
    gaussian = {
        "accuracy": "accuracy, Gaussian",
        "whole-curve": "whole curve, Gaussian",
        "one-run-trade-off": "one-run trade-off, Gaussian",
    }
    return (gaussian if family == Gaussian().family else plain if not family else {}).get(method)


@dataclass(frozen=True)
class _Test:
    claimed: float
    delta: float
    level: float


@dataclass(frozen=True)
class _Method:
    """How likely a method contradicts the claim after n trials of a Gaussian leak μ, and its ceiling."""

    one_run: bool
    chance: Callable[[int, float, _Test], float]
    ceiling: Callable[[int, _Test], float]
    family: str = ""
    exact: bool = False


def _accuracy(n: int, mu: float, test: _Test, *, gaussian: bool) -> float:
    curve = (
        GaussianCurve(gaussian_mu(test.claimed, test.delta)) if gaussian else ApproximateCurve(test.claimed, test.delta)
    )
    needed = binom.isf(test.level, n, accuracy(curve)) + 1
    return float(binom.sf(needed - 1, n, ndtr(mu / 2)))


def _floor(mu: float, test: _Test, wanted: float) -> int:
    """Two-sample z-test of the mean score, half of the trials in each world."""
    apart = (ndtri(1 - test.level) + ndtri(wanted)) / (mu - gaussian_mu(test.claimed, test.delta))
    return 2 * math.ceil(2 * apart**2)


def _rates(n: int, mu: float, test: _Test, *, gaussian: bool) -> float:
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


def _rates_at(threshold: float, side: int, mu: float, test: _Test, curve: GaussianCurve | None) -> float:
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


def _conditional(n: int, mu: float, test: _Test) -> float:
    return max(_conditional_at(share, n, mu, test) for share in SHARES)


def _conditional_at(share: float, n: int, mu: float, test: _Test) -> float:
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


def _one_run(n: int, mu: float, test: _Test) -> float:
    def surprising(guesses: Guesses) -> bool:
        return one_run_p_value(guesses, test.claimed, test.delta) <= test.level

    return max(_guessing(share, n, mu, surprising) for share in SHARES)


def _one_run_trade_off(n: int, mu: float, test: _Test, *, gaussian: bool) -> float:
    curve = (
        GaussianCurve(gaussian_mu(test.claimed, test.delta)) if gaussian else ApproximateCurve(test.claimed, test.delta)
    )
    return max(_guessing(share, n, mu, lambda g: trade_offs.refutes(g, curve, test.level)) for share in SHARES)


def _guessing(share: float, n: int, mu: float, surprising: Callable[[Guesses], bool]) -> float:
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


def _smallest(chance: Callable[[int], float], wanted: float, *, exact: bool) -> int | None:
    low, high = 1, 2
    while chance(high) < wanted:
        low, high = high, math.ceil(1.5 * high)
        if high > LARGEST:
            return None
    while high - low > max(1, high // 500):
        middle = (low + high) // 2
        low, high = (low, middle) if chance(middle) >= wanted else (middle, high)
    if exact:
        # Binomial power is a sawtooth: a smaller number may get there just before the next tooth.
        return next(n for n in range(max(2, int(0.7 * high)), high + 1) if chance(n) >= wanted)
    return high


def _perfect(n: int) -> Counts:
    side = max(1, n // 2)
    return Counts(side, 0, 0, side)


FAMILY = Gaussian().family
METHODS: Mapping[str, _Method] = MappingProxyType(
    {
        "accuracy, Gaussian": _Method(
            False,
            lambda n, mu, test: _accuracy(n, mu, test, gaussian=True),
            lambda n, test: accuracy_bound(n, n, test.delta, test.level),
            FAMILY,
            exact=True,
        ),
        "accuracy, any mechanism": _Method(
            False,
            lambda n, mu, test: _accuracy(n, mu, test, gaussian=False),
            lambda n, test: accuracy_bound(n, n, test.delta, test.level, null=Definition()),
            exact=True,
        ),
        "conditional": _Method(
            False, _conditional, lambda n, test: conditional(Guesses(n, n, n), test.delta, test.level)
        ),
        "clopper-pearson": _Method(
            False,
            lambda n, mu, test: _rates(n, mu, test, gaussian=False),
            lambda n, test: clopper_pearson(_perfect(n), test.delta, test.level),
        ),
        "whole curve, Gaussian": _Method(
            False,
            lambda n, mu, test: _rates(n, mu, test, gaussian=True),
            lambda n, test: whole_curve(_perfect(n), test.delta, test.level, null=Gaussian()),
            FAMILY,
        ),
        "one-run": _Method(True, _one_run, lambda n, test: one_run_ceiling(Guesses(n, n, n), test.delta, test.level)),
        "one-run trade-off, Gaussian": _Method(
            True,
            lambda n, mu, test: _one_run_trade_off(n, mu, test, gaussian=True),
            lambda n, test: trade_offs.one_run_trade_off(Guesses(n, n, n), test.delta, test.level, null=Gaussian()),
            FAMILY,
        ),
        "one-run trade-off, any mechanism": _Method(
            True,
            lambda n, mu, test: _one_run_trade_off(n, mu, test, gaussian=False),
            lambda n, test: trade_offs.one_run_trade_off(Guesses(n, n, n), test.delta, test.level, null=Definition()),
        ),
    }
)
