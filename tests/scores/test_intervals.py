"""Exact binomial limits."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from dpaudit.runtime.errors import InputError
from dpaudit.scores.intervals import interval, lower_rate, median_interval, upper_rate


@pytest.mark.parametrize(("hits", "trials"), [(0, 10), (1, 10), (10, 10), (37, 500), (999_999, 1_000_000)])
def test_intervals_are_those_of_scipy(hits: int, trials: int) -> None:
    """scipy's own exact interval is another implementation of the same definition."""
    known = binomtest(hits, trials).proportion_ci(0.95, method="exact")
    low, high = interval(hits, trials, 0.95)
    assert float(low) == pytest.approx(known.low, abs=1e-12)
    assert float(high) == pytest.approx(known.high, abs=1e-12)


def test_a_limit_is_where_the_tail_has_the_level() -> None:
    """The definition: at the lower limit, seeing so many hits or more has probability exactly the level."""
    hits = np.array([1, 5, 40])
    assert np.allclose(binom.sf(hits - 1, 50, lower_rate(hits, 50, 0.01)), 0.01)
    assert np.allclose(binom.cdf(hits, 50, upper_rate(hits, 50, 0.01)), 0.01)


@pytest.mark.parametrize(("hits", "message"), [(11, "got 11"), (-1, "got -1"), (1.5, "got 1.5"), (np.nan, "finite")])
def test_impossible_counts_are_refused(hits: float, message: str) -> None:
    """Counts are whole numbers from 0 to the trials."""
    with pytest.raises(InputError, match=message):
        lower_rate(hits, 10, 0.05)


@pytest.mark.parametrize("count", [5, 6, 8, 25, 64])
def test_median_interval_by_the_ranks_of_scipy(count: int) -> None:
    """scipy's quantile test has the same limits from the same ranks, and none for five values."""
    from scipy.stats import quantile_test

    values = np.random.default_rng(count).exponential(size=count)
    theirs: Any = quantile_test(values, p=0.5).confidence_interval(0.95)  # its stubs say float
    ours = median_interval(values, 0.95)
    if count < 6:
        assert ours == (-np.inf, np.inf)
        assert np.isnan([theirs.low, theirs.high]).all()
    else:
        assert ours == (theirs.low, theirs.high)


def test_median_interval_holds_as_often_as_it_says() -> None:
    """2,000 samples of 9 from a skewed law: at most 130 intervals miss the median (5 % is 100; false alarm 0.2 %)."""
    rng = np.random.default_rng(0)
    limits = np.array([median_interval(rng.exponential(size=9), 0.95) for _ in range(2000)])
    assert ((limits[:, 0] > np.log(2)) | (limits[:, 1] < np.log(2))).sum() <= 130
