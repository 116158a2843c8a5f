"""What a number of trainings can certify."""

import numpy as np
import pytest
from scipy.stats import beta, norm

from dpaudit.accounting.gaussian import gaussian_mu
from dpaudit.bounds.trainings_limit import trainings_limit, trainings_limits
from dpaudit.runtime.errors import InputError


def test_limits_are_those_computed_elsewhere() -> None:
    """Figures for ε = 10 at δ = 1e-5, to a tenth."""
    assert [round(limit, 1) for limit in trainings_limits(10.0, delta=1e-5).values()] == [2.7, 3.1, 4.4, 5.5, 6.5]


@pytest.mark.parametrize(("epsilon", "side"), [(10.0, 500), (4.0, 2000), (1.0, 100_000)])
def test_limit_is_the_best_of_all_thresholds(epsilon: float, side: int) -> None:
    """A dense list of thresholds on both sides, with scipy's beta quantiles and both ratios, has the same largest."""
    mu, t = gaussian_mu(epsilon, 1e-5), np.linspace(-8, 8, 40_001)
    rates = norm.cdf(t - mu / 2), norm.sf(t + mu / 2)
    fnr, fpr = (beta.ppf(0.975, side * rate + 1, side * (1 - rate)) for rate in rates)
    with np.errstate(invalid="ignore"):
        found = np.log(np.fmax((1 - fnr - 1e-5) / fpr, (1 - fpr - 1e-5) / fnr))
    assert trainings_limit(epsilon, side, delta=1e-5) == pytest.approx(max(0.0, np.nanmax(found)), abs=1e-5)


def test_no_trainings_are_refused() -> None:
    """There is at least one training on either side."""
    with pytest.raises(InputError, match="trainings"):
        trainings_limit(10.0, 0, delta=1e-5)
