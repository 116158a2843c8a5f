"""Slices of the records: against SciPy, and with their false alarms counted."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from dpaudit.runtime.errors import InputError
from dpaudit.scores.slices import column_groups, holm, judge_slices, standard_groups


def test_slices_against_scipy() -> None:
    """AUC and p-value of every slice are scipy's Mann-Whitney ones (no continuity correction), then Holm's."""
    rng = np.random.default_rng(0)
    scores, member, group = rng.integers(0, 20, 200) * 1.0, rng.random(200) < 0.5, rng.integers(0, 4, 200)
    found = judge_slices(scores, member, {"group": group}, fpr=0.1).found
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
    result = judge_slices([1, 2, 3, 4, 5, 6], [1, 1, 0, 0, 1, 0], {"sex": ["f", "f", "f", "f", "m", "m"]}, fpr=0.1)
    assert result.left_out == ("sex = m",)
    assert [one.value for one in result.found] == ["f"]


@pytest.mark.long
def test_slices_without_a_leak_raise_few_alarms() -> None:
    """Five slices of noise, 200 times: at most 5 % of the families hold a p-value below 0.05, plus 4 standard errors.

    Fixed seed; a fresh one would fail about once in 30,000.
    """
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(200):
        found = judge_slices(rng.normal(size=150), rng.random(150) < 0.5, {"g": rng.integers(0, 5, 150)}, fpr=0.1).found
        alarms += min(one.p_value for one in found) < 0.05
    assert alarms / 200 < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 200)


def test_standard_groups_cover_all_records() -> None:
    """Every record is in one class, one quantile of the loss, and right or wrong."""
    groups = standard_groups(labels=[0, 1, 1], loss=[0.1, 5.0, 0.3], correct=[True, False, True], bins=3)
    assert groups["loss"].tolist() == ["0-33.3333 %", "66.6667-100 %", "33.3333-66.6667 %"]
    assert groups["classified"].tolist() == ["right", "wrong", "right"]


def test_columns_are_slices_by_value_or_by_fifths() -> None:
    """Words and few numbers by value, a missing one by itself; many numbers in fifths of equal size."""
    assert column_groups(np.array(["a", "b", "a"])).tolist() == ["a", "b", "a"]
    assert column_groups(np.array([1, 2, 1])).tolist() == ["1", "2", "1"]
    ages = np.append(np.random.default_rng(0).permutation(50) + 0.5, np.nan)
    names, counts = np.unique(column_groups(ages), return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == {
        "0-20 %": 10, "20-40 %": 10, "40-60 %": 10, "60-80 %": 10, "80-100 %": 10, "nan": 1,
    }  # fmt: skip


def test_groups_of_another_length_are_refused() -> None:
    """One line with what was sliced by."""
    with pytest.raises(InputError, match="slices by g must have one value for each of 2 records"):
        judge_slices([1.0, 2.0], [1, 0], {"g": [1]}, fpr=0.1)
