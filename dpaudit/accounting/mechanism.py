"""What a mechanism costs: (ε, δ) and the whole trade-off curve."""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import dp_accounting
import numpy as np
from dp_accounting.rdp import RdpAccountant
from scipy.optimize import brentq

from dpaudit.accounting.claim import ADJACENCIES, Adjacency, FixedSize, GaussianSteps, Poisson, Shuffled
from dpaudit.accounting.gaussian import gaussian_epsilon
from dpaudit.accounting.privacy_loss import Profile, neyman_pearson, sensitivity
from dpaudit.accounting.trade_off_curve import TradeOff, concave, from_profile
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError

GRID = 1e-4  # spacing of the discretised privacy loss; dp-accounting's default
ORDERS = (*np.arange(1.1, 11.0, 0.1).tolist(), *range(11, 64), 128, 256, 512, 1024)


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
    check.delta("delta", delta)
    check.one_of("adjacency", adjacency, ADJACENCIES)
    check.integer("group", group, at_least=1)
    if mechanism.noise_multiplier == 0:
        return Accounted(math.inf, delta, adjacency, "no noise")
    return _epsilon(mechanism, delta, adjacency, group, grid)


@lru_cache(maxsize=64)  # a plan, its verdict and its ladder ask the same
def _epsilon(mechanism: GaussianSteps, delta: float, adjacency: Adjacency, group: int, grid: float) -> Accounted:
    if isinstance(mechanism.sampling, FixedSize):
        _refuse_fixed_size(adjacency, group)
        profile: Callable[[float], float] = _fixed_size_accountant(mechanism).get_delta
        method, note = "RDP", "batches of fixed size; sensitivity of two clip norms"
    else:
        if mechanism.sampling.rate == 1 and mechanism.slack == 0:
            mu = sensitivity(adjacency) * group * math.sqrt(mechanism.steps) / mechanism.noise_multiplier
            return Accounted(gaussian_epsilon(mu, delta), delta, adjacency, "exact Gaussian")
        profile, method, note = Profile(replace(mechanism, slack=0.0), adjacency, group, grid), "PLD", ""
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
    check.one_of("adjacency", adjacency, ADJACENCIES)
    check.integer("group", group, at_least=1)
    if mechanism.noise_multiplier == 0:
        return TradeOff(np.array([0.0, 1.0]), np.array([1.0, 1.0]))
    return _trade_off(mechanism, adjacency, group, check.positive("grid", grid))


@lru_cache(maxsize=64)
def _trade_off(mechanism: GaussianSteps, adjacency: Adjacency, group: int, grid: float) -> TradeOff:
    if isinstance(mechanism.sampling, FixedSize):
        _refuse_fixed_size(adjacency, group)
        accountant = _fixed_size_accountant(mechanism)
        epsilons = np.concatenate([np.linspace(0, 1, 101), np.geomspace(1.01, 60, 400)])
        curve = from_profile(epsilons, np.array([accountant.get_delta(e) for e in epsilons]))
    else:
        curve = neyman_pearson(replace(mechanism, slack=0.0), adjacency, group, grid)
    if mechanism.slack == 0:
        return curve
    fpr = np.clip(curve.fpr - mechanism.slack, 0, 1)
    return concave(fpr, np.clip(curve.tpr + mechanism.slack, 0, 1))


def _refuse_fixed_size(adjacency: Adjacency, group: int) -> None:
    if adjacency == "add-remove":
        raise InputError(
            "batches of fixed size have no add-remove accounting (the number of records is part of the mechanism); "
            "ask for adjacency 'replace-one' or 'zero-out'."
        )
    if group > 1:
        raise InputError(f"group privacy of fixed-size batches is not known tightly, got group {group}.")


def _fixed_size_accountant(mechanism: GaussianSteps) -> Any:
    # Any two batches that differ in one record differ by two clip norms, also under zero-out, where the batch that
    # does not hold the record holds another one in its place.
    halved = GaussianSteps(mechanism.noise_multiplier / 2, mechanism.steps, mechanism.sampling)
    accountant = RdpAccountant(ORDERS, dp_accounting.NeighboringRelation.REPLACE_ONE)
    accountant.compose(event(halved))
    return accountant


def _invert_profile(profile: Callable[[float], float], delta: float, slack: float) -> float:
    """Smallest ε with δ(ε) + (1 + e^ε) slack ≤ δ: with probability ``slack`` each world may leave the procedure."""
    if slack > 0 and delta <= 2 * slack:
        return math.inf
    last = math.log(delta / slack - 1) if slack > 0 else sys.float_info.max  # beyond it the slack alone spends δ

    def excess(figure: float) -> float:
        return profile(figure) + ((1 + math.exp(figure)) * slack if slack > 0 else 0.0) - delta

    if excess(0.0) <= 0:
        return 0.0
    high = min(1.0, last)
    while excess(high) > 0:
        if high >= last:
            return math.inf
        high = min(1.2 * high, last)
    return float(brentq(excess, 0.0, high, xtol=1e-10, rtol=1e-12))
