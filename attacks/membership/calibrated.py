"""Difficulty-calibrated loss, `Watson et al. (2022) <https://arxiv.org/abs/2111.08440>`_."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dpaudit._check import FloatArray
from dpaudit.attacks.membership._moments import Moments, leaving_pairs_out, need, sides
from dpaudit.signals import PoolSignals, Signals


@dataclass(frozen=True)
class Calibrated:
    """How much smaller the loss is than models trained without the record have it: hard records are excused.

    Raises:
        InputError: a record has no reference trained without it.

    >>> signals = Signals(np.array([5.0]), reference=np.array([[0.0]]), included=np.array([[False]]))
    >>> Calibrated()(signals).round(3)
    array([0.686])
    """

    version: ClassVar[str] = "calibrated/1"
    formula: ClassVar[str] = "mean over references without the record of their loss - loss"
    paper: ClassVar[str] = "Watson et al. (2022), arXiv 2111.08440"

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores, shape (records,)."""
        outside = Moments.of(np.logaddexp(0.0, -signals.reference), ~signals.included)
        need(outside, 1, "a calibrated loss")
        return outside.mean - signals.loss

    def leave_pair_out(self, pool: PoolSignals) -> FloatArray:
        """Scores of every model as the target without its pair, shape (models, records)."""
        loss = np.logaddexp(0.0, -pool.phi)
        scores = np.empty_like(loss)
        for first, both in leaving_pairs_out(loss, pool.included):
            need(both.outside, 1, "a calibrated loss")
            scores[first : first + 2] = both.outside.mean - loss[first : first + 2]
        return scores


@dataclass(frozen=True)
class Offset:
    """φ above the middle of what it is with and without the record: LiRA with one variance for everything.

    Raises:
        InputError: a record lacks a reference on a side.

    >>> reference, included = np.array([[3.0], [-1.0]]), np.array([[True], [False]])
    >>> Offset()(Signals(np.array([2.0]), reference=reference, included=included))
    array([1.])
    """

    version: ClassVar[str] = "offset/1"
    formula: ClassVar[str] = "φ - (μ_in + μ_out) / 2"
    paper: ClassVar[str] = "score of TensorFlow Privacy's advanced attacks"

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores, shape (records,)."""
        inside, outside = sides(signals)
        need(inside, 1, "an offset")
        need(outside, 1, "an offset")
        return signals.phi - (inside.mean + outside.mean) / 2
