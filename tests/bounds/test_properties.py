"""What every bound must satisfy, on counts drawn by hypothesis."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpaudit.bounds.accuracy import Accuracy, accuracy_bound
from dpaudit.bounds.choosing import Fixed
from dpaudit.bounds.clopper_pearson import ClopperPearson, clopper_pearson
from dpaudit.bounds.conditional import Conditional, conditional
from dpaudit.bounds.hypothesis import Definition, Gaussian
from dpaudit.bounds.joint_beta import joint_beta
from dpaudit.bounds.one_run import one_run, one_run_ceiling
from dpaudit.bounds.one_run_trade_off import one_run_trade_off
from dpaudit.bounds.sequential import sequential
from dpaudit.bounds.trial_counts import Counts, Guesses
from dpaudit.bounds.whole_curve import WholeCurve, whole_curve
from dpaudit.scores.scores import Scores

OnGuesses = Callable[[Guesses, float, float], float]
GUESSES: dict[str, OnGuesses] = {
    "one-run": one_run,
    "conditional": conditional,
    "one-run trade-off, Gaussian": lambda g, d, a: one_run_trade_off(g, d, a, null=Gaussian()),
    "one-run trade-off, definition": lambda g, d, a: one_run_trade_off(g, d, a, null=Definition()),
    "accuracy, Gaussian": lambda g, d, a: accuracy_bound(g.correct, g.made, d, a),
    "accuracy, definition": lambda g, d, a: accuracy_bound(g.correct, g.made, d, a, null=Definition()),
    "sequential": lambda g, d, a: sequential(g.correct, g.made, d, a, null=Gaussian()),
}
COUNTS: dict[str, Callable[[Counts, float, float], float]] = {
    "clopper-pearson": clopper_pearson,
    "whole curve": lambda c, d, a: whole_curve(c, d, a, null=Gaussian()),
}
deltas = st.sampled_from([1e-12, 1e-6, 1e-3])
levels = st.floats(1e-6, 0.3)
few = settings(max_examples=40, deadline=None)


@st.composite
def guesses(draw: st.DrawFn) -> Guesses:
    canaries = draw(st.integers(2, 400))
    made = draw(st.integers(2, canaries))
    return Guesses(canaries, made, draw(st.integers(1, made - 1)))


@pytest.mark.parametrize("name", GUESSES)
@few
@given(given_=guesses(), delta=deltas, level=levels)
def test_guesses_are_monotone(name: str, given_: Guesses, delta: float, level: float) -> None:
    """More right guesses, a larger δ's smaller ε, a larger level: each only ever moves the bound one way."""
    bound = GUESSES[name]
    here = bound(given_, delta, level)
    assert 0 <= here < math.inf
    more = Guesses(given_.canaries, given_.made, given_.correct + 1)
    slack = 1e-6 * max(1.0, here)
    assert bound(more, delta, level) >= here - slack
    assert bound(given_, delta, min(0.5, 2 * level)) >= here - slack
    assert bound(given_, 3 * delta, level) <= here + slack
    if given_.correct < given_.made / 2 and level < 0.3:
        assert here == 0 or given_.correct >= 0.3 * given_.made
    assert bound(Guesses(given_.canaries, given_.made, given_.made), delta, level) >= here - slack


@pytest.mark.parametrize("name", COUNTS)
@few
@given(
    members=st.integers(1, 300),
    nonmembers=st.integers(1, 300),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    delta=deltas,
    level=levels,
)
def test_counts_are_monotone(
    name: str, members: int, nonmembers: int, shares: tuple[float, float], delta: float, level: float
) -> None:
    """More hits or fewer false alarms never lower the bound, and a perfect attack is the ceiling; labels may swap."""
    bound = COUNTS[name]
    hits, alarms = int(shares[0] * members), int(shares[1] * nonmembers)
    here = bound(Counts(hits, members - hits, alarms, nonmembers - alarms), delta, level)
    ceiling = bound(Counts(members, 0, 0, nonmembers), delta, level)
    assert 0 <= here <= ceiling + 1e-9
    if hits < members:
        assert bound(Counts(hits + 1, members - hits - 1, alarms, nonmembers - alarms), delta, level) >= here - 1e-9
    if alarms:
        assert bound(Counts(hits, members - hits, alarms - 1, nonmembers - alarms + 1), delta, level) >= here - 1e-9
    swapped = bound(Counts(nonmembers - alarms, alarms, members - hits, hits), delta, level)
    assert swapped == pytest.approx(here, abs=1e-9)


