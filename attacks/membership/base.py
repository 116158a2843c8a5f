"""BASE: confidence over the references' mean confidence, `Lassila et al. (2025) <https://arxiv.org/abs/2505.24089>`_."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dpaudit.attacks.membership._mean_confidence import (
    confidence,
    confidence_without_pairs,
    log_confidence,
    mean_of_all,
    mean_outside,
)
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.out_of_core import over_records
from dpaudit.scores.signals import PoolSignals, Signals


@dataclass(frozen=True)
class Base:
    """Confidence of the target in the true class, relative to the mean of the reference models.

    Half of the references should have been trained on each record. RMIA without its population has the same order,
    and on small data this is the strongest attack with 1 to 16 references.

    Raises:
        InputError: there are no reference models.

    >>> Base()(Signals(np.array([0.0]), reference=np.array([[0.0], [0.0]]), included=np.array([[True], [False]])))
    array([0.])
    """

    version: ClassVar[str] = "base/1"
    formula: ClassVar[str] = "log p_y - log( mean over references of p_y )"
    paper: ClassVar[str] = "Lassila et al. (2025), arXiv 2505.24089"

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores, shape (records,)."""
        score: FloatArray = log_confidence(signals.phi) - np.log(mean_of_all(signals.reference))
        return score

    def leave_pair_out(self, pool: PoolSignals) -> FloatArray:
        """Scores of every model as the target without its pair, shape (models, records)."""

        def block(phi: FloatArray) -> tuple[FloatArray, ...]:
            scores = log_confidence(phi)
            for first, expected in confidence_without_pairs(confidence(phi)):
                scores[first : first + 2] -= np.log(expected)
            return (scores,)

        return over_records(block, pool.phi)[0]


@dataclass(frozen=True)
class BaseOffline:
    """BASE when no reference was trained on the audited records: their mean counts only in part.

    Args:
        scale: weight of the references' mean log-confidence, fixed beforehand, never tuned on a target.

    Raises:
        InputError: a record has no reference trained without it.

    >>> BaseOffline()(Signals(np.array([0.0]), reference=np.array([[0.0]]), included=np.array([[False]]))).round(3)
    array([-0.464])
    """

    scale: float = 0.33

    version: ClassVar[str] = "base-offline/1"
    formula: ClassVar[str] = "log p_y - scale · log( mean over references without the record of p_y )"
    paper: ClassVar[str] = "Lassila et al. (2025), arXiv 2505.24089"

    def __post_init__(self) -> None:
        check.probability("scale", self.scale)

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores, shape (records,)."""
        return log_confidence(signals.phi) - self.scale * np.log(mean_outside(signals))

    def leave_pair_out(self, pool: PoolSignals) -> FloatArray:
        """Scores of every model as the target without its pair, shape (models, records)."""

        def block(phi: FloatArray, included: BoolArray) -> tuple[FloatArray, ...]:
            scores = log_confidence(phi)
            for first, expected in confidence_without_pairs(confidence(phi), ~included):
                scores[first : first + 2] -= self.scale * np.log(expected)
            return (scores,)

        return over_records(block, pool.phi, pool.included)[0]
