"""Exact binomial limits."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from dpaudit.errors import InputError
from dpaudit.intervals import interval, lower_rate, upper_rate


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