@few
@given(given_=guesses(), delta=st.sampled_from([0.0, 1e-6, 1e-3, 0.1]), level=levels)
def test_one_run_stays_below_its_ceiling(given_: Guesses, delta: float, level: float) -> None:
    """Whatever was guessed, a perfect attack on as many canaries could have certified as much."""
    assert one_run(given_, delta, level) <= one_run_ceiling(given_, delta, level) + 1e-9


@pytest.mark.parametrize("name", GUESSES)
@pytest.mark.parametrize("delta", [0.0, 1e-9, 0.5])
def test_extreme_guesses_are_stable(name: str, delta: float) -> None:
    """None or all right, one or a million trials: a number, or infinity for a family at δ = 0."""
    bound = GUESSES[name]
    for case in (
        Guesses(1, 1, 0),
        Guesses(1, 1, 1),
        Guesses(1_000_000, 1_000_000, 0),
        Guesses(1_000_000, 1_000_000, 700_000),
        Guesses(1_000_000, 1_000_000, 1_000_000),
        Guesses(1_000_000, 10, 10),
    ):
        found = bound(case, delta, 0.05)
        assert not math.isnan(found)
        assert found >= 0
        assert found < math.inf or (delta == 0 and "definition" not in name and name not in ("one-run", "conditional"))


@pytest.mark.parametrize("name", COUNTS)
def test_extreme_counts_are_stable(name: str) -> None:
    """Empty and full cells at a million trials: a number, or infinity for a family at δ = 0."""
    side = 500_000
    for delta in (0.0, 1e-9, 0.5):
        for hits in (0, side):
            for alarms in (0, side):
                found = COUNTS[name](Counts(hits, side - hits, alarms, side - alarms), delta, 0.05)
                assert found >= 0
                assert found < math.inf or (delta == 0 and name == "whole curve")


def test_extreme_counts_have_a_credible_interval() -> None:
    """Empty and full cells, one trial or a million: ordered ends, the upper one perhaps infinite."""
    for side in (1, 500_000):
        for delta in (0.0, 1e-9, 0.5):
            for hits in (0, side):
                for alarms in (0, side):
                    found = joint_beta(Counts(hits, side - hits, alarms, side - alarms), delta, 0.9)
                    assert 0 <= found.low <= found.high


@few
@given(values=st.lists(st.integers(-20, 20), min_size=16, max_size=80), cut=st.integers(-10, 10), delta=deltas)
def test_bounds_are_equal_under_relabelling(values: list[int], cut: int, delta: float) -> None:
    """Calling members non-members and turning the scores round is the same audit (thresholds between the scores)."""
    member, nonmember = np.array(values[::2], np.float64), np.array(values[1::2], np.float64)
    scores, turned = Scores(member, nonmember), Scores(-nonmember, -member)
    at = cut + 0.5
    common: Any = {"delta": delta, "confidence": 0.95, "adjacency": "add-remove", "unit": "record"}
    for make in (
        lambda t: ClopperPearson(Fixed(t)),
        lambda t: Conditional(Fixed(t)),
        lambda t: Accuracy(Fixed(t), "runs"),
        lambda t: WholeCurve(Fixed(t)),
    ):
        there, back = make(at)(scores, **common), make(-at)(turned, **common)
        assert there.epsilon == pytest.approx(back.epsilon, abs=1e-9)
        assert there.ceiling == pytest.approx(back.ceiling, abs=1e-9)
