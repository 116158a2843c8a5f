"""Modified entropy, `Song and Mittal (2021) <https://arxiv.org/abs/2003.10595>`_."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import logsumexp

from dpaudit._check import FloatArray
from dpaudit.signals import Signals


@dataclass(frozen=True)
class ModifiedEntropy:
    """Entropy that knows the true class: 0 for a sure and right answer, large for a sure and wrong one.

    Scored by its negative logarithm, summed in logarithms: values that differ by many orders of magnitude stay apart.

    Raises:
        InputError: the probabilities of the classes or the true classes are not known.

    >>> signals = Signals.from_logits([[2.0, 0.0], [0.0, 1.0]], [0, 0])
    >>> ModifiedEntropy()(signals).round(3)
    array([ 3.498, -0.652])
    """

    version: ClassVar[str] = "modified-entropy/1"
    formula: ClassVar[str] = "-log( -(1 - p_y) log p_y - Σ_{c≠y} p_c log(1 - p_c) )"
    paper: ClassVar[str] = "Song and Mittal (2021), arXiv 2003.10595"

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores, shape (records,)."""
        log_p, labels = signals.classes()
        column = np.arange(log_p.shape[1])
        own = -np.logaddexp(0.0, signals.phi) + signals.log_loss  # log of -(1 - p_y) log p_y
        others = np.where(column == labels[:, None], -np.inf, log_p + _log_surprise(log_p))
        return -np.logaddexp(own, logsumexp(others, axis=1))


def _log_surprise(log_p: FloatArray) -> FloatArray:
    """log(-log(1 - p)) of every class, from log p of shape (records, classes)."""
    top = np.arange(log_p.shape[1]) == log_p.argmax(axis=1)[:, None]
    # 1 - p of the likeliest class is the sum of the others; the difference would round to 0.
    rest = logsumexp(np.where(top, -np.inf, log_p), axis=1, keepdims=True)
    small = log_p < -36.0  # log(1 - p) = -p to double precision
    minus_log = -np.where(top, rest, np.log1p(-np.exp(np.where(top | small, -1.0, log_p))))
    result: FloatArray = np.where(small, log_p, np.log(minus_log))
    return result
