"""What a mechanism costs: (ε, δ), the whole trade-off curve, and the reconstruction bound that follows from it.

Everything rests on the privacy loss distribution of the mechanism as dp-accounting composes it (0.4.3 and later).
The noise multiplier of `GaussianSteps` is relative to the clip norm, so a replaced record moves the sum of a batch
by up to two clip norms.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import dp_accounting
import numpy as np
from dp_accounting.pld import pld_pmf, privacy_loss_distribution
from dp_accounting.rdp import RdpAccountant
from scipy.optimize import brentq
from scipy.special import log_ndtr, logsumexp, ndtr
from scipy.stats import binom

from dpaudit import _check
from dpaudit._check import FloatArray
from dpaudit.claim import ADJACENCIES, Adjacency, FixedSize, GaussianSteps, Poisson, Shuffled
from dpaudit.errors import InputError

GRID = 1e-4  # spacing of the discretised privacy loss; dp-accounting's default
ORDERS = (*np.arange(1.1, 11.0, 0.1).tolist(), *range(11, 64), 128, 256, 512, 1024)
TAIL = 10.0  # standard deviations kept on each side of a mixture: 8e-24 of the mass lies outside and counts as lost


@dataclass(frozen=True)
class Accounted:
    """An upper bound on ε from theory.

    Args:
        epsilon: the figure; infinite without noise.
        delta: the δ it holds for.
        adjacency: the neighbouring data sets it holds for.
        method: how it was computed.
        optimistic: True when the figure is *not* an upper bound for what was run (shuffled batches).
        note: what a reader must know; empty when there is nothing.
    """

    epsilon: float
    delta: float
    adjacency: Adjacency
    method: str
    optimistic: bool = False
    note: str = ""


@dataclass(frozen=True)
class TradeOff:
    """The best true-positive rate any test can reach at each false-positive rate ("trained on" is positive).

    Args:
        fpr: false-positive rates, increasing from 0 to 1, shape (points,).
        tpr: the true-positive rate at each, increasing to 1, shape (points,). Linear between the points.

    >>> round(gaussian_trade_off(1.0).tpr_at(0.05), 4)
    0.2595
    """

    fpr: FloatArray
    tpr: FloatArray

    def tpr_at(self, fpr: float) -> float:
        """Upper bound on the true-positive rate at a false-positive rate."""
        return float(np.interp(_check.probability("fpr", fpr), self.fpr, self.tpr))

    def fpr_at(self, tpr: float) -> float:
        """Lower bound on the false-positive rate at a true-positive rate: the inverse of `tpr_at`."""
        level = _check.probability("tpr", tpr)
        # Where the curve is flat the smallest false-positive rate counts, hence the first point that reaches the level.
        right = int(np.searchsorted(self.tpr, level, side="left"))
        if right == 0:
            return 0.0
        low, high = self.tpr[right - 1], self.tpr[min(right, self.tpr.size - 1)]
        left, end = self.fpr[right - 1], self.fpr[min(right, self.tpr.size - 1)]
        return float(left if high <= low else left + (end - left) * (level - low) / (high - low))

    @property
    def total_variation(self) -> float:
        """Largest advantage TPR - FPR of any test; it equals δ at ε = 0."""
        return float(np.max(self.tpr - self.fpr))

    def reconstruction(self, kappa: float) -> float:
        """γ(κ): bound on the success of any reconstruction whose prior alone succeeds with probability ``kappa``.

        `Hayes, Mahloujifar and Balle (2023) <https://arxiv.org/abs/2302.07225>`_; κ = 1 / M for M candidates.
        """
        return self.tpr_at(_check.probability("kappa", kappa))

    def epsilon(self, delta: float) -> float:
        """Smallest ε with which the curve is (ε, δ)-differentially private in both directions."""
        slack = _check.delta("delta", delta)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.concatenate(
                [(self.tpr - slack) / self.fpr, (1 - self.fpr - slack) / (1 - self.tpr)],
            )
        # 0 / 0 and negative / 0 are corners that restrict nothing.
        finite = ratios[~np.isnan(ratios)]
        largest = float(np.max(finite, initial=1.0))
        return math.inf if math.isinf(largest) else math.log(max(1.0, largest))

    def symmetric(self) -> "TradeOff":
        """The smallest concave curve above this one and its mirror image: what holds for in/out and for out/in."""
        points = np.concatenate([np.stack([self.fpr, self.tpr], 1), np.stack([1 - self.tpr, 1 - self.fpr], 1)])
        return _concave(points[:, 0], points[:, 1])


def event(mechanism: GaussianSteps) -> Any:
    """The mechanism as a dp-accounting event; shuffled batches as Poisson batches of the same rate.

    >>> event(GaussianSteps(1.0, 10, Poisson(0.1))).count
    10
    """
    release: Any = dp_accounting.GaussianDpEvent(mechanism.noise_multiplier)
    match mechanism.sampling:
        case Poisson(rate) if rate == 1.0:
            step = release
        case FixedSize(batch_size, records):
            step = dp_accounting.SampledWithoutReplacementDpEvent(records, batch_size, release)
        case sampling:
            step = dp_accounting.PoissonSampledDpEvent(sampling.rate, release)
    return dp_accounting.SelfComposedDpEvent(step, mechanism.steps)


def epsilon(
    mechanism: GaussianSteps,
    *,
    delta: float,
    adjacency: Adjacency = "add-remove",
    group: int = 1,
    grid: float = GRID,
) -> Accounted:
    """What theory allows at ``delta``: an upper bound on ε, except for shuffled batches, where it says so.

    Args:
        mechanism: the Gaussian steps that were run.
        delta: in [0, 1).
        adjacency: ``add-remove`` and ``zero-out`` move a batch sum by one clip norm, ``replace-one`` by two.
        group: how many records may change at once, each clipped on its own (user-level privacy of record-level DP-SGD).
        grid: spacing of the discretised loss; a wider one is faster and more pessimistic.

    Raises:
        InputError: fixed-size batches under add-remove, which changes the number of records, or for a group.

    >>> round(epsilon(GaussianSteps(1.0, 1000, Poisson(0.01)), delta=1e-5).epsilon, 3)
    1.828
    """
    _check.delta("delta", delta)
    _check.one_of("adjacency", adjacency, ADJACENCIES)
    _check.integer("group", group, at_least=1)
    if mechanism.noise_multiplier == 0:
        return Accounted(math.inf, delta, adjacency, "no noise")
    if isinstance(mechanism.sampling, FixedSize):
        _refuse_fixed_size(adjacency, group)
        profile: Callable[[float], float] = _fixed_size_accountant(mechanism).get_delta
        method, note = "RDP", "batches of fixed size; sensitivity of two clip norms"
    else:
        if mechanism.sampling.rate == 1 and mechanism.slack == 0:
            mu = _sensitivity(adjacency) * group * math.sqrt(mechanism.steps) / mechanism.noise_multiplier
            return Accounted(gaussian_epsilon(mu, delta), delta, adjacency, "exact Gaussian")
        profile, method, note = (
            _Profile(_loss_distribution(replace(mechanism, slack=0.0), adjacency, group, grid)),
            "PLD",
            "",
        )
    figure = _invert_profile(profile, delta, mechanism.slack)
    if isinstance(mechanism.sampling, Shuffled):
        note = "figure for Poisson sampling; the batches were shuffled, for which no tight upper bound is known"
        return Accounted(figure, delta, adjacency, method, optimistic=True, note=note)
    return Accounted(figure, delta, adjacency, method, note=note)


def trade_off(
    mechanism: GaussianSteps, *, adjacency: Adjacency = "add-remove", group: int = 1, grid: float = GRID
) -> TradeOff:
    """The trade-off curve of the mechanism, pessimistic (never below the truth) up to float rounding.

    It comes from the privacy loss distribution by Neyman and Pearson; fixed-size batches have only their Rényi curve.
    For shuffled batches it is the Poisson curve and optimistic, as in `epsilon`. ``grid`` is the spacing of the
    discretised loss: a wider one is faster and more pessimistic.

    >>> curve = trade_off(GaussianSteps(1.0, 1000, Poisson(0.01)))
    >>> round(curve.tpr_at(0.01), 4)
    0.0291
    """
    _check.one_of("adjacency", adjacency, ADJACENCIES)
    _check.integer("group", group, at_least=1)
    if mechanism.noise_multiplier == 0:
        return TradeOff(np.array([0.0, 1.0]), np.array([1.0, 1.0]))
    return _trade_off(mechanism, adjacency, group, _check.positive("grid", grid))


@lru_cache(maxsize=64)
def _trade_off(mechanism: GaussianSteps, adjacency: Adjacency, group: int, grid: float) -> TradeOff:
    if isinstance(mechanism.sampling, FixedSize):
        _refuse_fixed_size(adjacency, group)
        accountant = _fixed_size_accountant(mechanism)
        epsilons = np.concatenate([np.linspace(0, 1, 101), np.geomspace(1.01, 60, 400)])
        curve = from_profile(epsilons, np.array([accountant.get_delta(e) for e in epsilons]))
    else:
        curve = _neyman_pearson(_loss_distribution(replace(mechanism, slack=0.0), adjacency, group, grid))
    if mechanism.slack == 0:
        return curve
    fpr = np.clip(curve.fpr - mechanism.slack, 0, 1)
    return _concave(fpr, np.clip(curve.tpr + mechanism.slack, 0, 1))


def from_profile(epsilons: FloatArray, deltas: FloatArray) -> TradeOff:
    """The trade-off curve allowed by a list of (ε, δ) that hold together, each in both directions.

    >>> pure = from_profile(np.array([1.0]), np.array([0.0]))
    >>> bool(np.isclose(pure.total_variation, (np.e - 1) / (np.e + 1)))
    True
    """
    e = np.exp(_check.vector("epsilons", epsilons))
    d = _check.vector("deltas", deltas, length=e.size)
    # Every corner of the envelope is where two of its lines meet: the grid of neighbouring meetings, and their mirror.
    order = np.argsort(e)
    e, d = e[order], d[order]
    steep = np.diff(-d) / np.maximum(np.diff(e), 1e-300)
    middle = (1 - d) / (1 + e)
    x = np.unique(np.clip(np.concatenate([[0.0, 1.0], steep, middle, np.geomspace(1e-12, 1, 2001)]), 0, 1))
    y = np.ones_like(x)
    for growth, slack in zip(e, d, strict=True):
        y = np.minimum(y, np.minimum(growth * x + slack, 1 - np.maximum(0.0, 1 - slack - x) / growth))
    return TradeOff(x, np.maximum.accumulate(np.clip(y, x, 1)))


def gaussian_trade_off(mu: float) -> TradeOff:
    """The curve of telling N(0, 1) from N(μ, 1): μ-Gaussian differential privacy.

    `Dong, Roth and Su (2022) <https://arxiv.org/abs/1905.02383>`_.

    >>> round(gaussian_trade_off(1.0).total_variation, 4)
    0.3829
    """
    shift = _check.nonnegative("mu", mu)
    thresholds = np.linspace(max(12.0, shift + 10), min(-10.0, shift - 12), 40_001)
    fpr = np.concatenate([[0.0], ndtr(-thresholds), [1.0]])
    return TradeOff(fpr, np.concatenate([[0.0], ndtr(shift - thresholds), [1.0]]))


def gaussian_delta(mu: float, epsilon: float) -> float:
    """δ(ε) of μ-Gaussian differential privacy, Dong, Roth and Su (2022), corollary 2.13.

    >>> round(gaussian_delta(1.0, 1.0), 6)
    0.126937
    """
    shift = _check.nonnegative("mu", mu)
    if shift == 0:
        return max(0.0, -math.expm1(epsilon))
    first = float(log_ndtr(-epsilon / shift + shift / 2))
    second = epsilon + float(log_ndtr(-epsilon / shift - shift / 2))
    return math.exp(first) * -math.expm1(min(0.0, second - first))


def gaussian_epsilon(mu: float, delta: float) -> float:
    """ε of μ-Gaussian differential privacy at δ.

    >>> round(gaussian_epsilon(2.0, 1e-5), 5)
    9.99726
    """
    shift, slack = _check.nonnegative("mu", mu), _check.delta("delta", delta)
    if gaussian_delta(shift, 0.0) <= slack:
        return 0.0
    if slack == 0:
        return math.inf
    # Markov on the Gaussian tail: beyond this ε even the probability of so large a loss is below δ.
    high = shift * (shift / 2 + math.sqrt(-2 * math.log(slack))) + 1e-9
    while high < math.inf and gaussian_delta(shift, high) > slack:  # rounding, where μ² has more digits than a float
        high *= 2
    if high == math.inf:
        return math.inf
    return float(brentq(lambda e: gaussian_delta(shift, e) - slack, 0.0, high, xtol=1e-12, rtol=1e-14))


def gaussian_mu(epsilon: float, delta: float) -> float:
    """The μ whose ε at δ is ``epsilon``: the inverse of `gaussian_epsilon`.

    >>> round(1 / gaussian_mu(2.0, 1e-5), 5)
    1.99381
    """
    figure, slack = _check.nonnegative("epsilon", epsilon), _check.delta("delta", delta)
    if slack == 0:
        return 0.0
    # δ(ε) grows with μ from 0 to 1.
    high = 1.0
    while gaussian_delta(high, figure) < slack:
        high *= 2
    return float(brentq(lambda mu: gaussian_delta(mu, figure) - slack, 0.0, high, xtol=1e-13, rtol=1e-14))


def shuffle_lower_bound(
    mechanism: GaussianSteps, *, delta: float, confidence: float, samples: int, seed: int
) -> Accounted:
    """A lower bound on the zero-out ε of DP-SGD on shuffled batches, by simulation of the worst data set known.

    Every other gradient points away from the audited one, so each epoch compares the position of its batch:
    `Annamalai, Balle, Hayes and De Cristofaro (2024) <https://arxiv.org/abs/2411.10614>`_, after
    `Chua et al. (2024) <https://arxiv.org/abs/2403.17673>`_. Values of ε are tested in rising order, each by an exact
    binomial test at the full level, up to the first that fails; so the figure holds with ``confidence``.

    Args:
        mechanism: with `Shuffled` sampling and a whole number of epochs.
        delta: above 0; needs well over 1 / δ samples.
        confidence: of the Monte Carlo, in (0, 1).
        samples: simulated trainings.
        seed: of the simulation.
    """
    if not isinstance(mechanism.sampling, Shuffled):
        raise InputError(f"the bound for shuffling needs Shuffled sampling, got {mechanism.sampling!r}.")
    batches = mechanism.sampling.batches_per_epoch
    if mechanism.steps % batches:
        raise InputError(f"steps must be whole epochs of {batches} batches, got {mechanism.steps}.")
    _check.integer("samples", samples, at_least=100)
    level = 1 - _check.open_unit("confidence", confidence)
    noise = _check.positive("noise_multiplier", mechanism.noise_multiplier)
    rng = np.random.default_rng(_check.integer("seed", seed, at_least=0))
    loss = _shuffle_losses(noise, batches, mechanism.steps // batches, samples, rng)
    coins = rng.random(samples)

    def confirmed(figure: float) -> bool:
        # A value in [0, 1] replaced by a coin of that probability keeps its mean and makes the sum exactly binomial.
        hits = int((coins < -np.expm1(np.minimum(0.0, figure - loss))).sum())
        return hits > 0 and float(binom.sf(hits - 1, samples, delta)) <= level

    figure, step = 0.0, 0.02
    while confirmed(figure + step):
        figure += step
    return Accounted(
        figure,
        delta,
        "zero-out",
        "Monte Carlo over shuffled batches",
        optimistic=True,
        note=f"a lower bound on ε with confidence {confidence:g}, not an upper bound",
    )


def _shuffle_losses(noise: float, batches: int, epochs: int, samples: int, rng: np.random.Generator) -> FloatArray:
    total = np.zeros(samples)
    rows = max(1, 4_000_000 // batches)
    for start in range(0, samples, rows):
        stop = min(samples, start + rows)
        for _ in range(epochs):
            x = rng.normal(0.0, noise, (stop - start, batches))
            x[:, 0] += 2.0  # the batches are exchangeable: the audited record may as well be in the first
            present = logsumexp((2 * x - 2) / noise**2, axis=1)
            absent = logsumexp((x - 0.5) / noise**2, axis=1)
            total[start:stop] += present - absent
    return total


def _refuse_fixed_size(adjacency: Adjacency, group: int) -> None:
    if adjacency == "add-remove":
        raise InputError(
            "batches of fixed size have no add-remove accounting (the number of records is part of the mechanism); "
            "ask for adjacency 'replace-one' or 'zero-out'."
        )
    if group > 1:
        raise InputError(f"group privacy of fixed-size batches is not known tightly, got group {group}.")


def _sensitivity(adjacency: Adjacency) -> float:
    return 2.0 if adjacency == "replace-one" else 1.0


def _fixed_size_accountant(mechanism: GaussianSteps) -> Any:
    # Any two batches that differ in one record differ by two clip norms, also under zero-out, where the batch that
    # does not hold the record holds another one in its place.
    halved = GaussianSteps(mechanism.noise_multiplier / 2, mechanism.steps, mechanism.sampling)
    accountant = RdpAccountant(ORDERS, dp_accounting.NeighboringRelation.REPLACE_ONE)
    accountant.compose(event(halved))
    return accountant


class _Profile:
    """δ(ε) of a composed loss distribution, the larger of the two directions; sums are made once, not per ε."""

    def __init__(self, pld: Any) -> None:
        both = [pld._pmf_remove] if pld._symmetric else [pld._pmf_remove, pld._pmf_add]
        self.directions = [_tails(pmf) for pmf in both]

    def __call__(self, figure: float) -> float:
        return max(self._direction(figure, *tails) for tails in self.directions)

    @staticmethod
    def _direction(figure: float, losses: FloatArray, upper: FloatArray, lower: FloatArray, lost: float) -> float:
        above = int(np.searchsorted(losses, figure, side="right"))
        return lost + float(upper[above] - math.exp(figure) * lower[above])


def _tails(pmf: Any) -> tuple[FloatArray, FloatArray, FloatArray, float]:
    """Losses, P(loss ≥ each), Q(loss ≥ each) with a closing 0, and the mass of infinite loss under P."""
    dense = pmf.to_dense_pmf()
    upper = np.clip(np.asarray(dense._probs, np.float64), 0.0, None)
    losses = (dense._lower_loss + np.arange(upper.size)) * dense._discretization
    with np.errstate(under="ignore", over="ignore"):
        lower = upper * np.exp(-losses)
    tails = [np.append(np.cumsum(values[::-1])[::-1], 0.0) for values in (upper, lower)]
    return losses, tails[0], tails[1], float(dense._infinity_mass)


def _invert_profile(profile: Callable[[float], float], delta: float, slack: float) -> float:
    """Smallest ε with δ(ε) + (1 + e^ε) slack ≤ δ: with probability ``slack`` each world may leave the procedure."""
    if slack > 0 and delta <= 2 * slack:
        return math.inf
    last = math.log(delta / slack - 1) if slack > 0 else 700.0  # beyond it the slack alone spends δ; e^700 is finite

    def excess(figure: float) -> float:
        return profile(figure) + (1 + math.exp(figure)) * slack - delta

    if excess(0.0) <= 0:
        return 0.0
    high = min(1.0, last)
    while excess(high) > 0:
        if high >= last:
            return math.inf
        high = min(1.2 * high, last)
    return float(brentq(excess, 0.0, high, xtol=1e-10, rtol=1e-12))


@lru_cache(maxsize=64)
def _loss_distribution(mechanism: GaussianSteps, adjacency: Adjacency, group: int, grid: float) -> Any:
    sigma, steps, rate = mechanism.noise_multiplier, mechanism.steps, mechanism.sampling.rate
    if rate == 1:
        deviation = sigma / (_sensitivity(adjacency) * group * math.sqrt(steps))
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

    def above(centres: FloatArray, weights: FloatArray) -> FloatArray:
        tail: FloatArray = ndtr(sign * (centres - x[:, None]) / sigma) @ weights
        return tail

    deltas = above(upper, upper_weights) - np.exp(marks * grid) * above(lower, lower_weights)
    deltas = np.minimum.accumulate(np.clip(deltas, 0.0, 1.0))
    return pld_pmf.create_pmf_pessimistic_connect_dots_fixed_gap(grid, int(marks[0]), int(marks[-1]), deltas)


def _neyman_pearson(pld: Any) -> TradeOff:
    """Reject on the largest losses first; P is "in", so the removal distribution gives (FPR, TPR) directly."""
    _, upper, lower, lost = _tails(pld._pmf_remove)
    tpr = np.minimum(1.0, lost + upper[::-1])
    fpr = np.minimum(1.0, lower[::-1])
    return TradeOff(np.append(fpr, 1.0), np.append(tpr, 1.0))


def _concave(x: FloatArray, y: FloatArray) -> TradeOff:
    """Upper concave hull of points: randomising between two tests is a test."""
    order = np.lexsort((y, x))
    x, y = x[order], np.maximum.accumulate(y[order])
    # What lies on or below any chord is not a corner of the hull. Long chords first: they clear whole valleys at once;
    # when the chords between next neighbours clear nothing more, only corners are left.
    size = 0
    while x.size != size:
        size = x.size
        for reach in 2 ** np.arange(math.floor(math.log2(max(1, (size - 1) // 2))), -1, -1):
            corner = np.ones(x.size, bool)
            run, rise = x[reach:] - x[:-reach], y[reach:] - y[:-reach]
            corner[reach:-reach] = rise[:-reach] * run[reach:] > rise[reach:] * run[:-reach]
            x, y = x[corner], y[corner]
    fpr, tpr = np.concatenate([[0.0], x, [1.0]]), np.concatenate([[y[0]], y, [1.0]])
    return TradeOff(fpr, np.maximum.accumulate(tpr))
