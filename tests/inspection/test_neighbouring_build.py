"""A divisor that is computed from the number of records is a scale that everybody sees."""

import numpy as np
import pytest
from scipy import integrate, stats

from dpaudit.inspection.neighbouring_build import epsilon_of_scales


@pytest.mark.parametrize("ratio", [0.5, 0.9, 1.3, 2.0])
def test_the_epsilon_of_one_value_is_that_of_the_integral(ratio: float) -> None:
    """For one value the hockey-stick divergence of the two densities, integrated numerically, is δ."""
    epsilon = epsilon_of_scales(ratio, 1, 1e-3)

    def hockey(first: float, second: float) -> float:
        def excess(x: float) -> float:
            return float(max(stats.norm.pdf(x, scale=first) - np.exp(epsilon) * stats.norm.pdf(x, scale=second), 0.0))

        return 2 * float(integrate.quad(excess, 0, 40, limit=500)[0])

    assert max(hockey(1.0, ratio), hockey(ratio, 1.0)) == pytest.approx(1e-3, rel=1e-2)


def test_more_values_show_more_and_equal_scales_nothing() -> None:
    """ε grows with the number of values without bound (opacus #819), and is 0 where nothing differs."""
    found = [epsilon_of_scales(1.01, values, 1e-5) for values in (10, 1000, 100_000, 10_000_000)]
    assert found == sorted(found)
    assert found[0] < 1 < 20 < found[2] < found[3]
    assert epsilon_of_scales(1.0, 1000, 1e-5) == 0.0
