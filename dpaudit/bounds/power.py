"""Planning an audit: how many trials each procedure needs, and what an audit at hand could have seen.

The leak is taken to be Gaussian: one change moves the best score by μ standard deviations, with μ from the suspected ε.
How likely each procedure sees it is computed in `dpaudit.bounds.power_methods`, for the procedures that audits run.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from scipy.special import ndtri

from dpaudit.accounting.claim import Claim, GaussianSteps
from dpaudit.accounting.gaussian import gaussian_epsilon, gaussian_mu
from dpaudit.bounds.choosing import SeveralSplits
from dpaudit.bounds.default import HELD_OUT, SEVERAL_FROM
from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.bounds.power_methods import (
    ACCESS,
    Access,
    FixedThreshold,
    HeldOutGuesses,
    Planned,
    UnionOfShares,
    floor,
)
from dpaudit.bounds.step_canary_power import METHOD as STEP_CANARIES
from dpaudit.bounds.step_canary_power import visible_to_steps
from dpaudit.bounds.threshold_power import HeldOutThreshold, Hypothesis, ThresholdByNumber
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError

POWER = 0.8  # probability with which a violation is to be seen, where nothing else is said
LARGEST = 10_000_000  # trials beyond which a procedure is said never to get there
PERFECT_MU = 40.0  # standard deviations beyond which no score is misplaced


def planned_runs(member_share: float = 0.5) -> ThresholdByNumber:
    """The bound of many runs as `default_bound` has it, each with the record with this probability.

    >>> planned_runs().one
    HeldOutThreshold(fraction=0.3, judged_only=False, member_share=0.5, splits=1)
    """
    splits, fraction = SeveralSplits(0).procedure.figures
    several = HeldOutThreshold(fraction, member_share=member_share, splits=int(splits))
    return ThresholdByNumber(several, HeldOutThreshold(HELD_OUT, member_share=member_share), SEVERAL_FROM)


DEFAULTS: Mapping[Access, Planned] = MappingProxyType(
    {"one-run": HeldOutGuesses(HELD_OUT), "runs": planned_runs(), "steps": FixedThreshold()}
)


@dataclass(frozen=True)
class Required:
    """What one procedure needs.

    Args:
        method: name of its bound, as in `LowerBound.method`.
        access: what can be repeated: canaries of ``one-run``, ``runs`` or ``steps``.
        words: what a trial is, in words.
        trials: smallest number found that reaches the wanted power; None when none up to ten million does.
        largest_certifiable: the ε that it certifies for a perfect attack on as many.
        within: empty when it holds for every mechanism, else the family it holds in.
    """

    method: str
    access: Access
    words: str
    trials: int | None
    largest_certifiable: float
    within: str


@dataclass(frozen=True)
class PowerPlan:
    """Trials per procedure, fewest first.

    Args:
        claimed: ε of the claim.
        suspected: ε there might really be.
        delta: δ of both.
        confidence: of the bound.
        power: wanted probability of contradicting the claim.
        floor: trials that the best test of all would need: the mean score, its standard deviation known.
        rows: one per procedure.
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
        """The procedure with the fewest trials; None when none gets there."""
        return next((row for row in self.rows if row.trials is not None), None)


def power(
    claimed: float,
    suspected: float | None = None,
    *,
    delta: float,
    bug_factor: float | None = None,
    access: Access | None = None,
    confidence: float = 0.95,
    power: float = POWER,
) -> PowerPlan:
    """Trials needed to contradict a claim of (``claimed``, δ) when the truth is ``suspected``.

    A trial is a fair coin: of a canary or record of one run, of a run, or of a canary gradient in one step. Trials that
    choose a threshold are counted.

    Args:
        claimed: ε of the claim.
        suspected: ε there might really be; or give ``bug_factor``.
        delta: δ of both, above 0.
        bug_factor: how many times too small the noise is, instead of ``suspected``.
        access: what can be repeated: ``steps``, ``runs``, or canaries in ``one-run``; all when None.
        confidence: of the bound.
        power: probability with which the claim is to be contradicted.

    Raises:
        InputError: neither or both of ``suspected`` and ``bug_factor``, or a suspicion that the claim allows.

    >>> power(4.0, 8.0, delta=1e-5, access="steps").best.trials
    89
    """
    start, slack = check.nonnegative("claimed", claimed), check.positive("delta", check.delta("delta", delta))
    level = 1 - check.open_unit("confidence", confidence)
    check.open_unit("power", power)
    if (suspected is None) == (bug_factor is None):
        raise InputError("give either suspected or bug_factor.")
    if suspected is None:
        factor = check.positive("bug_factor", bug_factor)
        suspected = gaussian_epsilon(factor * gaussian_mu(start, slack), slack)
    if check.nonnegative("suspected", suspected) <= start:
        raise InputError(f"suspected must be above the claimed {start:g}, got {suspected:g}: the claim allows it.")
    mu, test = gaussian_mu(suspected, slack), Hypothesis(start, slack, level)
    found = [_required(each, planned, mu, test, power) for each, planned in defaults(access).items()]
    rows = sorted(found, key=lambda row: row.trials or math.inf)
    return PowerPlan(start, suspected, slack, confidence, power, floor(mu, test, power), tuple(rows))


def defaults(access: str | None) -> dict[Access, Planned]:
    """The procedures that audits run with this access; all when None.

    >>> list(defaults("one-run"))
    ['one-run']
    """
    if access is not None:
        check.one_of("access", access, ACCESS)
    return {each: planned for each, planned in DEFAULTS.items() if access in (None, each)}


@lru_cache(maxsize=64)
def _required(access: Access, planned: Planned, mu: float, test: Hypothesis, wanted: float) -> Required:
    trials = _smallest(lambda n: planned.chance(n, mu, test), wanted, exact=planned.exact)
    largest = planned.ceiling(trials, test) if trials is not None else 0.0
    return Required(planned.method, access, planned.words, trials, largest, planned.within)


