"""Robust membership inference, `Zarifzadeh et al. (2024) <https://arxiv.org/abs/2312.03262>`_."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dpaudit.attacks.membership._mean_confidence import (
    confidence,
    confidence_without_pairs,
    mean_of_all,
    mean_outside,
    mean_without_membership,
)
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.out_of_core import over_records, releasing
from dpaudit.scores.signals import PoolSignals, Signals


@dataclass(frozen=True)
class Rmia:
    """Share of population records z that the record x beats: p(x)/Pr(x) ≥ γ · p(z)/Pr(z).

    Pr(x) is the mean of the mean confidences of the references trained with and without x; no reference was trained
    on z. Records that beat the same z are ordered by their ratio: with few z the published score ties where low
    false-positive rates are decided. Sorting the ratios of z once makes the cost (records + population)·log instead
    of records x population.

    Args:
        gamma: how clearly x must win, at least 1. With plain confidences 2 throws signal away.
        ties_by_ratio: order records that beat the same z by their ratio; without it the score is the share alone, as
            published.

    Raises:
        InputError: there is no population, or a record lacks a reference on a side.

    >>> population = Signals(np.array([0.0, 1.0]), reference=np.zeros((2, 2)), included=np.zeros((2, 2), bool))
    >>> target = Signals(np.array([0.5]), None, None, np.array([[0.0], [0.0]]), np.array([[True], [False]]), population)
    >>> Rmia()(target).round(3)
    array([0.518])
    """

    gamma: float = 1.0
    ties_by_ratio: bool = True

    version: ClassVar[str] = "rmia/1"
    formula: ClassVar[str] = "(#{z : p(x)/Pr(x) ≥ γ p(z)/Pr(z)} + r/(1 + r)) / (|Z| + 1), r = p(x)/Pr(x)"
    paper: ClassVar[str] = "Zarifzadeh et al. (2024), arXiv 2312.03262"

    def __post_init__(self) -> None:
        _check_gamma(self.gamma)

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores in (0, 1), shape (records,)."""
        population = population_of(signals)
        expected, expected_z = mean_without_membership(signals), mean_of_all(population.reference)
        return _score(confidence(signals.phi) / expected, np.sort(confidence(population.phi) / expected_z), self)

    def leave_pair_out(self, pool: PoolSignals) -> FloatArray:
        """Scores of every model as the target without its pair, shape (models, records)."""
        # As many references with every record as without: the mean of the two means is the mean of all.
        ratio_z = _sorted_ratios(pool, np.asarray)

        def block(phi: FloatArray) -> tuple[FloatArray, ...]:
            p = confidence(phi)
            return (_scores(p, confidence_without_pairs(p), ratio_z, self),)

        return over_records(block, pool.phi)[0]


@dataclass(frozen=True)
class RmiaOffline:
    """RMIA when no reference was trained on the audited records.

    The missing confidence of a model trained with x is taken to be a·p_out + (1 - a), so Pr = ((1 + a)·p_out +
    (1 - a)) / 2, for x and z alike.

    Args:
        a: how little training on a record moves its confidence, in [0, 1]; fixed beforehand, never tuned on a target.
        gamma: as in `Rmia`.
        ties_by_ratio: as in `Rmia`.

    Raises:
        InputError: there is no population, or every reference was trained on some record.
    """

    a: float = 0.3
    gamma: float = 1.0
    ties_by_ratio: bool = True

    version: ClassVar[str] = "rmia-offline/1"
    formula: ClassVar[str] = "as rmia, with Pr = ((1 + a) p_out + (1 - a)) / 2"
    paper: ClassVar[str] = "Zarifzadeh et al. (2024), arXiv 2312.03262"

    def __post_init__(self) -> None:
        _check_gamma(self.gamma)
        check.probability("a", self.a)

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores in (0, 1), shape (records,)."""
        population = population_of(signals)
        expected, expected_z = self._extended(mean_outside(signals)), self._extended(mean_of_all(population.reference))
        return _score(confidence(signals.phi) / expected, np.sort(confidence(population.phi) / expected_z), self)

    def leave_pair_out(self, pool: PoolSignals) -> FloatArray:
        """Scores of every model as the target without its pair, shape (models, records)."""
        ratio_z = _sorted_ratios(pool, self._extended)

        def block(phi: FloatArray, included: BoolArray) -> tuple[FloatArray, ...]:
            p = confidence(phi)
            outside = ((first, self._extended(mean)) for first, mean in confidence_without_pairs(p, ~included))
            return (_scores(p, outside, ratio_z, self),)

        return over_records(block, pool.phi, pool.included)[0]

    def _extended(self, outside: FloatArray) -> FloatArray:
        return ((1 + self.a) * outside + (1 - self.a)) / 2


def _score(ratio: FloatArray, ratio_z: FloatArray, how: "Rmia | RmiaOffline") -> FloatArray:
    """Scores of ratios against those of the population, which are sorted."""
    beaten = np.searchsorted(ratio_z, ratio / how.gamma, side="right").astype(np.float64)
    if not how.ties_by_ratio:
        return beaten / ratio_z.size
    scores: FloatArray = (beaten + ratio / (1 + ratio)) / (ratio_z.size + 1)
    return scores


def _scores(
    p: FloatArray, expected: Iterable[tuple[int, FloatArray]], ratio_z: FloatArray, how: "Rmia | RmiaOffline"
) -> FloatArray:
    """Scores of every model on some records from its confidences and what is expected of its pair."""
    scores = np.empty_like(p)
    for first, mean in releasing(expected, ratio_z):
        for model in (first, first + 1):
            scores[model] = _score(p[model] / mean, ratio_z[model], how)
    return scores


def _sorted_ratios(pool: PoolSignals, extended: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """p(z)/Pr(z) of the population under every model as the target, each sorted, shape (models, population)."""

    def block(phi: FloatArray) -> tuple[FloatArray, ...]:
        ratios = confidence(phi)
        for first, mean in confidence_without_pairs(ratios.copy()):
            ratios[first : first + 2] /= extended(mean)
        return (ratios,)

    found = over_records(block, _pool_population(pool))[0]
    for row in releasing(found, found):
        row.sort()
    return found


def _check_gamma(gamma: float) -> None:
    if check.number("gamma", gamma) < 1:
        raise InputError(f"gamma must be at least 1, got {gamma!r}.")


def population_of(signals: Signals) -> Signals:
    """The signals of the population, refused where no reference saw one."""
    if signals.population is None or not len(signals.population.reference):
        raise InputError(
            "RMIA needs a population with reference signals: records that no model was trained on. Without one, use "
            "the attack 'base'."
        )
    return signals.population


def _pool_population(pool: PoolSignals) -> FloatArray:
    if pool.population is None:
        raise InputError("RMIA needs a population: records that no model of the pool was trained on.")
    return pool.population
