"""Privacy loss distributions of subsampled Gaussian steps, built by vector and composed by dp-accounting."""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from dp_accounting.pld import pld_pmf, privacy_loss_distribution
from scipy.special import log_ndtr, logsumexp
from scipy.stats import binom

from dpaudit._check import FloatArray
from dpaudit.accounting.curve import TradeOff
from dpaudit.claim import Adjacency, GaussianSteps

TAIL = 10.0  # standard deviations kept on each side of a mixture: 8e-24 of the mass lies outside and counts as lost


class Profile:
    """δ(ε) of a composed loss distribution, the larger of the two directions; sums are made once, not per ε."""

    def __init__(self, pld: Any) -> None:
        both = [pld._pmf_remove] if pld._symmetric else [pld._pmf_remove, pld._pmf_add]
        self.directions = [_tails(pmf) for pmf in both]

    def __call__(self, figure: float) -> float:
        """δ at an ε."""
        return max(self._direction(figure, *tails) for tails in self.directions)

    @staticmethod
    def _direction(figure: float, losses: FloatArray, upper: FloatArray, log_lower: FloatArray, lost: float) -> float:
        above = int(np.searchsorted(losses, figure, side="right"))
        # The rest of Q weighs less than that of P, so the product is at most 1, however large e^ε alone would be.
        return lost + float(upper[above] - np.exp(figure + log_lower[above]))


def _tails(pmf: Any) -> tuple[FloatArray, FloatArray, FloatArray, float]:
    """Losses, P(loss ≥ each), log Q(loss ≥ each), closed by none, and the mass of infinite loss under P."""
    dense = pmf.to_dense_pmf()
    upper = np.clip(np.asarray(dense._probs, np.float64), 0.0, None)
    losses = (dense._lower_loss + np.arange(upper.size)) * dense._discretization
    with np.errstate(divide="ignore"):
        log_lower = np.logaddexp.accumulate((np.log(upper) - losses)[::-1])[::-1]
    above = np.append(np.cumsum(upper[::-1])[::-1], 0.0)
    return losses, above, np.append(log_lower, -math.inf), float(dense._infinity_mass)


def sensitivity(adjacency: Adjacency) -> float:
    """How many clip norms one record moves the sum of a batch."""
    return 2.0 if adjacency == "replace-one" else 1.0


@lru_cache(maxsize=64)
def loss_distribution(mechanism: GaussianSteps, adjacency: Adjacency, group: int, grid: float) -> Any:
    """Composed privacy loss distribution, pessimistic, on losses ``grid`` apart."""
    sigma, steps, rate = mechanism.noise_multiplier, mechanism.steps, mechanism.sampling.rate
    if rate == 1:
        deviation = sigma / (sensitivity(adjacency) * group * math.sqrt(steps))
        return privacy_loss_distribution.from_gaussian_mechanism(deviation, value_discretization_interval=grid)
    # dp-accounting builds the same distribution one loss at a time, and only for adding or removing one record.
    counts = np.arange(group + 1.0)
    weights = binom.pmf(np.arange(group + 1), group, rate)
    if adjacency == "replace-one":
        forward = _mixture(sigma, counts, weights, -counts, weights, grid=grid)
        return privacy_loss_distribution.PrivacyLossDistribution(forward.self_compose(steps))
    nothing = (np.zeros(1), np.ones(1))
    remove = _mixture(sigma, counts, weights, *nothing, grid=grid)
    add = _mixture(sigma, *nothing, counts, weights, grid=grid, decreasing=True)
    return privacy_loss_distribution.PrivacyLossDistribution(remove.self_compose(steps), add.self_compose(steps))


def _mixture(
    sigma: float,
    upper: FloatArray,
    upper_weights: FloatArray,
    lower: FloatArray,
    lower_weights: FloatArray,
    *,
    grid: float,
    decreasing: bool = False,
) -> Any:
    """Pessimistic loss distribution of one mixture of normals against another; the loss is monotone in x."""

    def loss(x: FloatArray) -> FloatArray:
        def density(centres: FloatArray, weights: FloatArray) -> FloatArray:
            terms = np.log(weights)[:, None] - (x - centres[:, None]) ** 2 / (2 * sigma**2)
            largest = terms.max(axis=0)
            logs: FloatArray = largest + np.log(np.exp(terms - largest).sum(axis=0))
            return logs

        return np.asarray(density(upper, upper_weights) - density(lower, lower_weights), np.float64)

    sign = -1.0 if decreasing else 1.0
    centres = np.concatenate([upper, lower])
    ends = np.array([centres.min() - TAIL * sigma, centres.max() + TAIL * sigma])
    first, last = np.sort(loss(ends)).tolist()
    marks = np.arange(math.floor(first / grid), math.ceil(last / grid) + 1)
    # A dense table brings every root within a cell; δ is stationary there, so three chord steps leave no visible error.
    table = np.linspace(ends[0], ends[1], 40_001)
    values = sign * loss(table)
    wanted = sign * marks * grid
    at = np.clip(np.searchsorted(values, wanted), 1, table.size - 1)
    slope = np.maximum((values[at] - values[at - 1]) / (table[1] - table[0]), 1e-300)
    # Where the loss is flat the chord step leaves the cell, for infinity even; it starts inside.
    x = np.clip(table[at - 1] + (wanted - values[at - 1]) / slope, table[at - 1], table[at])
    for _ in range(3):
        x = np.clip(x - (sign * loss(x) - wanted) / slope, table[at - 1], table[at])

    def log_above(centres: FloatArray, weights: FloatArray) -> FloatArray:
        tail: FloatArray = logsumexp(log_ndtr(sign * (centres - x[:, None]) / sigma), b=weights, axis=1)
        return tail

    # As a sum of logarithms, for with little noise e^loss is too large for a float; it never exceeds the first term.
    log_first = log_above(upper, upper_weights)
    log_second = np.minimum(marks * grid + log_above(lower, lower_weights), log_first)
    deltas = np.exp(log_first) - np.exp(log_second)
    deltas = np.minimum.accumulate(np.clip(deltas, 0.0, 1.0))
    return pld_pmf.create_pmf_pessimistic_connect_dots_fixed_gap(grid, int(marks[0]), int(marks[-1]), deltas)


def neyman_pearson(pld: Any) -> TradeOff:
    """Reject on the largest losses first; P is "in", so the removal distribution gives (FPR, TPR) directly."""
    _, upper, log_lower, lost = _tails(pld._pmf_remove)
    tpr = np.minimum(1.0, lost + upper[::-1])
    fpr = np.exp(np.minimum(0.0, log_lower[::-1]))
    return TradeOff(np.append(fpr, 1.0), np.append(tpr, 1.0))
