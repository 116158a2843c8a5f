"""What a mechanism costs: (ε, δ) and the whole trade-off curve."""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from dpaudit.accounting.claim import (
    ADJACENCIES,
    Adjacency,
    FixedSize,
    GaussianSteps,
    Poisson,
    Sampling,
    Shuffled,
    TruncatedPoisson,
    too_small,
)
from dpaudit.accounting.gaussian import gaussian_delta, gaussian_epsilon
from dpaudit.accounting.privacy_loss import neyman_pearson, profile, resolved, sensitivity
from dpaudit.accounting.trade_off_curve import TradeOff, concave
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError

GRID = 1e-4  # spacing of the discretised privacy loss; dp-accounting's default
ORDERS = (*np.arange(1.1, 11.0, 0.1).tolist(), *range(11, 64), *np.geomspace(64, 2048, 120).astype(int).tolist())
LARGEST = 700.0  # ε whose power of e is a float
NEGLIGIBLE = 1e-3  # of δ: losses cut off that weigh no more than this are not worth another accountant


@dataclass(frozen=True)
class Accounted:
    """What theory knows of ε: the smallest upper bound, and a lower bound where there is one.

    A claim is contradicted by the lower bound only: an upper bound above it proves nothing.

    Args:
        epsilon: the figure, an upper bound; infinite without noise.
        delta: the δ it holds for.
        adjacency: the neighbouring data sets it holds for.
        method: how it was computed.
        optimistic: True when the figure is *not* an upper bound for what was run (shuffled batches).
        note: what a reader must know; empty when there is nothing.
        at_least: ε is certainly no smaller; 0 where nothing is known.

    >>> found = epsilon(GaussianSteps(2.0, 200, FixedSize(100, 1000)), delta=1e-5, adjacency="replace-one")
    >>> found.exact, round(found.at_least, 1), round(found.epsilon, 1)
    (False, 10.0, 11.4)
    """

    epsilon: float
    delta: float
    adjacency: Adjacency
    method: str
    optimistic: bool = False
    note: str = ""
    at_least: float = 0.0

    @property
    def exact(self) -> bool:
        """Whether upper and lower bound are the same to the digits that a claim is judged by."""
        return not self.optimistic and not too_small(self.at_least, self.epsilon)

    @property
    def certain(self) -> float:
        """The ε there is for certain: the figure where it is exact, else the lower bound."""
        return self.epsilon if self.exact else self.at_least


