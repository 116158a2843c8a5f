"""Single records: by loops and brute force, and with their false alarms counted."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import false_discovery_control, wilcoxon

from dpaudit.runtime.errors import InputError
from dpaudit.scores.vulnerable_records import find_exposed, rates_of_records, signed_rank_p_values
from tests.attacks.membership.pool import pairs


def test_accused_by_a_loop_over_models_and_records() -> None:
    """Threshold of each target: the lowest score that keeps false accusations at most at the rate. Then counts."""
    rng = np.random.default_rng(6)
    included = pairs(8, 50, rng)
    scores = np.round(rng.normal(size=included.shape) + included, 1)  # with ties
    found = rates_of_records(scores, included, [3, 40], fpr=0.1)
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
        rates_of_records([[1.0, 2.0], [1.0, 2.0]], [[1, 1], [0, 0]], [0], fpr=0.5)


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
    result = find_exposed(phi, included)
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
        alarms += bool(find_exposed(rng.normal(size=included.shape), included).records)
    assert alarms / 200 < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 200)


def test_exposed_cuts_where_benjamini_hochberg_does() -> None:
    """The list is exactly the records whose adjusted p-value is at most the rate."""
    rng = np.random.default_rng(4)
    included = pairs(24, 100, rng)
    phi = rng.normal(size=included.shape) + 0.8 * included
    difference = np.where(included[0::2], phi[0::2] - phi[1::2], phi[1::2] - phi[0::2])
    adjusted = false_discovery_control(signed_rank_p_values(difference))
    assert set(find_exposed(phi, included, fdr=0.1).records) == set(np.flatnonzero(adjusted <= 0.1))


def test_a_long_list_is_cut_and_the_rest_counted() -> None:
    """1,500 of 1,600 records give themselves away beyond doubt: the 1,000 with the largest gaps are named."""
    rng = np.random.default_rng(5)
    included = pairs(24, 1600, rng)
    gaps = np.where(np.arange(1600) < 1500, 100.0 + np.arange(1600), 0.0)
    result = find_exposed(rng.normal(size=included.shape) * (gaps == 0) + gaps * included, included)
    assert result.records == tuple(range(1499, 499, -1))
    assert 500 <= result.not_listed <= 600
    assert result.found == 1000 + result.not_listed


def test_models_that_are_not_in_pairs_are_refused() -> None:
    """The sign test needs one model with and one without each record."""
    with pytest.raises(InputError, match="complementary pairs: of 2k and 2k"):
        find_exposed(np.zeros((2, 3)), np.zeros((2, 3), bool))
    with pytest.raises(InputError, match="complementary pairs: half of them"):
        rates_of_records(np.zeros((2, 3)), np.zeros((2, 3), bool), [0], fpr=0.1)
