"""How thresholds and numbers of guesses are chosen, and that the choice is paid for."""

import numpy as np
import pytest

from dpaudit.bounds.choosing import CrossFit, Fixed, FixedGuesses, HeldOut, Union, UnionGuesses
from dpaudit.bounds.clopper_pearson import ClopperPearson, clopper_pearson
from dpaudit.bounds.conditional import Conditional
from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.bounds.one_run import OneRun, one_run
from dpaudit.bounds.trial_counts import count_outcomes, guess
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


@pytest.mark.parametrize("selection", [HeldOut(2, 0.4), CrossFit(2, 2), CrossFit(2, 5)])
def test_parts_to_choose_on_and_to_judge_on_share_no_score(selection: HeldOut | CrossFit) -> None:
    """Each pair holds every score once, members and non-members apart; over the folds each score is judged once."""
    judged: list[float] = []
    for choosing, judging in selection.parts(SCORES):
        for side in ("member", "nonmember"):
            together = np.concatenate([getattr(choosing, side), getattr(judging, side)])
            assert np.sort(together).tolist() == np.sort(getattr(SCORES, side)).tolist()
        judged += judging.values.tolist()
    if isinstance(selection, CrossFit):
        assert sorted(judged) == sorted(SCORES.values.tolist())


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


@pytest.mark.parametrize("bound", [ClopperPearson, OneRun, Conditional])
def test_cross_fitting_uses_every_trial(bound: type) -> None:
    """All trials are judged on once, and twice the mean p-value keeps the bound below that of all trials at once."""
    found = _bound(bound(CrossFit(0)))
    assert found.trials == 1180
    assert 0.5 < found.epsilon < found.ceiling


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Fixed(float("nan")), "threshold must be finite"),
        (lambda: HeldOut(0, 1.0), "held-out fraction must be in"),
        (lambda: Union(()), "thresholds must not be empty"),
        (lambda: UnionGuesses((0.0,), 0), "shares of guesses must be in"),
        (lambda: CrossFit(0, 1), "folds must be at least 2"),
        (lambda: FixedGuesses(0, 0, 0), "at least 1 in total"),
        (lambda: _bound(OneRun(FixedGuesses(1000, 1000, 0))), "at most the 1180 canaries"),
        (
            lambda: _bound(ClopperPearson(CrossFit(0)), Scores(np.ones(1), np.zeros(1))),
            "2 folds need at least 4 members",
        ),
        (lambda: _bound(ClopperPearson(HeldOut(0)), Scores(np.ones(1), np.zeros(1))), "leaves an empty part of 1"),
    ],
)
def test_bad_selections_are_refused(make: object, message: str) -> None:
    """One line that says what would be right."""
    with pytest.raises(InputError, match=message):
        make()  # type: ignore[operator]
