"""Metrics over targets, slices and cards: against brute force, and with their false alarms counted."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import false_discovery_control, mannwhitneyu, wilcoxon

from dpaudit.attacks.membership.base import Base
from dpaudit.attacks.membership.null_check import null_check
from dpaudit.errors import AuditFailed, InputError
from dpaudit.evaluation import (
    accused,
    column_groups,
    exposed,
    holm,
    over_targets,
    signed_rank_p_values,
    sliced,
    standard_groups,
)
from dpaudit.roc import Roc
from dpaudit.scores import Scores
from dpaudit.signals import PoolSignals
from tests.attacks.membership.pool import pairs, synthetic


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


def test_slices_against_scipy() -> None:
    """AUC and p-value of every slice are scipy's Mann-Whitney ones (no continuity correction), then Holm's."""
    rng = np.random.default_rng(0)
    scores, member, group = rng.integers(0, 20, 200) * 1.0, rng.random(200) < 0.5, rng.integers(0, 4, 200)
    found = sliced(scores, member, {"group": group}, fpr=0.1).found
    raw = []
    for one in found:
        rows = group == int(one.value)
        test = mannwhitneyu(
            scores[rows & member], scores[rows & ~member], alternative="greater", method="asymptotic",
            use_continuity=False,
        )  # fmt: skip
        raw.append(test.pvalue)
        assert one.auc == pytest.approx(test.statistic / (one.members * one.nonmembers))
    np.testing.assert_allclose([one.p_value for one in found], holm(raw), rtol=1e-9)


def test_slices_that_cannot_be_judged_are_named() -> None:
    """A slice with one member is left out by name, the others stay."""
    result = sliced([1, 2, 3, 4, 5, 6], [1, 1, 0, 0, 1, 0], {"sex": ["f", "f", "f", "f", "m", "m"]}, fpr=0.1)
    assert result.left_out == ("sex = m",)
    assert [one.value for one in result.found] == ["f"]


def test_slices_without_a_leak_raise_few_alarms() -> None:
    """Five slices of noise, 200 times: at most 5 % of the families hold a p-value below 0.05, plus 4 standard errors.

    Fixed seed; a fresh one would fail about once in 30,000.
    """
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(200):
        found = sliced(rng.normal(size=150), rng.random(150) < 0.5, {"g": rng.integers(0, 5, 150)}, fpr=0.1).found
        alarms += min(one.p_value for one in found) < 0.05
    assert alarms / 200 < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 200)


def test_standard_groups_cover_all_records() -> None:
    """Every record is in one class, one quantile of the loss, and right or wrong."""
    groups = standard_groups(labels=[0, 1, 1], loss=[0.1, 5.0, 0.3], correct=[True, False, True], bins=3)
    assert groups["loss"].tolist() == ["0-33.3333 %", "66.6667-100 %", "33.3333-66.6667 %"]
    assert groups["classified"].tolist() == ["right", "wrong", "right"]


@pytest.mark.parametrize("count", [1, 4, 9])
def test_signed_rank_is_exact(count: int) -> None:
    """P(W ≥ w) by trying all 2^n signs, and scipy's exact test where sizes differ."""
    rng = np.random.default_rng(count)
    difference = rng.normal(0.3, 1, (count, 5))
    for column, p in zip(difference.T, signed_rank_p_values(difference), strict=True):
        ranks = np.argsort(np.argsort(np.abs(column))) + 1
        observed = ranks[column > 0].sum()
        sums = [sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign)
                for signs in product((0, 1), repeat=count)]  # fmt: skip
        assert p == pytest.approx(np.mean(np.array(sums) >= observed))
        assert p == pytest.approx(wilcoxon(column, alternative="greater", method="exact").pvalue)


def test_exposed_records_are_found_and_few_others() -> None:
    """50 of 1,000 records are memorised (three standard deviations); 32 models list most of them, few others.

    The false discovery rate is at most 5 % in expectation; with one fixed seed the share must stay below 15 %.
    """
    rng = np.random.default_rng(2)
    included = pairs(32, 1000, rng)
    phi = rng.normal(size=included.shape)
    phi[:, :50] += 3 * included[:, :50]
    result = exposed(phi, included)
    right = sum(record < 50 for record in result.records)
    assert right >= 45
    assert len(result.records) - right <= 0.15 * len(result.records)
    assert result.smallest_p == 0.5**16


def test_nothing_is_exposed_by_noise() -> None:
    """On noise a list that is not empty is a false alarm: at most 5 % of 200 experiments, plus 4 standard errors."""
    rng = np.random.default_rng(3)
    alarms = 0
    for _ in range(200):
        included = pairs(20, 300, rng)
        alarms += bool(exposed(rng.normal(size=included.shape), included).records)
    assert alarms / 200 < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 200)


