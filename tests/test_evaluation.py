"""Means over the targets of a pool, against single ROCs."""

import numpy as np
import pytest

from dpaudit.errors import InputError
from dpaudit.evaluation import mean_over, over_targets
from dpaudit.roc import Roc
from dpaudit.scores import Scores
from tests.attacks.membership.pool import synthetic


def test_over_targets_is_the_mean_of_each_target_alone() -> None:
    """Mean and standard error over targets, and the pooled curve, from single ROCs."""
    pool = synthetic(6, 80, shift=1.0)
    result = over_targets(pool.phi, pool.included, fprs=(0.1,))
    rocs = [Roc.of(Scores.join(phi, member)) for phi, member in zip(pool.phi, pool.included, strict=True)]
    aucs = [roc.auc for roc in rocs]
    assert result.auc.mean == pytest.approx(np.mean(aucs))
    assert result.auc.standard_error == pytest.approx(np.std(aucs, ddof=1) / np.sqrt(6))
    assert result.tpr_at_fpr[0].mean == pytest.approx(np.mean([roc.tpr_at(0.1).tpr for roc in rocs]))
    assert result.pooled_auc == pytest.approx(Roc.of(Scores.join(pool.phi.ravel(), pool.included.ravel())).auc)
    assert result.fpr_floor == 1 / 40


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: over_targets(np.zeros((1, 3)), np.ones((1, 3)), fprs=(0.1,)), "2 models or more"),
        (lambda: over_targets(np.zeros((2, 3)), np.ones((2, 2)), fprs=(0.1,)), "must have shape"),
        (lambda: mean_over([1.0]), "2 values or more, got 1"),
    ],
)
def test_what_has_no_mean_over_targets_is_refused(call, message) -> None:  # type: ignore[no-untyped-def]
    """One line with the shapes or the number."""
    with pytest.raises(InputError, match=message):
        call()
