"""The last-iterate heuristic."""

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.stats import binom, norm

from dpaudit.accounting.gaussian import gaussian_epsilon
from dpaudit.accounting.last_iterate import last_iterate_epsilon
from dpaudit.runtime.errors import InputError


@pytest.mark.parametrize(("sigma", "steps"), [(1.0, 1), (5.0, 100), (2.0, 7)])
def test_full_batches_are_one_gaussian_of_all_the_noise(sigma: float, steps: int) -> None:
    """With q = 1 it is μ = √T / σ in closed form."""
    figure = last_iterate_epsilon(sigma, rate=1.0, steps=steps, delta=1e-5)
    assert figure == pytest.approx(gaussian_epsilon(steps**0.5 / sigma, 1e-5), abs=1e-6)


@pytest.mark.parametrize(("sigma", "rate", "steps"), [(1.0, 0.1, 20), (0.7, 0.3, 5), (2.0, 0.5, 50)])
@pytest.mark.long
def test_sampled_batches_are_the_integrated_divergence(sigma: float, rate: float, steps: int) -> None:
    """At its ε the larger divergence of the mixture from the noise, integrated over a dense grid, is δ."""
    figure = last_iterate_epsilon(sigma, rate=rate, steps=steps, delta=1e-4)
    spread = sigma * steps**0.5
    x = np.linspace(-12 * spread, steps + 12 * spread, 400_001)
    q = norm.pdf(x, scale=spread)
    p = sum(binom.pmf(k, steps, rate) * norm.pdf(x, k, spread) for k in range(steps + 1))
    pairs = ((p, q), (q, p))
    widest = max(trapezoid(np.maximum(0, one - np.exp(figure) * other), x) for one, other in pairs)
    assert widest == pytest.approx(1e-4, rel=1e-4)


def test_no_noise_is_refused() -> None:
    """Without noise or sampling there is nothing to predict."""
    with pytest.raises(InputError, match="noise_multiplier"):
        last_iterate_epsilon(0.0, rate=0.1, steps=10, delta=1e-5)
    with pytest.raises(InputError, match="rate"):
        last_iterate_epsilon(1.0, rate=0.0, steps=10, delta=1e-5)
