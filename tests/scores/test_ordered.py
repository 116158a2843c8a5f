"""Rates from ordered sides, against scikit-learn and against the whole curve."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from dpaudit.runtime.errors import InputError
from dpaudit.runtime.out_of_core import within
from dpaudit.scores.ordered import OrderedPool, OrderedScores
from dpaudit.scores.roc import Roc
from dpaudit.scores.scores import Scores

TIED = st.lists(st.integers(0, 5).map(float), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(TIED, TIED, st.sampled_from([0.01, 0.04, 0.1, 0.25, 0.5, 0.97]))
def test_ordered_sides_have_the_rates_of_the_curve(member: list[float], nonmember: list[float], fpr: float) -> None:
    """AUC by every pair and by scikit-learn, advantage by every threshold, TPR as the curve has it, with ties."""
    inside, outside = np.array(member), np.array(nonmember)
    whole = Scores(inside, outside)
    found = OrderedScores.of(whole.values[::-1], whole.truth[::-1])
    wins = np.sign(inside[:, None] - outside)
    assert found.auc == pytest.approx((1 + wins.mean()) / 2, abs=1e-12)
    assert found.auc == pytest.approx(roc_auc_score(whole.truth, whole.values), abs=1e-12)
    thresholds = [np.inf, *np.unique(whole.values)]
    assert found.advantage == max(np.mean(inside >= at) - np.mean(outside >= at) for at in thresholds)
    assert found.expected_tpr_at(fpr) == Roc.of(whole).expected_tpr_at(fpr)


@pytest.mark.parametrize("ties", [False, True])
def test_pooled_rates_are_those_of_the_whole_curve(ties: bool, tmp_path: Path) -> None:
    """From scores in many small ranges on disk: AUC and TPRs of the curve of all scores together, ties and all."""
    rng = np.random.default_rng(6)
    member = rng.random((6, 500)) < 0.5
    scores = rng.normal(size=member.shape) + member
    if ties:
        scores = np.round(scores)
    whole = Roc.of(Scores(scores[member], scores[~member]))
    fprs = (0.1, 0.01, 0.0001, 1.0)
    found = set()
    for memory in (None, 100_000, 2000):
        with within(memory, tmp_path):
            found.add(OrderedPool.of(scores, member).pooled_rates(fprs))
    ((auc, tprs),) = found
    assert auc == pytest.approx(roc_auc_score(member.ravel(), scores.ravel()), abs=1e-12)
    assert tprs == tuple(whole.tpr_at(fpr).tpr for fpr in fprs)


def test_one_side_alone_has_no_order() -> None:
    """What has one side only is refused, and the message says which."""
    with pytest.raises(InputError, match="must hold members and non-members, but all 3 are members"):
        OrderedScores.of(np.zeros(3), np.ones(3, bool))
