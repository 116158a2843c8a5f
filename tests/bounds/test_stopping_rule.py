"""A test of known length that may stop at its looks: its level, its limit, how soon it stops."""

import itertools

import numpy as np
import pytest
from scipy.stats import binom

from dpaudit.bounds.sequential import log_wealth
from dpaudit.bounds.stopping_rule import StoppedAccuracy, StoppingRule
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.intervals import lower_limit
from dpaudit.scores.scores import Scores

RULE = StoppingRule((4, 8, 10, 12), 0.6, 0.1)
PATHS = np.array(list(itertools.product((0, 1), repeat=12)))
UPTO = np.cumsum(PATHS, axis=1)


def _chances(rate: float) -> FloatArray:
    """Probability of each of the 4,096 paths."""
    right = PATHS.sum(axis=1)
    return np.asarray(rate**right * (1 - rate) ** (12 - right))


def _stops(rule: StoppingRule) -> list[tuple[int, int]]:
    """Right guesses and trials where each path stops."""
    return [
        next(((int(path[n - 1]), n) for n in rule.looks if rule.refutes(int(path[n - 1]), n)), (int(path[-1]), 12))
        for path in UPTO
    ]


def test_the_level_is_that_of_all_paths() -> None:
    """Brute force: all 4,096 paths of 12 trials; with at most the level a true rate is refuted, and not far less."""
    refuted = np.array([RULE.refutes(*stop) for stop in _stops(RULE)])
    alarms = float(_chances(0.6)[refuted].sum())
    assert 0.04 < alarms <= 0.1
    bars = binom.isf(0.1, np.arange(1, 13), 0.6) + 1
    assert _chances(0.6)[(bars <= UPTO).any(axis=1)].sum() > 0.1  # which the fixed test after every trial does not keep


@pytest.mark.parametrize("rate", [0.3, 0.55, 0.6, 0.601, 0.7, 0.9])
def test_the_limit_is_above_the_rate_with_at_most_the_level(rate: float) -> None:
    """Brute force over all paths; the fixed limit at the stop exceeds the level somewhere, and this one nowhere."""
    above = np.array([RULE.lower_rate(*stop) > rate for stop in _stops(RULE)])
    assert _chances(rate)[above].sum() <= 0.1 + 1e-9


def test_the_fixed_limit_at_the_stop_is_caught() -> None:
    """Mutation: Clopper and Pearson's limit of the trials so far forgets that the test could have stopped before."""
    limits = np.array([lower_limit(*stop, 0.1) for stop in _stops(RULE)])
    assert max(float(_chances(rate)[limits > rate].sum()) for rate in np.linspace(0.55, 0.9, 36)) > 0.1


@pytest.mark.parametrize("stop", [(4, 4), (8, 8), (5, 8), (7, 10), (12, 12), (3, 12)])
def test_the_p_value_is_the_share_of_paths_as_extreme(stop: tuple[int, int]) -> None:
    """Brute force: earlier refutations, and at the same look more right guesses."""
    correct, trials = stop
    reached = np.zeros(len(UPTO), bool)
    for look, least in zip(RULE.looks, RULE.least, strict=True):
        if look == trials:
            reached |= UPTO[:, look - 1] >= correct
            break
        reached |= UPTO[:, look - 1] >= least
    assert RULE.p_value(correct, trials, 0.6) == pytest.approx(float(_chances(0.6)[reached].sum()), abs=1e-12)


def test_refuting_and_a_limit_above_the_claim_are_one() -> None:
    """At every outcome where the test stops early, so that a verdict and a stop never contradict each other."""
    rule = StoppingRule.every(32, 320, 0.7, 0.05)
    for look, least in zip(rule.looks, rule.least, strict=True):
        for correct in (least, look):
            assert rule.lower_rate(correct, look) > 0.7
    assert rule.lower_rate(rule.least[-1] - 2, 320) <= 0.7


def test_one_look_is_the_exact_binomial_limit() -> None:
    """Without a claim to refute, or with a single look, it is Clopper and Pearson's."""
    assert StoppingRule((500,), None, 0.05).lower_rate(400, 500) == pytest.approx(lower_limit(400, 500, 0.05), abs=1e-8)
    assert StoppingRule((500,), 0.7, 0.05).lower_rate(400, 500) == pytest.approx(lower_limit(400, 500, 0.05), abs=1e-8)
    assert StoppingRule((500,), None, 0.05).lower_rate(0, 500) == 0.0


def test_it_refutes_wherever_bets_that_hold_for_ever_do() -> None:
    """The goal is never above Ville's, and clearly below it where the number of trials is known."""
    rule = StoppingRule.every(32, 960, 0.69, 0.05)
    forever = [np.append(log_wealth(np.arange(n + 1.0), n, 0.69), np.inf) >= np.log(20) for n in rule.looks]
    fewer = np.array([int(np.argmax(rich)) for rich in forever]) - rule.least
    assert (fewer >= 0).all()
    assert (fewer[5:] > 0).all()


def test_a_bound_is_made_where_the_test_stopped() -> None:
    """Its trials, its procedure, its ceiling: a perfect attack stops at the first look that can refute."""
    rule = StoppingRule.every(32, 96, 0.7, 0.05)
    bound = StoppedAccuracy(0.0, rule)
    terms = {"delta": 0.0, "confidence": 0.95, "adjacency": "add-remove", "unit": "record"}
    found = bound(Scores(np.ones(20), -np.ones(12)), **terms)  # type: ignore[arg-type]
    assert (
        found.epsilon
        == pytest.approx(found.ceiling)
        == pytest.approx(np.log(0.05 ** (1 / 32) / (1 - 0.05 ** (1 / 32))))
    )
    assert (found.trials, found.procedure.kind) == (32, "sequential")
    with pytest.raises(InputError, match="looks after"):
        bound(Scores(np.ones(20), -np.ones(13)), **terms)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"stopped at level 0\.05"):
        bound(Scores(np.ones(20), -np.ones(12)), **{**terms, "confidence": 0.9})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("looks", "null", "message"),
    [((), 0.7, "numbers of trials that grow"), ((32, 32), 0.7, "grow"), ((32,), 1.0, r"in \[0.5, 1\)")],
)
def test_rules_that_test_nothing_are_refused(looks: tuple[int, ...], null: float, message: str) -> None:
    """One line that says what would be right."""
    with pytest.raises(InputError, match=message):
        StoppingRule(looks, null, 0.05)
