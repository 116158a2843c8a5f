"""Difficulty-calibrated loss, `Watson et al. (2022) <https://arxiv.org/abs/2111.08440>`_."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dpaudit.attacks.membership._moments import SideMoments, moments_without_pairs, require_models, side_moments
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.out_of_core import filled
from dpaudit.scores.signals import PoolSignals, Signals


@dataclass(frozen=True)
class Calibrated:
    """The loss, relative to that of models trained without the record: corrects for hard records.

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
        return _calibrated(signals.loss, side_moments(signals, of=_loss))

    def leave_pair_out(self, pool: PoolSignals) -> FloatArray:
        """Scores of every model as the target without its pair, shape (models, records)."""
        pairs = moments_without_pairs(pool.phi, pool.included, of=_loss)
        return filled(pool.phi.shape, ((first, _calibrated(loss, both)) for first, loss, both in pairs))


def _calibrated(loss: FloatArray, both: SideMoments) -> FloatArray:
    require_models(both.outside, 1, "a calibrated loss")
    return both.outside.mean - loss


def _loss(phi: FloatArray) -> FloatArray:
    loss: FloatArray = np.logaddexp(0.0, -phi)
    return loss


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
        return _offset(signals.phi, side_moments(signals))

    def leave_pair_out(self, pool: PoolSignals) -> FloatArray:
        """Scores of every model as the target without its pair, shape (models, records)."""
        pairs = moments_without_pairs(pool.phi, pool.included)
        return filled(pool.phi.shape, ((first, _offset(phi, both)) for first, phi, both in pairs))


def _offset(phi: FloatArray, both: SideMoments) -> FloatArray:
    require_models(both.inside, 1, "an offset")
    require_models(both.outside, 1, "an offset")
    return phi - (both.inside.mean + both.outside.mean) / 2
