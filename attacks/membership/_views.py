"""Scores from fitted moments, averaged over the queries: of one target, and of every model of a pool in turn."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dpaudit.attacks.membership._moments import (
    VARIANCES,
    SideMoments,
    Variance,
    medians,
    moments_without_pairs,
    side_moments,
)
from dpaudit.attacks.membership.pools import in_turn
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.out_of_core import filled
from dpaudit.scores.signals import PoolSignals, Signals

Centre = Literal["mean", "median"]
# Where the law of φ with and without the record is centred; None at the mean of the moments.
Centres = tuple[FloatArray | None, FloatArray | None]
# φ (records,) -> scores of the same shape.
Fitted = Callable[[FloatArray], FloatArray]


class FromMoments(ABC):
    """An attack whose score of φ follows from moments of the references, one query like another."""

    centre: Centre = "mean"

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores, shape (records,)."""
        total, median = np.zeros(len(signals)), self.centre == "median"
        for view in (signals, *signals.queries):
            total += self._fitted(side_moments(view), medians(view) if median else (None, None))(view.phi)
        return total / (1 + len(signals.queries))

    def leave_pair_out(self, pool: PoolSignals) -> FloatArray:
        """Scores of every model as the target without its pair, shape (models, records), in time linear in both."""
        if self.centre == "median":  # a median has no running sum
            return in_turn(self, pool)
        views = [moments_without_pairs(phi, pool.included) for phi in (pool.phi, *pool.queries)]
        return filled(pool.phi.shape, self._rows(views, len(pool)))

    def _rows(
        self, views: Sequence[Iterator[tuple[int, FloatArray, SideMoments]]], models: int
    ) -> Iterator[tuple[int, FloatArray]]:
        """(model, mean of its scores over the views, shape (1, records)), one after the other."""
        for first in range(0, models, 2):
            seen = [(pair, self._fitted(both, (None, None))) for _, pair, both in map(next, views)]
            for place in range(2):
                total = np.zeros(seen[0][0].shape[1:])
                for pair, fitted in seen:
                    total += fitted(pair[place])
                yield first + place, total[None] / len(seen)
            del seen, pair, fitted  # of every record: not held while the next pair is read

    @abstractmethod
    def _fitted(self, both: SideMoments, centres: Centres) -> Fitted:
        """Scores from what the references say of φ; both models of a pair have the same references."""


@dataclass(frozen=True)
class WithVariance(FromMoments):
    """One that fits a law of φ with a variance and a centre that can be chosen."""

    variance: Variance = "shrunk"
    centre: Centre = "mean"

    def __post_init__(self) -> None:
        check.one_of("variance", self.variance, VARIANCES)
        check.one_of("centre", self.centre, ("mean", "median"))
