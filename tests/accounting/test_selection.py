"""The best of a random number of trainings, against the theorems of Papernot and Steinke (2021, arXiv 2110.03620)."""

import math

import numpy as np
import pytest
from dp_accounting.rdp import rdp_privacy_accountant

from dpaudit.accounting.claim import Adjacency, FixedSize, GaussianSteps, Poisson, Sampling, Shuffled
from dpaudit.accounting.gaussian import gaussian_delta
from dpaudit.accounting.mechanism import ORDERS
from dpaudit.accounting.selection import Selection, selected_epsilon, selection_from
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError

SIGMA, DELTA = 4.0, 1e-5
FULL = GaussianSteps(SIGMA, 1, Poisson(1.0))
RENYI = np.asarray(ORDERS) / (2 * SIGMA**2)  # of one Gaussian release of sensitivity 1


def in_epsilon(renyi: FloatArray) -> float:
    """ε at `DELTA` of Rényi divergences at `ORDERS`, by dp-accounting."""
    return float(rdp_privacy_accountant.compute_epsilon(np.asarray(ORDERS), renyi, DELTA)[0])


@pytest.mark.parametrize(("law", "shape"), [("geometric", 1.0), ("logarithmic", 0.0)])
def test_negative_binomial_numbers_cost_what_theorem_2_says(law: str, shape: float) -> None:
    """For every order the best second order; γ by its definition from the mean. Equal to 1e-6."""
    mean = 10.0
    if law == "geometric":
        gamma = 1 / mean
    else:  # mean = (1/γ - 1) / log(1/γ), by bisection
        low, high = 1e-9, 1 - 1e-9
        for _ in range(200):
            gamma = math.sqrt(low * high)
            low, high = (gamma, high) if (1 / gamma - 1) / math.log(1 / gamma) > mean else (low, gamma)
    orders = np.asarray(ORDERS)
    second = (1 + shape) * ((1 - 1 / orders) * RENYI + math.log(1 / gamma) / orders)
    expected = RENYI + second.min() + math.log(mean) / (orders - 1)
    found = selected_epsilon(FULL, Selection(law, mean), delta=DELTA)
    assert found.epsilon == pytest.approx(in_epsilon(expected), rel=1e-6)


def test_poisson_numbers_cost_what_theorem_6_says() -> None:
    """At order λ: one training's divergence, mean · δ̂ at ε̂ = log(1 + 1/(λ - 1)), and log(mean)/(λ - 1).

    With δ̂ from the same divergences equal to 1e-6; with the exact δ̂ of the Gaussian the figure could only be smaller.
    """
    mean, orders = 10.0, np.asarray(ORDERS)
    places = np.log1p(1 / (orders - 1))
    by_renyi = [rdp_privacy_accountant.compute_delta(orders, RENYI, place)[0] for place in places]
    by_law = [gaussian_delta(1 / SIGMA, place) for place in places]
    from_renyi, exact = (
        in_epsilon(RENYI + mean * np.asarray(deltas) + math.log(mean) / (orders - 1)) for deltas in (by_renyi, by_law)
    )
    found = selected_epsilon(FULL, Selection("poisson", mean), delta=DELTA).epsilon
    assert found == pytest.approx(from_renyi, rel=1e-6)
    assert found >= exact


def test_more_trainings_cost_more_but_not_in_proportion() -> None:
    """Ten on average cost more than two, and less than five times as much."""
    two, ten = (selected_epsilon(FULL, Selection("geometric", mean), delta=DELTA).epsilon for mean in (2.0, 10.0))
    assert two < ten < 5 * two


@pytest.mark.parametrize(
    ("sampling", "adjacency", "message"),
    [
        (Shuffled(10), "add-remove", "shuffled"),
        (Poisson(0.1), "replace-one", "no replace-one accounting"),
        (FixedSize(10, 100), "add-remove", "no add-remove accounting"),
    ],
)
def test_what_is_not_accounted_is_refused(sampling: Sampling, adjacency: Adjacency, message: str) -> None:
    """With the reason."""
    with pytest.raises(InputError, match=message):
        selected_epsilon(
            GaussianSteps(1.0, 10, sampling), Selection("geometric", 10.0), delta=DELTA, adjacency=adjacency
        )


@pytest.mark.parametrize("text", ["geometric", "geometric:1", "fixed:3", "poisson:0", "poisson:nan", "geometric:x"])
def test_another_law_is_one_line(text: str) -> None:
    """A fixed number is none of these laws."""
    with pytest.raises(InputError):
        selection_from(text)
