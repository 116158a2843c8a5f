"""How thresholds and numbers of guesses are chosen, and that the choice is paid for."""

from itertools import combinations

import numpy as np
import pytest

from dpaudit.bounds.choosing import Fixed, FixedGuesses, HeldOut, SeveralSplits, Union, UnionGuesses
from dpaudit.bounds.clopper_pearson import ClopperPearson, clopper_pearson
from dpaudit.bounds.conditional import Conditional
from dpaudit.bounds.default import default_bound, named_bound
from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.bounds.one_run import OneRun, one_run
from dpaudit.bounds.trial_counts import count_outcomes, guess, running_median
from dpaudit.data.member_choice import Coins, RandomSplit
from dpaudit.runtime.errors import InputError
from dpaudit.scores.scores import Scores

RNG = np.random.default_rng(0)
SCORES = Scores(RNG.normal(2, 1, 600), RNG.normal(0, 1, 580))
ARGUMENTS = {"delta": 1e-6, "confidence": 0.95, "adjacency": "add-remove", "unit": "record"}


def _bound(bound: object, scores: Scores = SCORES) -> LowerBound:
    found = bound(scores, **ARGUMENTS)  # type: ignore[operator]  # every bound is callable
    assert isinstance(found, LowerBound)
    return found


def test_a_fixed_threshold_is_the_count() -> None:
    """Nothing is chosen, nothing is paid."""
    found = _bound(ClopperPearson(Fixed(1.0)))
    assert found.epsilon == clopper_pearson(count_outcomes(SCORES, 1.0), 1e-6, 0.05)
    assert found.trials == 1180


def test_a_union_pays_for_its_length() -> None:
    """Each threshold at its share of the level; one threshold repeated is weaker than it alone."""
    cuts = (0.0, 1.0, 2.5)
    best = max(clopper_pearson(count_outcomes(SCORES, cut), 1e-6, 0.05 / 3) for cut in cuts)
    assert _bound(ClopperPearson(Union(cuts))).epsilon == pytest.approx(best)
    assert _bound(ClopperPearson(Union((1.0,) * 10))).epsilon < _bound(ClopperPearson(Fixed(1.0))).epsilon
    shares = (0.1, 1.0)
    pairs = ((59, 59), (590, 590))
    best = max(one_run(guess(SCORES, *pair, seed=3), 1e-6, 0.025) for pair in pairs)
    assert _bound(OneRun(UnionGuesses(shares, seed=3))).epsilon == pytest.approx(best)


@pytest.mark.parametrize("bound", [ClopperPearson, OneRun, Conditional])
def test_held_out_trials_are_not_judged_on(bound: type) -> None:
    """The trials behind the bound are those that were not spent on choosing; the same seed gives the same bound."""
    one, two = _bound(bound(HeldOut(1, 0.4))), _bound(bound(HeldOut(1, 0.4)))
    assert one == two
    assert 0.5 * 1180 < one.trials < 0.7 * 1180
    assert one.epsilon > 1


@pytest.mark.parametrize("selection", [HeldOut(2, 0.4), SeveralSplits(2, 3, 0.4)])
def test_parts_to_choose_on_and_to_judge_on_share_no_score(selection: HeldOut | SeveralSplits) -> None:
    """Each pair holds every score once, members and non-members apart; each split is another."""
    judged: list[list[float]] = []
    for choosing, judging in selection.parts(SCORES):
        for side in ("member", "nonmember"):
            together = np.concatenate([getattr(choosing, side), getattr(judging, side)])
            assert np.sort(together).tolist() == np.sort(getattr(SCORES, side)).tolist()
        judged.append(judging.values.tolist())
    assert len({tuple(part) for part in judged}) == len(judged) == getattr(selection, "splits", 1)


def test_a_choice_takes_50000_trials_at_most() -> None:
    """Of a million trials half would be held out; 50,000 are, give or take five standard deviations of the coins."""
    ((choosing, judging),) = HeldOut(0, 0.5).parts(Scores(np.ones(500_000), np.zeros(500_000)))
    assert abs(len(choosing) - 50_000) < 5 * np.sqrt(1_000_000 * 0.05 * 0.95)
    assert len(choosing) + len(judging) == 1_000_000


def test_held_out_choices_do_not_see_the_rest() -> None:
    """Spoiling only the scores that are judged changes nothing that was chosen, and the bound falls to 0."""
    split = np.random.default_rng(5)
    held_member = split.random(SCORES.member.size, np.float32) < 0.5
    held_nonmember = split.random(SCORES.nonmember.size, np.float32) < 0.5
    swapped = Scores(
        np.where(held_member, SCORES.member, -SCORES.member), np.where(held_nonmember, SCORES.nonmember, 2.0)
    )
    assert _bound(ClopperPearson(HeldOut(5, 0.5))).epsilon > 1
    assert _bound(ClopperPearson(HeldOut(5, 0.5)), swapped).epsilon == 0


