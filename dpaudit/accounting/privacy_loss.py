"""Privacy loss distributions of subsampled Gaussian steps, built and composed by vector.

They connect the dots, as dp-accounting does: `Doroshenko, Ghazi, Kamath, Kumar and Manurangsi (2022)
<https://arxiv.org/abs/2207.04380>`_. It goes from loss to loss in Python, which takes several times as long.
"""

import math
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.special import log_ndtr

from dpaudit.accounting.claim import (
    Adjacency,
    FixedSize,
    GaussianSteps,
    Poisson,
    Shuffled,
    TruncatedPoisson,
)
from dpaudit.accounting.trade_off_curve import TradeOff
from dpaudit.runtime.check import FloatArray

Direction = Literal["remove", "add"]
TAIL = 10.0  # standard deviations kept on each side of a mixture: 8e-24 of the mass lies outside and counts as lost
CUT = 1e-15  # of the mass of composed losses: the tails cut off, which count as lost
ORDERS = 20  # of Chernoff's bound on those tails, in inverse widths of the losses of one step: no exponent is larger
# Connecting the dots adds at most a quarter of the squared spacing to the variance of a step's loss. At an eighth of
# its deviation that is 0.4 %, hence 0.2 % of ε.
CELLS = 8
MOST = 1_000_000  # losses of one step that are told apart, which bounds time and memory


class Profile:
    """δ(ε) of composed losses, the larger of the directions that differ; sums are made once, not per ε."""

    def __init__(self, mechanism: GaussianSteps, adjacency: Adjacency, group: int, grid: float) -> None:
        symmetric = mechanism.sampling.rate == 1 or adjacency == "replace-one"
        symmetric = symmetric or isinstance(mechanism.sampling, FixedSize)
        ways: tuple[Direction, ...] = ("remove",) if symmetric else ("remove", "add")
        self.directions = [_tails(compose_losses(mechanism, adjacency, group, grid, way)) for way in ways]
        self.lost = max(lost for *_, lost in self.directions)

    def __call__(self, figure: float) -> float:
        """δ at an ε."""
        return max(self._direction(figure, *tails) for tails in self.directions)

    @staticmethod
    def _direction(figure: float, at: FloatArray, upper: FloatArray, log_lower: FloatArray, lost: float) -> float:
        above = int(np.searchsorted(at, figure, side="right"))
        # The rest of Q weighs less than that of P, so the product is at most 1, however large e^ε alone would be.
        return lost + float(upper[above] - np.exp(figure + log_lower[above]))


def profile(mechanism: GaussianSteps, adjacency: Adjacency, group: int, grid: float) -> Profile:
    """The profile of a mechanism, made once for all that have the same losses.

    Shuffled batches are taken as Poisson batches of their rate, and a record is zeroed out at what it costs to remove.
    """
    sampling = mechanism.sampling
    if isinstance(sampling, Shuffled):
        sampling = Poisson(sampling.rate)
    same: Adjacency = "replace-one" if adjacency == "replace-one" else "add-remove"
    return _made(replace(mechanism, sampling=sampling, slack=0.0, unit="record"), same, group, grid)


_made = lru_cache(maxsize=8)(Profile)  # few, for each holds up to three million numbers for a direction


def _tails(pmf: Any) -> tuple[FloatArray, FloatArray, FloatArray, float]:
    """Losses, P(loss ≥ each), log Q(loss ≥ each), closed by none, and the mass of infinite loss under P."""
    dense = pmf.to_dense_pmf()
    upper = np.clip(np.asarray(dense._probs, np.float64), 0.0, None)
    at = (dense._lower_loss + np.arange(upper.size)) * dense._discretization
    with np.errstate(divide="ignore"):
        log_lower = np.logaddexp.accumulate((np.log(upper) - at)[::-1])[::-1]
    above = np.append(np.cumsum(upper[::-1])[::-1], 0.0)
    return at, above, np.append(log_lower, -math.inf), float(dense._infinity_mass)


def sensitivity(adjacency: Adjacency) -> float:
    """How many clip norms one record moves the sum of a batch."""
    return 2.0 if adjacency == "replace-one" else 1.0