@lru_cache(maxsize=4096)  # the attacks of one audit have the same bounds on as many trials
def visible(
    planned: Planned, trials: int, *, claimed: float, delta: float, confidence: float = 0.95, power: float = POWER
) -> float:
    """The smallest true ε at which this audit contradicts the claim with probability ``power``: its detectable ε.

    Infinite when no leak, however large, does: the audit says nothing about the claim. It is about the neighbouring
    data sets that the bound is about.

    Args:
        planned: the procedure, for example one of `DEFAULTS`.
        trials: fair coins.
        claimed: ε of the claim.
        delta: δ of the bound, above 0.
        confidence: of the bound.
        power: wanted probability.

    >>> round(visible(DEFAULTS["steps"], 97, claimed=4.0, delta=1e-5), 2)
    7.78
    """
    from scipy.optimize import brentq

    n = check.integer("trials", trials, at_least=1)
    slack = check.positive("delta", check.delta("delta", delta))
    test = Hypothesis(check.nonnegative("claimed", claimed), slack, 1 - check.open_unit("confidence", confidence))
    goal = ndtri(check.open_unit("power", power))

    def short(mu: float) -> float:
        # Nearly straight in μ, so that few steps find the root.
        return float(ndtri(np.clip(planned.chance(n, mu, test), 1e-6, 1 - 1e-6)) - goal)

    if short(PERFECT_MU) < 0:
        return math.inf
    low = gaussian_mu(test.claimed, slack)
    high = low + 0.5
    while short(high) < 0:
        low, high = high, 1.5 * high
    # The chance turns within a few 1 / √n, so the place is found to a small part of that.
    return gaussian_epsilon(float(brentq(short, low, high, xtol=min(2e-3, 0.05 / math.sqrt(n)))), slack)


class ReachBasis(Enum):
    """What the smallest visible ε of an audit is about; the value is its name in words."""

    GAUSSIAN = "a Gaussian leak"
    LESS_NOISE = "less noise than claimed"
    PERFECT = "a perfect attack"


@dataclass(frozen=True)
class Reach:
    """What an audit at hand could have seen.

    Args:
        epsilon: smallest true ε that would have contradicted the claim; infinite when none would.
        basis: how it was found.
    """

    epsilon: float
    basis: ReachBasis


def reach(bound: LowerBound, claimed: float, *, steps: GaussianSteps | None = None, power: float = POWER) -> Reach:
    """What the audit behind a bound could have seen of a violation of ``claimed``.

    For the procedures that audits run it is the smallest ε of a Gaussian leak that is reported with probability
    ``power``, about the neighbouring data sets of the bound; for step canaries, when the ``steps`` behind the claim are
    known, the smallest ε of the same steps with less noise; for other procedures what a perfect attack could have
    certified, which flatters them.

    >>> import numpy as np
    >>> from dpaudit.bounds.clopper_pearson import ClopperPearson
    >>> from dpaudit.bounds.choosing import HeldOut
    >>> from dpaudit.scores.scores import Scores
    >>> scores = Scores(np.ones(500), np.zeros(500))
    >>> bound = ClopperPearson(HeldOut(0))(
    ...     scores, delta=1e-5, confidence=0.95, adjacency="add-remove", unit="record"
    ... )
    >>> found = reach(bound, 2.0)
    >>> round(found.epsilon), found.basis
    (9, <ReachBasis.GAUSSIAN: 'a Gaussian leak'>)
    """
    if bound.ceiling <= claimed:
        return Reach(math.inf, ReachBasis.PERFECT)  # whatever other choices of threshold or guesses would have allowed
    early = bound.procedure.kind == "sequential"
    if bound.method == STEP_CANARIES and steps is not None and bound.delta > 0 and not early:
        claim = Claim(claimed, bound.delta, bound.unit, bound.adjacency, "the claim at hand", steps)
        figure = visible_to_steps(claim, bound.trials, 1 - bound.confidence, power=power)
        return Reach(figure, ReachBasis.LESS_NOISE)
    planned = planned_as(bound)
    if planned is None or bound.delta == 0:
        return Reach(bound.ceiling, ReachBasis.PERFECT)
    figure = visible(
        planned, bound.trials, claimed=claimed, delta=bound.delta, confidence=bound.confidence, power=power
    )
    return Reach(figure, ReachBasis.GAUSSIAN)


def planned_as(bound: LowerBound) -> Planned | None:
    """The procedure behind a bound; None when its power is not computed here.

    >>> from dpaudit.bounds.lower_bound import Procedure
    >>> bound = LowerBound(
    ...     0.0, 1e-5, 0.95, "one-run", "replace-one", "record", (), 3.0, 200, procedure=Procedure("held-out", (0.3,))
    ... )
    >>> planned_as(bound)
    HeldOutGuesses(fraction=0.3, judged_only=True, scores_moved=1)
    """
    done = bound.procedure
    moved = 2 if done.split else 1
    match bound.method, done.kind:
        case UnionOfShares.method, "union":
            return UnionOfShares(done.figures, scores_moved=moved)
        case HeldOutGuesses.method, "held-out":
            return HeldOutGuesses(done.figures[0], judged_only=True, scores_moved=moved)
        case HeldOutThreshold.method, "held-out":
            return HeldOutThreshold(done.figures[0], judged_only=True, member_share=done.member_share)
        case HeldOutThreshold.method, "several-splits":
            splits, fraction = int(done.figures[0]), done.figures[1]
            return HeldOutThreshold(fraction, judged_only=True, member_share=done.member_share, splits=splits)
        case _:
            return None


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
