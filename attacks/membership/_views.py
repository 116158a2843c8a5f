"""Scores from fitted moments, averaged over the queries: of one target, and of every model of a pool in turn."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from dpaudit.attacks.membership._moments import SideMoments, medians, moments_without_pairs, side_moments
from dpaudit.attacks.membership.pools import in_turn
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.out_of_core import empty, release
from dpaudit.scores.signals import PoolSignals, Signals

Centre = Literal["mean", "median"]
# Where the law of φ with and without the record is centred; None at the mean of the moments.
Centres = tuple[FloatArray | None, FloatArray | None]
# φ (..., records), what the references say of it -> scores of the same shape.
ViewScore = Callable[[FloatArray, SideMoments, Centres], FloatArray]


def over_queries(signals: Signals, score: ViewScore, *, centre: Centre) -> FloatArray:
    """Scores of one target, shape (records,)."""
    total = np.zeros(len(signals))
    for view in (signals, *signals.queries):
        total += score(view.phi, side_moments(view), medians(view) if centre == "median" else (None, None))
    return total / (1 + len(signals.queries))


def over_pairs(pool: PoolSignals, score: ViewScore, *, centre: Centre) -> FloatArray:
    """Scores of every model as the target without its pair, shape (models, records), in time linear in both."""
    if centre == "median":  # a median has no running sum
        return in_turn(lambda signals: over_queries(signals, score, centre=centre), pool)
    scores = empty(pool.phi.shape)
    views = [moments_without_pairs(phi, pool.included) for phi in (pool.phi, *pool.queries)]
    for seen in zip(*views, strict=True):
        first = seen[0][0]
        total = sum(score(pair, both, (None, None)) for _, pair, both in seen)
        scores[first : first + 2] = total / len(seen)
        release(scores)
    return scores
