"""Means over the targets of a pool, against single ROCs."""

import json

import numpy as np
import pytest
from pydantic import TypeAdapter

from dpaudit.data.inclusion import complementary_pairs
from dpaudit.runtime.errors import InputError
from dpaudit.scores.roc import Roc
from dpaudit.scores.scores import Scores
from dpaudit.scores.targets import Mean, OverTargets, mean_over, over_targets
from tests.attacks.membership.pool import synthetic


def test_over_targets_is_the_mean_of_each_target_alone() -> None:
    """Mean and standard error over targets, and the pooled curve, from single ROCs."""
    pool = synthetic(6, 80, shift=1.0)
    result = over_targets(pool.phi, pool.included, fprs=(0.1,))
    rocs = [Roc.of(Scores.join(phi, member)) for phi, member in zip(pool.phi, pool.included, strict=True)]
    aucs = [roc.auc for roc in rocs]
    assert result.auc.mean == pytest.approx(np.mean(aucs))
    assert result.auc.standard_error == pytest.approx(np.std(aucs, ddof=1) / np.sqrt(6))
    assert result.tpr_at_fpr[0] is not None
    assert result.tpr_at_fpr[0].mean == pytest.approx(np.mean([roc.expected_tpr_at(0.1) or 0.0 for roc in rocs]))
    assert result.tpr_at_fpr[0].mean >= np.mean([roc.tpr_at(0.1).tpr for roc in rocs])
    assert result.pooled_auc == pytest.approx(Roc.of(Scores.join(pool.phi.ravel(), pool.included.ravel())).auc)
    assert result.fpr_floor == 1 / 40


@pytest.mark.parametrize(("records", "seed"), [(4000, 1), (3001, 2)])
def test_noise_is_found_as_often_as_guessing_would_find_it(records: int, seed: int) -> None:
    """64 targets scored at random: TPR is the FPR asked for, and a rate below one in n + 1 is not shown.

    By the highest score alone, k / n, the mean at 0.1 % is 0.15 % here. Within three standard errors: a false alarm in
    400 for each of the four comparisons, with fixed seeds.
    """
    rng = np.random.default_rng(seed)
    included = complementary_pairs(64, records, seed=seed)
    scores = rng.normal(size=included.shape)
    result = over_targets(scores, included, fprs=(0.01, 0.001, 0.0001))
    for fpr, found in zip((0.01, 0.001), result.tpr_at_fpr, strict=False):
        assert found is not None
        assert abs(found.mean - fpr) < 3 * found.standard_error
    assert result.tpr_at_fpr[2] is None
    assert result.pooled_tpr_at_fpr[2] is None
    naive = [
        roc.tpr[roc.fpr <= 0.0001][-1]
        for roc in (Roc.of(Scores.join(row, member)) for row, member in zip(scores, included, strict=True))
    ]
    assert np.mean(naive) > 0.0003  # what was shown at 0.01 %


def test_results_of_before_hold_a_mean_at_every_rate() -> None:
    """A stored mean is read as it is; so is one that is missing because its rate cannot be shown."""
    mean = {"mean": 0.1, "standard_error": 0.01}
    for tpr in (mean, None):
        stored = {
            "targets": 4, "auc": mean, "advantage": mean, "fprs": [0.1], "tpr_at_fpr": [tpr], "fpr_floor": 0.01,
            "pooled_auc": 0.5, "pooled_tpr_at_fpr": [None if tpr is None else 0.1],
        }  # fmt: skip
        read = TypeAdapter(OverTargets).validate_json(json.dumps(stored))
        assert read.tpr_at_fpr == (None if tpr is None else Mean(0.1, 0.01),)


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
