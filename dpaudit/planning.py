"""Planning an audit: how many trials each method needs, and what an audit at hand could have seen.

The leak is taken to be Gaussian: a record moves the best score by μ standard deviations, with μ from the suspected ε.
How likely each method sees it is computed in `dpaudit.chances`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Literal, get_args

from scipy.optimize import brentq

from dpaudit import _check
from dpaudit.accounting import gaussian_epsilon, gaussian_mu
from dpaudit.bounds.null import Gaussian
from dpaudit.chances import METHODS, Hypothesis, floor
from dpaudit.claim import Claim, GaussianSteps
from dpaudit.errors import InputError
from dpaudit.evidence import LowerBound
from dpaudit.forensics.step_canaries import METHOD as STEP_CANARIES
from dpaudit.forensics.step_canaries import visible_to_steps

Access = Literal["steps", "runs", "one-run"]
ACCESS: tuple[str, ...] = get_args(Access)
POWER = 0.8  # probability with which a violation is to be seen, where nothing else is said
LARGEST = 10_000_000  # trials beyond which a method is said never to get there


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
    test = Hypothesis(start, slack, level)
    names = [name for name, method in METHODS.items() if access is None or method.one_run == (access == "one-run")]
    rows = sorted((_required(name, mu, test, power) for name in names), key=lambda row: row.trials or math.inf)
    return PowerPlan(start, suspected, slack, confidence, power, floor(mu, test, power), tuple(rows))


def _required(name: str, mu: float, test: Hypothesis, wanted: float) -> Required:
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
    test = Hypothesis(_check.nonnegative("claimed", claimed), slack, 1 - _check.open_unit("confidence", confidence))
    low = gaussian_mu(test.claimed, slack)

    def short(mu: float) -> float:
        return planned.chance(n, mu, test) - _check.open_unit("power", power)

    high = low + 0.5
    while short(high) < 0:
        high *= 1.5
        if high > 40:
            return math.inf
    return gaussian_epsilon(float(brentq(short, low, high, xtol=1e-4)), slack)


class ReachBasis(Enum):
    """What an audit is said to have seen: the kind of leak that its reach is about."""

    PERFECT = "a perfect attack"
    LESS_NOISE = "less noise than claimed"
    GAUSSIAN = "a Gaussian leak"


@dataclass(frozen=True)
class Reach:
    """What an audit at hand could have seen.

    Args:
        epsilon: smallest true ε that would have contradicted the claim; infinite when none would.
        basis: the kind of leak.
    """

    epsilon: float
    basis: ReachBasis


def reach(bound: LowerBound, claimed: float, *, steps: GaussianSteps | None = None, power: float = POWER) -> Reach:
    """What the audit behind a bound could have seen of a violation of ``claimed``.

    For methods whose power is computed here it is the smallest ε of a Gaussian leak that would have been reported with
    probability ``power``; for step canaries, when the ``steps`` behind the claim are known, the smallest ε of the same
    steps with less noise; for the others what a perfect attack could have certified, which flatters them.

    >>> import numpy as np
    >>> from dpaudit.bounds.clopper_pearson import ClopperPearson
    >>> from dpaudit.bounds.selection import Fixed
    >>> from dpaudit.scores import Scores
    >>> scores = Scores(np.ones(500), np.zeros(500))
    >>> bound = ClopperPearson(Fixed(0.5))(
    ...     scores, delta=1e-5, confidence=0.95, adjacency="add-remove", unit="record"
    ... )
    >>> found = reach(bound, 2.0)
    >>> round(found.epsilon, 1), found.basis.value
    (7.9, 'a Gaussian leak')
    """
    if bound.ceiling <= claimed:
        return Reach(math.inf, ReachBasis.PERFECT)  # whatever other choices of threshold or guesses would have allowed
    if bound.method == STEP_CANARIES and steps is not None and bound.delta > 0:
        claim = Claim(claimed, bound.delta, bound.unit, bound.adjacency, "the claim at hand", steps)
        figure = visible_to_steps(claim, bound.trials, 1 - bound.confidence, power=power)
        return Reach(figure, ReachBasis.LESS_NOISE)
    name = planned_as(bound.method, bound.family)
    if name is None or bound.delta == 0:
        return Reach(bound.ceiling, ReachBasis.PERFECT)
    figure = visible(name, bound.trials, claimed=claimed, delta=bound.delta, confidence=bound.confidence, power=power)
    return Reach(figure, ReachBasis.GAUSSIAN)


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
