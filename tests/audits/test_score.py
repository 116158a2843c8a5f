"""The door for scores: how members were chosen, whose records they are, and scores that nothing follows from."""

import numpy as np
import pytest

from dpaudit.accounting import replaced
from dpaudit.audits.score import audit_scores
from dpaudit.data.member_choice import Coins, NotRandom, RandomSplit
from dpaudit.reports.html import page
from dpaudit.reports.scope_words import first_screen
from dpaudit.results.facts import why_void
from dpaudit.results.result import Result, result_from_json
from dpaudit.runtime.errors import InputError

MANY = np.arange(2000) < 1600  # members of an ordinary split: four fifths


def leaking(member: np.ndarray, mu: float, *, seed: int = 0) -> np.ndarray:  # type: ignore[type-arg]
    """Scores of a Gaussian leak."""
    return np.random.default_rng(seed).normal(size=member.size) + mu * member


def bound(result: Result):  # type: ignore[no-untyped-def]
    """The one bound of an audit."""
    assert result.membership is not None
    return result.membership.attacks[0].bound


@pytest.mark.parametrize("members", [200, 1000, 1600, 1900])
@pytest.mark.long
def test_scores_without_a_leak_stay_below_the_level_whatever_the_split(members: int) -> None:
    """60 audits of noise at a level of 5 %: Bin(60, 0.05) is above 9 once in 2000. A fair coin taken for granted alarms
    in nearly all of them at 1600 and 1900 members of 2000."""
    member = np.arange(2000) < members
    alarms = sum(bound(audit_scores(leaking(member, 0, seed=s), member, seed=s)).epsilon > 0 for s in range(60))
    assert alarms <= 9


@pytest.mark.long
def test_a_leak_in_an_uneven_split_is_found_and_converted() -> None:
    """A Gaussian leak of ε above 10 contradicts a claim of 1: the bound is about replacing a record, where (1, δ) for
    added ones allows (2, (1 + e) δ), and is measured at that δ."""
    result = audit_scores(leaking(MANY, 3.0), MANY, epsilon=1.0, delta=1e-5, chosen_by="split")
    found = bound(result)
    assert (found.adjacency, found.delta) == ("replace-one", replaced(1.0, 1e-5)[1])
    assert found.epsilon > 2
    assert result.comparisons[0].verdict == "contradicted"
    direct = audit_scores(leaking(MANY, 3.0), MANY, epsilon=1.0, delta=1e-5, adjacency="replace-one")
    assert bound(direct).delta == 1e-5


@pytest.mark.long
def test_coins_of_any_probability_speak_of_added_records() -> None:
    """Stated coins of 0.8 are used as they are; coins of one half are refuted by the sizes."""
    member = np.random.default_rng(1).random(4000) < 0.8
    result = audit_scores(leaking(member, 3.0), member, epsilon=1.0, chosen_by="coin", probability=0.8)
    assert (bound(result).adjacency, bound(result).delta) == ("add-remove", 1e-5)
    assert result.comparisons[0].verdict == "contradicted"
    with pytest.raises(InputError, match=r"which coins of probability 0\.5 do not give"):
        audit_scores(leaking(member, 3.0), member, chosen_by="coin")


def test_what_was_said_of_the_choice_is_recorded_and_shown() -> None:
    """Nobody's word is a split that was not stated, said on the first screen; a stated one is said further down."""
    silent, said = (audit_scores(leaking(MANY, 1.0), MANY, chosen_by=by) for by in (None, "split"))  # type: ignore[arg-type]
    assert silent.membership is not None
    assert said.membership is not None
    assert (silent.membership.chosen, said.membership.chosen) == (RandomSplit(stated=False), RandomSplit())
    (line,) = first_screen(silent)
    assert line.startswith("1,600 of 2,000 records are members, and nobody said how they were chosen")
    assert "--chosen-by" in line
    assert line in page(silent)
    assert first_screen(said) == []
    assert "How members were chosen" in page(said)
    assert result_from_json(silent.json(), where="here") == silent
    coins = audit_scores(leaking(MANY, 1.0), MANY, chosen_by="coin", probability=0.8)
    assert coins.membership is not None
    assert coins.membership.chosen == Coins(0.8)


def test_members_chosen_by_hand_allow_no_bound() -> None:
    """However large the leak looks, there is no bound and no verdict; ROC and AUC remain as description."""
    result = audit_scores(leaking(MANY, 5.0), MANY, epsilon=1.0, chosen_by="other")
    assert bound(result) is None
    assert result.membership is not None
    assert result.membership.chosen == NotRandom()
    assert result.membership.attacks[0].auc > 0.99
    assert result.comparisons[0].verdict == "no verdict"
    assert why_void(audit_scores(leaking(MANY, 5.0), MANY, chosen_by="other"))


