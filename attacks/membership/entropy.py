"""Prediction entropy, `Shokri et al. (2017) <https://arxiv.org/abs/1610.05820>`_."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import logsumexp

from dpaudit.attacks.membership._log_surprise import log_of_minus_log_one_minus
from dpaudit.runtime.check import FloatArray
from dpaudit.scores.signals import Signals


@dataclass(frozen=True)
class Entropy:
    """Entropy of the target's output, whatever the true class. The score is minus its logarithm.

    Raises:
        InputError: the probabilities of the classes are not known.

    >>> Entropy()(Signals.from_logits([[2.0, 0.0], [0.0, 1.0]], [0, 0])).round(3)
    array([1.007, 0.541])
    """

    version: ClassVar[str] = "entropy/1"
    formula: ClassVar[str] = "-log( -Σ p_c log p_c )"
    paper: ClassVar[str] = "Shokri et al. (2017), arXiv 1610.05820"

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores, shape (records,)."""
        log_p, _ = signals.classes()
        top = np.arange(log_p.shape[1]) == log_p.argmax(axis=1)[:, None]
        # log p of the likeliest class rounds to 0; the sum of the others does not.
        rest = logsumexp(np.where(top, -np.inf, log_p), axis=1, keepdims=True)
        minus_log = np.where(top, log_of_minus_log_one_minus(rest), np.log(-np.where(top, -1.0, log_p)))
        score: FloatArray = -logsumexp(log_p + minus_log, axis=1)
        return score
