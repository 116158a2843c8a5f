"""The ROC against scikit-learn, brute force and published intervals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score, roc_curve

from dpaudit.runtime.errors import InputError
from dpaudit.scores.roc import Roc, auc_standard_error
from dpaudit.scores.scores import Scores

TIED = st.lists(st.integers(0, 5).map(float), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(TIED, TIED)
def test_roc_is_scikit_learns_with_ties_in_blocks(member: list[float], nonmember: list[float]) -> None:
    """Same curve as sklearn.metrics.roc_curve(drop_intermediate=False), same area as roc_auc_score, under any ties."""
    scores = Scores(np.array(member), np.array(nonmember))
    roc = Roc.of(scores)
    fpr, tpr, _ = roc_curve(scores.truth, scores.values, drop_intermediate=False)
    np.testing.assert_allclose(roc.fpr, fpr, atol=1e-12)
    np.testing.assert_allclose(roc.tpr, tpr, atol=1e-12)
    assert roc.auc == pytest.approx(roc_auc_score(scores.truth, scores.values), abs=1e-12)
    assert roc.advantage == pytest.approx(max(0.0, float((tpr - fpr).max())), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(TIED, TIED, st.sampled_from([0.0, 0.01, 0.1, 0.25, 0.5, 1.0]))
def test_tpr_at_fpr_by_trying_every_threshold(member: list[float], nonmember: list[float], fpr: float) -> None:
    """TPR@FPR is the best TPR over all thresholds whose expected FPR is at most the one asked for; the counts match it.

    With k of n non-members at or above a threshold that rate is (k + 1) / (n + 1); nobody accused is always allowed.
    """
    scores = Scores(np.array(member), np.array(nonmember))
    thresholds = [np.inf, *np.unique(scores.values)]
    n = scores.nonmember.size
    fits = [t for t in thresholds if np.sum(scores.nonmember >= t) + 1 <= fpr * (n + 1) * (1 + 1e-12)]
    best = max([0.0, *(np.mean(scores.member >= t) for t in fits)])
    at = Roc.of(scores).tpr_at(fpr)
    assert at.tpr == pytest.approx(best, abs=1e-12)
    assert at.true_positives == np.sum(scores.member >= at.threshold)
    assert at.false_positives == np.sum(scores.nonmember >= at.threshold)
    assert at.low <= at.tpr <= at.high


@pytest.mark.long
def test_a_threshold_stands_for_the_rate_of_new_nonmembers() -> None:
    """Over 4,000 draws of 50 non-members, members like them pass the threshold read at 10 % at a rate of 5 / 51.

    That is (k + 1) / (n + 1) for the k = 4 accused, not k / n = 8 %; drawing between two thresholds gives 10 %. Within
    four standard errors (0.07 points): a false alarm in 8,000, with a fixed seed.
    """
    rng = np.random.default_rng(3)
    tprs, exact = [], []
    for _ in range(4000):
        roc = Roc.of(Scores(rng.normal(size=200), rng.normal(size=50)))
        at = roc.tpr_at(0.1)
        assert at.false_positives == 4
        tprs.append(at.tpr)
        exact.append(roc.expected_tpr_at(0.1) or 0.0)
    for found, rate in ((tprs, 5 / 51), (exact, 0.1)):
        assert abs(np.mean(found) - rate) < 4 * np.std(found) / np.sqrt(4000)


def test_ties_do_not_invent_an_order() -> None:
    """Scores [9, 9, 5, 5] of (member, not, member, not) say nothing: AUC 0.5, and no TPR below FPR 0.5."""
    roc = Roc.of(Scores.join([9, 9, 5, 5], [1, 0, 1, 0]))
    assert roc.auc == 0.5
    assert roc.tpr_at(0.4).tpr == 0.0


def test_floor_and_measurability() -> None:
    """With n non-members the floor is 1/n, and TPR@FPR counts as measured from ten expected false positives on."""
    roc = Roc.of(Scores(np.ones(5), np.zeros(1000)))
    assert roc.fpr_floor == 0.001
    assert roc.tpr_at(0.01).measurable
    assert not roc.tpr_at(0.001).measurable
    assert not roc.tpr_at(0.0).measurable


def test_band_holds_the_curve() -> None:
    """The pointwise band contains the curve, and each of its points is scipy's exact binomial interval."""
    rng = np.random.default_rng(0)
    roc = Roc.of(Scores(rng.normal(1, 1, 50), rng.normal(0, 1, 80)))
    low, high = roc.band()
    assert np.all((low <= roc.tpr) & (roc.tpr <= high))
    for point in (0, 20, 60, roc.tpr.size - 1):
        exact = binomtest(round(roc.tpr[point] * 50), 50).proportion_ci(0.95, method="exact")
        assert (low[point], high[point]) == pytest.approx((exact.low, exact.high), abs=1e-9)
    some = np.array([0, 20, 60])
    np.testing.assert_array_equal(np.stack(roc.band(some)), np.stack([low[some], high[some]]))


def test_auc_standard_error_matches_its_spread() -> None:
    """DeLong's standard error is the spread of the AUC over 400 draws (normal scores, known AUC Φ(1/√2)).

    The mean of 400 estimates lies within 10 % of the standard deviation of 400 areas; a standard deviation of 400
    normal values is off by more than that in about 0.5 % of seeds. The seed is fixed.
    """
    rng = np.random.default_rng(7)
    draws = [Scores(rng.normal(1, 1, 60), rng.normal(0, 1, 90)) for _ in range(400)]
    spread = np.std([Roc.of(scores).auc for scores in draws], ddof=1)
    assert np.mean([auc_standard_error(scores) for scores in draws]) == pytest.approx(spread, rel=0.1)


def test_a_standard_error_needs_two_of_each() -> None:
    """One member gives no variance; the message says how many there are."""
    with pytest.raises(InputError, match="2 members and 2 non-members, got 1 and 2"):
        auc_standard_error(Scores(np.ones(1), np.zeros(2)))