@lru_cache(maxsize=128)
def compose_losses(
    mechanism: GaussianSteps, adjacency: Adjacency, group: int, grid: float, direction: Direction = "remove"
) -> Any:
    """Composed privacy losses when the record goes or comes, pessimistic, ``grid`` apart or as close as they need.

    Fixed-size batches: a replaced record moves a batch that holds it by two clip norms, and so does the record that
    stands in its place in a batch that does not. The curve of one step is that of theorem 9 of `Balle, Barthe and
    Gaboardi (2018) <https://arxiv.org/abs/1807.01647>`_, the same in both directions.

    Truncated Poisson batches, as dp-accounting 0.6 has them: the step of the batches that are not full, and, with the
    probability that the others fill a batch, one at whose place a record is replaced.
    """
    from scipy.stats import binom

    sigma, steps, rate = mechanism.noise_multiplier, mechanism.steps, mechanism.sampling.rate
    nothing = (np.zeros(1), np.ones(1))
    # dp-accounting builds the same distributions one loss at a time, sampled ones only for one record added or removed.
    if rate == 1:  # the releases add up to one
        together = sigma / (sensitivity(adjacency) * group * math.sqrt(steps))
        return _mixture(together, np.ones(1), np.ones(1), *nothing, grid=grid)
    counts = np.arange(group + 1.0)
    weights = binom.pmf(np.arange(group + 1), group, rate)
    grid = spacing(mechanism, grid)
    if isinstance(mechanism.sampling, FixedSize):
        once = _mixture(sigma / 2, counts, weights, *nothing, grid=grid, symmetric=True)
    elif adjacency == "replace-one":
        once = _mixture(sigma, counts, weights, -counts, weights, grid=grid)
    elif direction == "remove":
        once = _mixture(sigma, counts, weights, *nothing, grid=grid)
    else:
        once = _mixture(sigma, *nothing, counts, weights, grid=grid, decreasing=True)
    if isinstance(mechanism.sampling, TruncatedPoisson) and mechanism.sampling.cut > 0:
        # In a batch that the others fill, a record comes in the place of another one.
        rate = mechanism.sampling.kept_of_cut
        weights = np.array([1 - rate, rate])
        swapped = _mixture(sigma / 2, counts, weights, -counts, weights, grid=grid)
        once = _either(swapped, once, mechanism.sampling.cut)
    return _composed(once, steps)


def deviation(mechanism: GaussianSteps) -> float:
    """Of the loss of one sampled step, at least: √(q² (e^(1/σ²) - 1)), that of the likelihood ratio."""
    exponent = min(1 / mechanism.noise_multiplier**2, 600.0)
    return mechanism.sampling.rate * math.sqrt(math.expm1(exponent))


def spacing(mechanism: GaussianSteps, grid: float) -> float:
    """The spacing of the losses: ``grid``, narrower where those of one step lie closer together, wider for too many."""
    sigma, rate = mechanism.noise_multiplier, mechanism.sampling.rate
    scale = 2 if isinstance(mechanism.sampling, FixedSize | TruncatedPoisson) else 1
    reach = (scale * (TAIL * sigma + scale) + scale**2 / 2) / sigma**2  # of the largest loss, were there no sampling
    widest = math.log1p(rate * math.expm1(reach)) if reach < 600 else reach + math.log(rate)
    return max(min(grid, deviation(mechanism) / CELLS), 2 * widest / MOST)


def resolved(mechanism: GaussianSteps, grid: float) -> bool:
    """Whether the spacing is narrow enough for the figure to be exact to a fraction of a percent."""
    return mechanism.sampling.rate == 1 or spacing(mechanism, grid) <= 1.001 * deviation(mechanism) / CELLS


