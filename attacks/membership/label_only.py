"""Few queries, answered by a class alone, compared with reference models."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dpaudit.attacks.membership._mean_confidence import confidence, mean_by_side
from dpaudit.runtime.check import FloatArray
from dpaudit.scores.signals import Signals


@dataclass(frozen=True)
class LabelOnly:
    """Likelihood ratio of the classes the target answers, right or wrong, to the record and to its queries.

    How often a model trained with the record answers a query rightly is taken to be the mean confidence of the
    references trained with it, and likewise without it. The target shows classes only; the references are the
    attacker's own. One query of the target is one right or wrong answer, so 1 + queries answers decide.

    It is neither YOQO nor OSLO (`Peng et al. (2024) <https://arxiv.org/abs/2405.16978>`_): those search for one query
    of each record that models trained with and without it answer differently; here the queries are fixed beforehand.

    Raises:
        InputError: the classes are not known, or a record has no reference on one side.

    >>> seen = Signals.from_logits([[2.0, 0.0], [0.0, 2.0]], [0, 0])
    >>> LabelOnly()(seen.with_references([[3.0, 3.0], [0.0, 0.0]], [[True, True], [False, False]])).round(2)
    array([ 0.64, -2.36])
    """

    version: ClassVar[str] = "label-only/1"
    formula: ClassVar[str] = "sum over queries of log q_in/q_out if argmax p = y, else of log (1 - q_in)/(1 - q_out)"
    paper: ClassVar[str] = "likelihood ratio of Carlini et al. (2022), arXiv 2112.03570, of predicted classes"

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores, shape (records,)."""
        total = np.zeros(len(signals))
        for view in (signals, *signals.queries):
            right_in, right_out = mean_by_side(view)
            # From -φ: 1 - p would round to 0 where p is near 1.
            wrong_in, wrong_out = mean_by_side(view, of=lambda phi: confidence(-phi))
            total += np.where(view.correct(), np.log(right_in / right_out), np.log(wrong_in / wrong_out))
        return total
