"""The distance between distributions: against scipy's, and its level against the exact law."""

import numpy as np
import pytest
from scipy import stats

from dpaudit.inspection.check_law import distance, significant


@pytest.mark.parametrize("number", [5, 300, 20_000])
@pytest.mark.parametrize("power", [1.0, 1.02, 1.5])
def test_a_distance_is_that_of_scipy_where_it_counts(number: int, power: float) -> None:
    """Uniform numbers and powers of them: scipy's figure where it is no smaller than was asked for, 0 where it is."""
    values = np.random.default_rng(number).random(number) ** power
    truth = float(stats.kstest(values, "uniform").statistic)
    assert distance(values, at_least=0.0) == pytest.approx(truth)
    assert distance(values, at_least=0.999 * truth) == pytest.approx(truth)
    assert distance(values, at_least=1.001 * truth) == 0.0


def test_values_on_one_point_are_as_far_as_they_are() -> None:
    """All at the end of a bin, or at 1: the distance is the larger part of the line."""
    for point in (0.25, 1.0):
        assert distance(np.full(50, point), at_least=0.1) == pytest.approx(max(point, 1 - point))


@pytest.mark.parametrize("level", [0.05, 1e-4, 1e-8])
def test_the_bound_keeps_the_level_and_costs_little(level: float) -> None:
    """By the exact law (Simard, L'Ecuyer 2011, in scipy); from 100 values on the distance asked is 3 % too large."""
    for number in (5, 20, 100, 1000, 10_000):
        assert stats.kstwo.sf(significant(number, level), number) <= level
        if number >= 100:
            assert significant(number, level) <= 1.03 * stats.kstwo.isf(level, number)