@pytest.mark.parametrize("number", [2, 5, 8])
def test_the_largest_running_median_is_wrong_as_seldom_as_markov_allows(number: int) -> None:
    """Every order of bounds above and below the truth, counted.

    Exchangeable bounds are a mixture of these: m of the ``number`` are above it, in random order. Each being above it
    with probability level / 2 means m / number = level / 2 on average, so a share of at most 2 m / number for every m
    keeps the level. One more right than the median, or the largest bound, does not.
    """
    for wrong in range(number + 1):
        orders = [np.isin(np.arange(number), places) for places in combinations(range(number), wrong)]
        above = [running_median([float(each) for each in order]) > 0 for order in orders]
        assert np.mean(above) <= 2 * wrong / number + 1e-12
    one_wrong = np.eye(number).tolist()
    assert np.mean([max(order) for order in one_wrong]) == 1
    assert np.mean([running_median(order) for order in one_wrong]) == 2 / number  # the level is spent in full


@pytest.mark.long
def test_several_splits_raise_the_bounds_that_are_low() -> None:
    """40 audits of Laplace noise of ε = 2: the fifth that is lowest ends above that of one split (seed fixed)."""
    rng, found = np.random.default_rng(0), []
    for seed in range(40):
        member = rng.random(1000) < 0.5
        scores = Scores.join(member + rng.laplace(0, 0.5, 1000), member)
        found.append([_bound(OneRun(each), scores).epsilon for each in (HeldOut(seed), SeveralSplits(seed))])
    one, several = np.quantile(found, 0.2, axis=0)
    assert several > 1.05 * one


@pytest.mark.parametrize(("members", "others", "kind"), [(50, 50, "several-splits"), (500, 49, "held-out")])
def test_the_number_of_trainings_decides_how_often_a_part_is_held_out(members: int, others: int, kind: str) -> None:
    """Several splits from 50 trainings a side, whatever the scores; by name too, for every bound with a selection."""
    rng = np.random.default_rng(members)
    for scores in (
        Scores(np.ones(members), np.zeros(others)),
        Scores(rng.normal(size=members), rng.normal(size=others)),
    ):
        assert _bound(default_bound("many-runs", RandomSplit(), seed=0), scores).procedure.kind == kind
        for name in ("clopper-pearson", "conditional", "whole-curve"):
            assert _bound(named_bound(name, {}, "many-runs", RandomSplit(), seed=0), scores).procedure.kind == kind


def test_a_plan_can_ask_for_several_splits() -> None:
    """The selection is a parameter of the bound, and the bound says that it was used."""
    bound = named_bound("one-run", {"selection": {"seed": 3, "splits": 5}}, "one-run", Coins(), seed=0)
    assert _bound(bound).procedure.figures == (5, 0.2)
    assert _bound(bound) == _bound(OneRun(SeveralSplits(3, 5), seed=0))
    held_out = named_bound("one-run", {"selection": {"seed": 3, "fraction": 0.4}}, "one-run", Coins(), seed=0)
    assert held_out == OneRun(HeldOut(3, 0.4), seed=0)


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"seed": 3, "splits": 1}, "splits must be at least 2"),
        ({"seed": 3, "splitz": 5}, r"selection takes .* or {seed, splits, fraction}, got {seed, splitz}"),
        ({"seed": "3", "splits": 5}, "selection: seed: Input should be a valid integer"),
    ],
)
def test_a_wrong_selection_in_a_plan_is_not_taken_for_another(selection: dict[str, object], message: str) -> None:
    """Held out once would be valid too, and is not what was asked for."""
    with pytest.raises(InputError, match=message):
        named_bound("one-run", {"selection": selection}, "one-run", Coins(), seed=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Fixed(float("nan")), "threshold must be finite"),
        (lambda: HeldOut(0, 1.0), "held-out fraction must be in"),
        (lambda: Union(()), "thresholds must not be empty"),
        (lambda: UnionGuesses((0.0,), 0), "shares of guesses must be in"),
        (lambda: SeveralSplits(0, 1), "splits must be at least 2"),
        (lambda: SeveralSplits(0, 7, 0.0), "held-out fraction must be in"),
        (lambda: FixedGuesses(0, 0, 0), "at least 1 in total"),
        (lambda: _bound(OneRun(FixedGuesses(1000, 1000, 0))), "at most the 1180 canaries"),
        (lambda: _bound(ClopperPearson(HeldOut(0)), Scores(np.ones(1), np.zeros(1))), "leaves an empty part of 1"),
    ],
)
def test_bad_selections_are_refused(make: object, message: str) -> None:
    """One line that says what would be right."""
    with pytest.raises(InputError, match=message):
        make()  # type: ignore[operator]