def event(mechanism: GaussianSteps) -> Any:
    """The mechanism as a dp-accounting event; shuffled batches as Poisson batches of the same rate.

    Raises:
        InputError: truncated batches.

    >>> event(GaussianSteps(1.0, 10, Poisson(0.1))).count
    10
    """
    import dp_accounting

    release: Any = dp_accounting.GaussianDpEvent(mechanism.noise_multiplier)
    match mechanism.sampling:
        case Poisson(rate) if rate == 1.0:
            step = release
        case FixedSize(batch_size, records):
            step = dp_accounting.SampledWithoutReplacementDpEvent(records, batch_size, release)
        case TruncatedPoisson():  # an event since dp-accounting 0.6, of its PLD accountant only
            raise InputError("truncated Poisson batches have no accounting by Rényi divergences.")
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
        InputError: fixed-size batches under add-remove, which changes the number of records; fixed-size or truncated
            ones for a group.

    >>> round(epsilon(GaussianSteps(1.0, 1000, Poisson(0.01)), delta=1e-5).epsilon, 3)
    1.828
    """
    check.delta("delta", delta)
    check.one_of("adjacency", adjacency, ADJACENCIES)
    check.integer("group", group, at_least=1)
    if mechanism.noise_multiplier == 0:
        return Accounted(math.inf, delta, adjacency, "no noise", at_least=math.inf)
    return _epsilon(mechanism, delta, adjacency, group, grid)


@lru_cache(maxsize=64)  # a plan, its verdict and its ladder ask the same
def _epsilon(mechanism: GaussianSteps, delta: float, adjacency: Adjacency, group: int, grid: float) -> Accounted:
    sampling, slack = mechanism.sampling, mechanism.slack
    refuse(sampling, adjacency, group)
    if sampling.rate == 1 and slack == 0:
        figure = gaussian_epsilon(_mu(mechanism, sensitivity(adjacency) * group, mechanism.steps), delta)
        return Accounted(figure, delta, adjacency, "exact Gaussian", at_least=figure)
    without_slack = replace(mechanism, slack=0.0)
    losses = profile(mechanism, adjacency, group, grid)
    bounds = [(_invert_profile(losses, delta, slack), "PLD")]
    if isinstance(sampling, Shuffled):
        note = "figure for Poisson sampling; the batches were shuffled, for which no tight upper bound is known"
        # Adding up the releases of each epoch leaves a Gaussian sum of the whole data, with the noise of every batch.
        summed = sensitivity(adjacency) * group / math.sqrt(sampling.batches_per_epoch)
        least = _mu(mechanism, summed, mechanism.steps // sampling.batches_per_epoch)
        certain = _certain(lambda figure: gaussian_delta(least, figure), delta, slack)
        return Accounted(*bounds[0][:1], delta, adjacency, "PLD", optimistic=True, note=note, at_least=certain)
    if losses.lost > NEGLIGIBLE * delta:
        # The losses cut off weigh as much as δ. Rényi's bound has none, nor has the one that forgets the sampling.
        moved = 2.0 if isinstance(sampling, FixedSize | TruncatedPoisson) else sensitivity(adjacency)
        mu = _mu(mechanism, moved * group, mechanism.steps)
        bounds.append((_invert_profile(lambda figure: gaussian_delta(mu, figure), delta, slack), "Gaussian, unsampled"))
        if isinstance(sampling, FixedSize) or (
            isinstance(sampling, Poisson) and adjacency != "replace-one" and group == 1
        ):
            bounds.append((_invert_profile(renyi(without_slack).get_delta, delta, slack), "RDP"))
    figure, method = min(bounds)
    if isinstance(sampling, FixedSize):
        note = "batches of fixed size; sensitivity of two clip norms"
        certain = min(figure, _fixed_size_at_least(mechanism, delta, adjacency, grid))
        return Accounted(figure, delta, adjacency, method, note=note, at_least=certain)
    if isinstance(sampling, TruncatedPoisson):
        note = "batches cut at their largest size, where a record takes the place of another one"
        # Where all other gradients are 0, nothing shows but whether the record was kept.
        alone = replace(mechanism, sampling=Poisson(sampling.kept))
        certain = min(figure, _epsilon(alone, delta, adjacency, 1, grid).at_least)
        return Accounted(figure, delta, adjacency, method, note=note, at_least=certain)
    certain = 0.0
    if resolved(mechanism, grid):
        certain = min(figure, _certain(lambda one: losses(one) - 2 * losses.lost, delta, slack))
    return Accounted(figure, delta, adjacency, method, at_least=certain)


def _mu(mechanism: GaussianSteps, moved: float, releases: int) -> float:
    """μ of so many Gaussian releases that one record moves by ``moved`` clip norms each."""
    return moved * math.sqrt(releases) / mechanism.noise_multiplier


def _fixed_size_at_least(mechanism: GaussianSteps, delta: float, adjacency: Adjacency, grid: float) -> float:
    """ε on two pairs of data sets: all other gradients are 0, or point the way the new record points."""
    coins = replace(mechanism, sampling=Poisson(mechanism.sampling.rate))
    pairs = [_epsilon(coins, delta, adjacency, 1, grid)]
    if adjacency == "replace-one":
        halved = replace(coins, noise_multiplier=mechanism.noise_multiplier / 2)
        pairs.append(_epsilon(halved, delta, "add-remove", 1, grid))
    return max(pair.at_least for pair in pairs)


def fitted_grid(grid: float, noise_multiplier: float) -> float:
    """The spacing of a discretised loss, wider where little noise makes losses large, so that their number is bounded.

    Losses grow with 1/σ², and so do the steps where σ is below 0.25: ε keeps four digits.

    >>> fitted_grid(1e-3, 0.5), fitted_grid(1e-3, 0.025)
    (0.001, 0.1)
    """
    return grid * max(1.0, 0.25 / noise_multiplier) ** 2


def trade_off(
    mechanism: GaussianSteps, *, adjacency: Adjacency = "add-remove", group: int = 1, grid: float = GRID
) -> TradeOff:
    """The trade-off curve of the mechanism, pessimistic (never below the truth) up to float rounding.

    It comes from the privacy loss distribution by Neyman and Pearson. For shuffled batches it is the Poisson curve and
    optimistic, as in `epsilon`. ``grid`` is the spacing of the discretised loss: a wider one is faster and more
    pessimistic.

    >>> curve = trade_off(GaussianSteps(1.0, 1000, Poisson(0.01)))
    >>> round(curve.tpr_at(0.01), 4)
    0.0291
    """
    check.one_of("adjacency", adjacency, ADJACENCIES)
    check.integer("group", group, at_least=1)
    if mechanism.noise_multiplier == 0:
        return TradeOff(np.array([0.0, 1.0]), np.array([1.0, 1.0]))
    grid = fitted_grid(check.positive("grid", grid), mechanism.noise_multiplier)
    return _trade_off(mechanism, adjacency, group, grid)


@lru_cache(maxsize=64)
def _trade_off(mechanism: GaussianSteps, adjacency: Adjacency, group: int, grid: float) -> TradeOff:
    refuse(mechanism.sampling, adjacency, group)
    curve = neyman_pearson(replace(mechanism, slack=0.0), adjacency, group, grid)
    if mechanism.slack == 0:
        return curve
    fpr = np.clip(curve.fpr - mechanism.slack, 0, 1)
    return concave(fpr, np.clip(curve.tpr + mechanism.slack, 0, 1))


def refuse(sampling: Sampling, adjacency: Adjacency, group: int = 1) -> None:
    """Batches of fixed size are accounted for one record that is replaced or zeroed out, truncated ones for one record.

    Raises:
        InputError: they are asked for anything else.
    """
    if isinstance(sampling, FixedSize) and adjacency == "add-remove":
        raise InputError(
            "batches of fixed size have no add-remove accounting (the number of records is part of the mechanism); "
            "ask for adjacency 'replace-one' or 'zero-out'."
        )
    if isinstance(sampling, FixedSize | TruncatedPoisson) and group > 1:
        kind = "fixed-size" if isinstance(sampling, FixedSize) else "truncated"
        raise InputError(f"group privacy of {kind} batches is not known tightly, got group {group}.")


def renyi(mechanism: GaussianSteps, around: Callable[[Any], Any] | None = None) -> Any:
    """A dp-accounting accountant that has composed the mechanism, or what ``around`` makes of its event."""
    from dp_accounting import NeighboringRelation
    from dp_accounting.rdp import RdpAccountant

    relation = NeighboringRelation.ADD_OR_REMOVE_ONE
    if isinstance(mechanism.sampling, FixedSize):
        # Any two batches that differ in one record differ by two clip norms, also under zero-out, where the batch
        # that does not hold the record holds another one in its place.
        mechanism = replace(mechanism, noise_multiplier=mechanism.noise_multiplier / 2)
        relation = NeighboringRelation.REPLACE_ONE
    accountant = RdpAccountant(ORDERS, relation)
    accountant.compose(event(mechanism) if around is None else around(event(mechanism)))
    return accountant


def _invert_profile(profile: Callable[[float], float], delta: float, slack: float) -> float:
    """Smallest ε with δ(ε) + (1 + e^ε) slack ≤ δ: with probability ``slack`` each world may leave the procedure."""
    if slack > 0 and delta <= 2 * slack:
        return math.inf
    # Beyond it the slack alone spends δ.
    last = math.log(delta / slack - 1) if slack > 0 else sys.float_info.max
    return _root(lambda figure: profile(figure) + _spent(figure, slack) - delta, last)


def _certain(profile: Callable[[float], float], delta: float, slack: float) -> float:
    """Largest ε with δ(ε) - (1 + e^ε) slack ≥ δ: the procedure may have been left where it would have shown."""
    return _root(lambda figure: profile(figure) - _spent(figure, slack) - delta, sys.float_info.max)


def _spent(figure: float, slack: float) -> float:
    return (1 + math.exp(min(figure, LARGEST))) * slack if slack > 0 else 0.0


def _root(excess: Callable[[float], float], last: float) -> float:
    """Where a falling function reaches 0; infinity where it does not before ``last``."""
    from scipy.optimize import brentq

    if excess(0.0) <= 0:
        return 0.0
    high = min(1.0, last)
    while excess(high) > 0:
        if high >= last:
            return math.inf
        high = min(1.2 * high, last)
    return float(brentq(excess, 0.0, high, xtol=1e-10, rtol=1e-12))
