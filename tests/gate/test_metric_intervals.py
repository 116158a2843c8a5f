"""Metrics with intervals: against closed forms, and by how often they cover the truth."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from dpaudit.gate import metric_intervals as measured
from dpaudit.runtime.errors import InputError
from dpaudit.scores.scores import Scores
from tests.small_audits import auc, gaussian_scores, tpr, unbounded


def only_attack(mu: Any, *, seed: Any, records: Any = 1000) -> Any:
    return unbounded(gaussian_scores(mu, seed=seed, records=records))


@pytest.mark.parametrize("mu", [0.0, 1.0])
@pytest.mark.long
def test_edges_cover_the_truth_as_often_as_they_say(mu: Any) -> None:
    """Each edge misses with probability at most 0.1: over 150 audits 30 misses or more have probability 3e-4."""
    truths = {("auc", None): auc(mu), ("tpr", 0.05): tpr(mu, 0.05), ("tpr", 0.01): tpr(mu, 0.01)}
    low, high = dict.fromkeys(truths, 0), dict.fromkeys(truths, 0)
    for seed in range(150):
        attack = only_attack(mu, seed=seed, records=600)
        for metric, truth in truths.items():
            found = measured.metric_interval(attack, metric, tail=0.1)
            low[metric] += found.low > truth
            high[metric] += found.high < truth
    assert max([*low.values(), *high.values()]) < 30, (low, high)


@pytest.mark.long
def test_rate_at_the_seen_threshold_alone_would_not_cover() -> None:
    """The interval that takes the threshold as given misses the TPR at a true FPR of 1 % more often than it says.

    This is why `tpr` pays for the threshold. Over 300 audits of a strong attack, with a fixed seed.
    """
    truth, naive, paid = tpr(2.0, 0.01), 0, 0
    for seed in range(300):
        attack = only_attack(2.0, seed=seed, records=600)
        naive += attack.tpr_at_fpr[0].low > truth or attack.tpr_at_fpr[0].high < truth
        found = measured.tpr_interval(attack, 0.01, tail=0.025)
        paid += found.low > truth or found.high < truth
    assert naive > 300 * 0.1
    assert paid <= binomtest(15, 300).k


def test_counts_of_the_edges_match_brute_force() -> None:
    """The lower edge accuses members above an order statistic of the non-members; scipy's interval of that count."""
    rng = np.random.default_rng(3)
    scores = Scores(rng.normal(1, 1, 180), rng.normal(0, 1, 170))  # fewer than 400 points: the curve is whole
    found = measured.tpr_interval(unbounded(scores), 0.1, tail=0.1)
    fewest = max(k for k in range(170) if binom.cdf(k, 170, 0.1) <= 0.05)
    most = min(k for k in range(170) if binom.sf(k - 1, 170, 0.1) <= 0.05)
    falling = np.sort(scores.nonmember)[::-1]
    above = [int((scores.member > falling[k]).sum()) for k in (fewest, most)]
    assert found.low == pytest.approx(binomtest(above[0], 180).proportion_ci(0.9).low)
    assert found.high == pytest.approx(binomtest(above[1], 180).proportion_ci(0.9).high)


def test_perfect_attack_still_has_an_edge() -> None:
    """With every member above every non-member the AUC is 1 and its lower edge is tail^(1/n), not 1."""
    attack = only_attack(50.0, seed=1, records=200)
    found = measured.auc_interval(attack, tail=0.05)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.05 ** (1 / min(attack.members, attack.nonmembers)))


def test_advantage_covers_although_the_best_threshold_is_chosen() -> None:
    """With no leakage at all the largest TPR - FPR is above 0 in every sample; its lower edge stays at 0."""
    for seed in range(20):
        found = measured.advantage_interval(only_attack(0.0, seed=seed), tail=0.05)
        assert found.value > 0
        assert found.low == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"auc": float("nan")}, "AUC of 'attack-0' must be finite"),
        ({"auc": 1.2}, r"AUC of 'attack-0' must be in \[0, 1\]"),
        ({"members": -3}, "members of attack 'attack-0' must be at least 1"),
        ({"auc_standard_error": -1.0}, "must be at least 0"),
    ],
)
def test_numbers_that_cannot_be(change: Any, message: str) -> None:
    """A result may come from anywhere: numbers that no measurement gives are refused by name."""
    with pytest.raises(InputError, match=message):
        measured.auc_interval(only_attack(1.0, seed=1).model_copy(update=change), tail=0.05)


@pytest.mark.parametrize(
    ("fpr", "tpr_", "message"),
    [
        ([0.5, 0.2, 1.0], [0.1, 0.2, 1.0], "must rise from 0 to 1"),
        ([0.0, 1.0], [0.0, 0.3, 1.0], "must have 2 values"),
        ([0.0, 0.5], [0.0, 0.5], r"must end at \(1, 1\)"),
        ([], [], "must not be empty"),
        ([0.0, float("nan")], [0.0, 1.0], "must be finite"),
    ],
)
def test_curves_that_cannot_be(fpr: Any, tpr_: Any, message: str) -> None:
    """A curve that is none is refused."""
    attack = only_attack(1.0, seed=1)
    curve = attack.curve.model_copy(update={"fpr": fpr, "tpr": tpr_})
    with pytest.raises(InputError, match=message):
        measured.tpr_interval(attack.model_copy(update={"curve": curve}), 0.01, tail=0.05)


def test_difference_of_proportions_is_newcombes() -> None:
    """Newcombe (1998), Statistics in Medicine 17, 873-890, method 10, example (a): 56/70 - 48/80, 95 %.

    The paper gives 0.0524 to 0.3339 from Wilson score intervals of the two proportions.
    """
    one, two = (
        measured.Interval(k / n, float(edges.low), float(edges.high), 0.025)
        for k, n in ((56, 70), (48, 80))
        for edges in (binomtest(k, n).proportion_ci(0.95, method="wilson"),)
    )
    difference = one.minus(two)
    assert (round(difference.low, 4), round(difference.high, 4)) == (0.0524, 0.3339)
