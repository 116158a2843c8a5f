"""Modified entropy, `Song and Mittal (2021) <https://arxiv.org/abs/2003.10595>`_."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import logsumexp

from dpaudit.attacks.membership._log_surprise import log_of_minus_log_one_minus
from dpaudit.runtime.check import FloatArray
from dpaudit.scores.signals import Signals


@dataclass(frozen=True)
class ModifiedEntropy:
    """Entropy that knows the true class: 0 for a sure and right answer, large for a sure and wrong one.

    Scored by its negative logarithm, summed in logarithms: values that differ by many orders of magnitude stay apart.
    Song and Mittal's thresholds per class are `AttackP(per_class=True, statistic="modified-entropy")`.

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
        top = column == log_p.argmax(axis=1)[:, None]
        # 1 - p of the likeliest class is the sum of the others; the difference would round to 0.
        rest = logsumexp(np.where(top, -np.inf, log_p), axis=1, keepdims=True)
        surprise = np.where(top, np.log(-rest), log_of_minus_log_one_minus(np.where(top, -1.0, log_p)))
        own = -np.logaddexp(0.0, signals.phi) + signals.log_loss  # log of -(1 - p_y) log p_y
        others = np.where(column == labels[:, None], -np.inf, log_p + surprise)
        return -np.logaddexp(own, logsumexp(others, axis=1))