def test_accused_by_a_loop_over_models_and_records() -> None:
    """Threshold of each target: the lowest score that keeps false accusations at most at the rate. Then counts."""
    rng = np.random.default_rng(6)
    included = pairs(8, 50, rng)
    scores = np.round(rng.normal(size=included.shape) + included, 1)  # with ties
    found = accused(scores, included, [3, 40], fpr=0.1)
    called = []
    for row, member in zip(scores, included, strict=True):
        allowed = [t for t in np.unique(row) if (row[~member] >= t).sum() <= 0.1 * (~member).sum()]
        called.append(row >= min(allowed, default=np.inf))
    for position, record in enumerate((3, 40)):
        inside = [called[m][record] for m in range(8) if included[m, record]]
        outside = [called[m][record] for m in range(8) if not included[m, record]]
        assert found.models == len(inside) == len(outside) == 4
        assert (found.tpr[position], found.fprs[position]) == (np.mean(inside), np.mean(outside))


def test_accused_needs_somebody_outside() -> None:
    """A model trained on every record has no false accusations to count: refused, not an index that does not exist."""
    with pytest.raises(InputError, match="a record it was not trained on"):
        accused([[1.0, 2.0], [1.0, 2.0]], [[1, 1], [0, 0]], [0], fpr=0.5)


def test_columns_are_slices_by_value_or_by_fifths() -> None:
    """Words and few numbers by value, a missing one by itself; many numbers in fifths of equal size."""
    assert column_groups(np.array(["a", "b", "a"])).tolist() == ["a", "b", "a"]
    assert column_groups(np.array([1, 2, 1])).tolist() == ["1", "2", "1"]
    ages = np.append(np.random.default_rng(0).permutation(50) + 0.5, np.nan)
    names, counts = np.unique(column_groups(ages), return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == {
        "0-20 %": 10, "20-40 %": 10, "40-60 %": 10, "60-80 %": 10, "80-100 %": 10, "nan": 1,
    }  # fmt: skip


def test_exposed_cuts_where_benjamini_hochberg_does() -> None:
    """The list is exactly the records whose adjusted p-value is at most the rate."""
    rng = np.random.default_rng(4)
    included = pairs(24, 100, rng)
    phi = rng.normal(size=included.shape) + 0.8 * included
    difference = np.where(included[0::2], phi[0::2] - phi[1::2], phi[1::2] - phi[0::2])
    adjusted = false_discovery_control(signed_rank_p_values(difference))
    assert set(exposed(phi, included, fdr=0.1).records) == set(np.flatnonzero(adjusted <= 0.1))


def test_a_long_list_is_cut_and_the_rest_counted() -> None:
    """1,500 of 1,600 records give themselves away beyond doubt: the 1,000 with the largest gaps are named."""
    rng = np.random.default_rng(5)
    included = pairs(24, 1600, rng)
    gaps = np.where(np.arange(1600) < 1500, 100.0 + np.arange(1600), 0.0)
    result = exposed(rng.normal(size=included.shape) * (gaps == 0) + gaps * included, included)
    assert result.records == tuple(range(1499, 499, -1))
    assert 500 <= result.not_listed <= 600
    assert result.found == 1000 + result.not_listed


def test_null_check_passes_a_sound_attack_on_a_leaking_pool() -> None:
    """The pool leaks, the shuffled one cannot: 0.5 within the limits, which a sound attack misses once in 10,000."""
    result = null_check(Base(), synthetic(8, 200, shift=2.0), seed=0)
    assert result.low < result.auc < result.high
    assert result.targets >= 64


def test_null_check_catches_an_attack_that_sees_the_design() -> None:
    """Broken on purpose: an attack that scores each model's own column of the design fails the self-test."""
    pool = synthetic(8, 200)

    class Cheat:
        version, paper = "cheat", ""

        def leave_pair_out(self, pool: PoolSignals) -> np.ndarray:  # type: ignore[type-arg]
            rng = np.random.default_rng(0)
            return pool.included * 0.5 + rng.normal(size=pool.included.shape)

    with pytest.raises(AuditFailed, match="null self-test failed"):
        null_check(Cheat(), pool, seed=0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: over_targets(np.zeros((1, 3)), np.ones((1, 3)), fprs=(0.1,)), "2 models or more"),
        (lambda: over_targets(np.zeros((2, 3)), np.ones((2, 2)), fprs=(0.1,)), "must have shape"),
        (lambda: sliced([1.0, 2.0], [1, 0], {"g": [1]}, fpr=0.1), "one value for each of 2 records"),
        (lambda: exposed(np.zeros((2, 3)), np.zeros((2, 3), bool)), "complementary pairs"),
    ],
)
def test_what_does_not_fit_is_refused(call, message) -> None:  # type: ignore[no-untyped-def]
    """One line with the shapes."""
    with pytest.raises(InputError, match=message):
        call()
