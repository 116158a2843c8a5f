"""Hinge margin, the statistic of `Bertran et al. (2023) <https://arxiv.org/abs/2307.03694>`_."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dpaudit.runtime.check import FloatArray
from dpaudit.scores.signals import Signals


@dataclass(frozen=True)
class Hinge:
    """Logit of the true class above the best of the others.

    Raises:
        InputError: the probabilities of the classes or the true classes are not known.

    >>> Hinge()(Signals.from_logits([[2.0, 0.0, 1.0]], [0]))
    array([1.])
    """

    version: ClassVar[str] = "hinge/1"
    formula: ClassVar[str] = "z_y - max_{c≠y} z_c"
    paper: ClassVar[str] = "Bertran et al. (2023), arXiv 2307.03694"

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores, shape (records,)."""
        log_p, labels = signals.classes()
        own = np.arange(log_p.shape[1]) == labels[:, None]
        score: FloatArray = log_p[own] - np.where(own, -np.inf, log_p).max(axis=1)
        return score
