"""Loss threshold attack, `Yeom et al. (2018) <https://arxiv.org/abs/1709.01604>`_."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.out_of_core import over_records
from dpaudit.scores.signals import PoolSignals, Signals


@dataclass(frozen=True)
class Loss:
    """Members are the records the target fits best. Needs no reference models.

    Scored by φ, of which the loss softplus(-φ) is a falling function: the order of the losses is kept where the
    losses themselves round to 0.

    >>> Loss()(Signals.from_logits([[2.0, 0.0], [0.0, 1.0]], [0, 0]))
    array([ 2., -1.])
    """

    version: ClassVar[str] = "loss/1"
    formula: ClassVar[str] = "φ = log p_y - log(1 - p_y), ordered as -loss"
    paper: ClassVar[str] = "Yeom et al. (2018), arXiv 1709.01604"

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores, shape (records,)."""
        return signals.phi.copy()

    def leave_pair_out(self, pool: PoolSignals) -> FloatArray:
        """Scores of every model as the target, shape (models, records); there are no references to leave out."""
        return over_records(lambda phi: (np.array(phi),), pool.phi)[0]