def test_scores_that_point_the_wrong_way_are_no_all_clear() -> None:
    """Losses, where members are lower: no verdict. Said on purpose they are negated, and the leak is found."""
    losses = -leaking(MANY, 3.0)
    upside_down = audit_scores(losses, MANY, epsilon=1.0)
    assert upside_down.comparisons[0].verdict == "no verdict"
    assert "--lower-is-member" in upside_down.comparisons[0].sentence
    assert why_void(audit_scores(losses, MANY))
    right = audit_scores(losses, MANY, epsilon=1.0, lower_is_member=True)
    assert right.comparisons[0].verdict == "contradicted"
    assert right.membership is not None
    assert right.membership.lower_is_member
    assert "were negated" in page(right)


def test_equal_scores_are_no_all_clear() -> None:
    """Scores that are all one number tell nobody apart; two numbers are enough to be judged."""
    assert audit_scores(np.ones(2000), MANY, epsilon=1.0).comparisons[0].verdict == "no verdict"
    assert audit_scores(np.arange(2000) % 2, MANY, epsilon=1.0).comparisons[0].verdict == "consistent"


def answers(seed: int, epsilon: float) -> tuple[np.ndarray, ...]:  # type: ignore[type-arg]
    """Randomised response of 150 users' coins, an exact user-level mechanism of ε; ten noisy rows show each answer."""
    rng = np.random.default_rng(seed)
    users = np.repeat(rng.permutation(150), 10)
    coins = rng.random(150) < 0.5
    told = coins ^ (rng.random(150) < 1 / (1 + np.exp(epsilon)))
    return told[users] + 0.1 * rng.normal(size=users.size), coins[users], users


@pytest.mark.long
def test_users_have_one_score_each() -> None:
    """200 audits of an exact user-level mechanism of ε = 1 with ten rows a user, at a level of 5 %: Bin(200, 0.05) is
    above 22 once in 10,000. Taken for records its rows contradict ε = 1 several times as often as the level."""
    alarms = 0
    for seed in range(200):
        scores, member, users = answers(seed, 1.0)
        found = bound(audit_scores(scores, member, users=users, chosen_by="coin", delta=0.0, seed=seed))
        alarms += found.epsilon > 1
        # Of 150 users 30 % are held out to choose on, each by its own coin: 80 to 130 are judged but once in 150,000.
        assert found.unit == "user"
        assert 80 <= found.trials <= 130
    assert alarms <= 22


@pytest.mark.long
def test_a_leak_of_users_is_found() -> None:
    """The same with ε = 6 contradicts a claim of 1 for users, and the result counts users, not rows."""
    scores, member, users = answers(0, 6.0)
    result = audit_scores(scores, member, users=users, epsilon=1.0, chosen_by="coin")
    assert result.comparisons[0].verdict == "contradicted"
    assert result.unit == "user"
    assert result.membership is not None
    assert result.membership.attacks[0].members + result.membership.attacks[0].nonmembers == 150
    assert "mean of those of their records, 1,500 in all" in page(result)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"chosen_by": "hand"}, "chosen_by"),
        ({"probability": 0.8}, "a probability belongs to coins"),
        ({"unit": "user"}, "a unit of user needs users"),
        ({"unit": "record", "users": np.arange(2000)}, "leave the unit out"),
        ({"users": np.arange(2000) // 3}, r"1 user\(s\) have records on both sides \(533\)"),
        ({"users": [None, *range(1999)]}, r"1 record\(s\) have no user, the first at index 0"),
        ({"users": np.arange(5)}, r"users must have shape \(2000,\), got \(5,\)"),
        ({"users": np.arange(2000), "design": "many-runs"}, "every score is a training of its own"),
        ({"chosen_by": "coin", "design": "many-runs"}, "assumes nothing about how members were chosen"),
    ],
)
def test_what_does_not_fit_is_refused(more, message) -> None:  # type: ignore[no-untyped-def]
    """One line that says what is wrong."""
    with pytest.raises(InputError, match=message):
        audit_scores(leaking(MANY, 1.0), MANY, **more)


def test_a_keyword_that_no_audit_has_is_refused_with_the_nearest() -> None:
    """A misspelt ε would otherwise claim nothing."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'epsilon_'"):
        audit_scores(leaking(MANY, 1.0), MANY, epsilon_=1.0)  # type: ignore[call-arg]


@pytest.mark.long
def test_many_trainings_assume_nothing_about_the_choice() -> None:
    """Sizes may differ, and a unit of users needs no users: every score is a training of its own."""
    result = audit_scores(leaking(MANY, 3.0), MANY, epsilon=1.0, design="many-runs", unit="user")
    assert result.membership is not None
    assert result.membership.chosen is None
    assert result.comparisons[0].verdict == "contradicted"
    assert bound(result).unit == "user"
    quiet = audit_scores(leaking(MANY, 0.0), MANY, epsilon=1.0, design="many-runs")
    assert quiet.comparisons[0].verdict == "consistent"
