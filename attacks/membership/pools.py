"""Every model of a pool as a target, in turn."""

from typing import Protocol, runtime_checkable

import numpy as np

from dpaudit._check import FloatArray
from dpaudit.signals import PoolSignals, Signals


class Attack(Protocol):
    """A membership inference attack: signals in, one score per record out."""

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores, shape (records,); higher = more likely a member."""
        ...


@runtime_checkable
class Pooled(Protocol):
    """An attack that shares the work between the targets of a pool."""

    def leave_pair_out(self, pool: PoolSignals) -> FloatArray:
        """Scores of every model as the target without its pair, shape (models, records)."""
        ...


def leave_pair_out(attack: Attack, pool: PoolSignals) -> FloatArray:
    """Scores of every model of a pool as the target, its pair left out, shape (models, records).

    Attacks with running sums do it in time linear in models and records; the others look at one target after another.

    >>> from dpaudit.attacks.membership.loss import Loss
    >>> leave_pair_out(Loss(), PoolSignals(np.array([[1.0], [2.0]]), np.array([[True], [False]])))
    array([[1.],
           [2.]])
    """
    if isinstance(attack, Pooled):
        return attack.leave_pair_out(pool)
    return np.stack([attack(pool.target(model)) for model in range(len(pool))])
