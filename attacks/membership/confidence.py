"""Maximal confidence, `Salem et al. (2019) <https://arxiv.org/abs/1806.01246>`_, attack 3."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import logsumexp

from dpaudit.runtime.check import FloatArray
from dpaudit.scores.signals import Signals


@dataclass(frozen=True)
class Confidence:
    """Confidence of the target in its own answer, right or wrong. Needs no labels.

    Raises:
        InputError: the probabilities of the classes are not known.

    >>> Confidence()(Signals.from_logits([[2.0, 0.0], [0.0, 1.0]], [0, 0]))
    array([2., 1.])
    """

    version: ClassVar[str] = "confidence/1"
    formula: ClassVar[str] = "log max p - log(1 - max p)"
    paper: ClassVar[str] = "Salem et al. (2019), arXiv 1806.01246"

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores, shape (records,)."""
        log_p, _ = signals.classes()
        top = np.arange(log_p.shape[1]) == log_p.argmax(axis=1)[:, None]
        score: FloatArray = log_p.max(axis=1) - logsumexp(np.where(top, -np.inf, log_p), axis=1)
        return score