def _mixture(
    sigma: float,
    upper: FloatArray,
    upper_weights: FloatArray,
    lower: FloatArray,
    lower_weights: FloatArray,
    *,
    grid: float,
    decreasing: bool = False,
    symmetric: bool = False,
) -> Any:
    """Pessimistic loss distribution of one mixture of normals against another; the loss is monotone in x.

    ``symmetric``: the curve of ε ≥ 0 is that of the mixtures, and that of ε < 0 is its mirror image.
    """

    def loss(x: FloatArray) -> FloatArray:
        def density(centres: FloatArray, weights: FloatArray) -> FloatArray:
            return _log_sum(np.log(weights)[:, None] - (x - centres[:, None]) ** 2 / (2 * sigma**2))

        return np.asarray(density(upper, upper_weights) - density(lower, lower_weights), np.float64)

    from dp_accounting.pld.pld_pmf import DensePLDPmf

    sign = -1.0 if decreasing else 1.0
    centres = np.concatenate([upper, lower])
    ends = np.array([centres.min() - TAIL * sigma, centres.max() + TAIL * sigma])
    first, last = np.sort(loss(ends)).tolist()
    top = math.ceil(last / grid)
    marks = np.arange(-top if symmetric else math.floor(first / grid), top + 1)
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
        return _log_sum(np.log(weights)[:, None] + log_ndtr(sign * (centres[:, None] - x) / sigma))

    # As a sum of logarithms, for with little noise e^loss is too large for a float; it never exceeds the first term.
    log_first = log_above(upper, upper_weights)
    log_second = np.minimum(marks * grid + log_above(lower, lower_weights), log_first)
    deltas = np.exp(log_first) - np.exp(log_second)
    if symmetric:  # δ(-ε) = 1 - e^-ε + e^-ε δ(ε)
        mirrored = deltas[:top:-1]
        deltas[:top] = -np.expm1(marks[:top] * grid) + np.exp(marks[:top] * grid) * mirrored
    deltas = np.minimum.accumulate(np.clip(deltas, 0.0, 1.0))
    # Masses whose δ meets the true one at every mark; between two marks it is the chord, which lies above.
    falls = -np.diff(deltas)
    probs = np.append(1 - deltas[0], falls / -math.expm1(-grid)) - np.append(falls / math.expm1(grid), 0.0)
    probs = np.maximum(probs, 0.0)
    return DensePLDPmf(grid, int(marks[0]), probs, float(deltas[-1]), True)


def _log_sum(terms: FloatArray) -> FloatArray:
    """log Σ e^term over the first axis, by `scipy.special.logsumexp` in a third of its time for so few terms."""
    logs: FloatArray = terms.max(axis=0)
    if len(terms) > 1:
        logs = logs + np.log(np.exp(terms - logs).sum(axis=0))
    return logs


def _either(first: Any, second: Any, share: float) -> Any:
    """Losses of a step that is ``first`` with probability ``share`` and else ``second``, which an observer may know."""
    from dp_accounting.pld.pld_pmf import DensePLDPmf

    low = min(first._lower_loss, second._lower_loss)
    probs = np.zeros(max(each._lower_loss + each.size for each in (first, second)) - low)
    for each, weight in ((first, share), (second, 1 - share)):
        start = each._lower_loss - low
        probs[start : start + each.size] += weight * each._probs
    lost = share * first._infinity_mass + (1 - share) * second._infinity_mass
    return DensePLDPmf(first._discretization, low, probs, lost, True)


def _composed(once: Any, steps: int) -> Any:
    """Losses of so many independent steps, those of one being ``once``."""
    from dp_accounting.pld.pld_pmf import DensePLDPmf

    if steps == 1:
        return once
    probs, size = once._probs, once.size
    low, high = _range(probs, steps)
    # Beyond the range only `CUT` of the mass wraps around.
    length = next_fast_len(max(high - low + 1, size), real=True)
    everything = irfft(rfft(probs, length) ** steps, length)
    lost = CUT - math.expm1(steps * math.log1p(-once._infinity_mass))
    first = once._lower_loss * steps + low
    return DensePLDPmf(once._discretization, first, np.roll(everything, -low)[: high - low + 1], lost, True)


def _range(probs: FloatArray, steps: int) -> tuple[int, int]:
    """Places outside of which a sum of so many places drawn from ``probs`` lies with less than `CUT`, by Chernoff."""
    low, high = 0, (probs.size - 1) * steps
    growth = np.exp(np.arange(probs.size) / probs.size)
    for sign, factor in ((1, growth), (-1, 1 / growth)):
        weights = probs
        for order in range(1, ORDERS + 1):
            weights = weights * factor
            reach = (steps * math.log(weights.sum()) + math.log(2 / CUT)) * probs.size / order
            if sign > 0:
                high = min(high, math.ceil(reach))
            else:
                low = max(low, math.floor(-reach))
    return low, high


def neyman_pearson(mechanism: GaussianSteps, adjacency: Adjacency, group: int, grid: float) -> TradeOff:
    """Reject on the largest losses first; P is "in", so the losses of removal give (FPR, TPR) directly."""
    _, upper, log_lower, lost = _tails(compose_losses(mechanism, adjacency, group, grid))
    tpr = np.minimum(1.0, lost + upper[::-1])
    fpr = np.exp(np.minimum(0.0, log_lower[::-1]))
    return TradeOff(np.append(fpr, 1.0), np.append(tpr, 1.0))
