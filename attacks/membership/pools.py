"""Every model of a pool as a target, in turn."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np

from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.out_of_core import filled
from dpaudit.scores.signals import PoolSignals, Signals


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


@runtime_checkable
class Spending(Protocol):
    """An attack that is told the membership of some records, which are then not audited."""

    def spent(self, records: int) -> BoolArray:
        """Which of so many records, shape (records,); chosen without looking at anything."""
        ...


def audited_part(attack: Attack, signals: Signals, member: BoolArray) -> tuple[Signals, BoolArray]:
    """What an attack may see and which records it is judged on: all, unless it spends the truth of some.

    Args:
        attack: the attack.
        signals: of the target.
        member: membership of the records, shape (records,).

    >>> from dpaudit.attacks.membership.loss import Loss
    >>> audited_part(Loss(), Signals(np.zeros(2)), np.array([True, False]))[1]
    array([ True,  True])
    """
    if not isinstance(attack, Spending):
        return signals, np.ones(len(signals), bool)
    rows = attack.spent(len(signals))
    return signals.told(rows, member), ~rows


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
    return in_turn(attack, pool)


def in_turn(attack: Callable[[Signals], FloatArray], pool: PoolSignals) -> FloatArray:
    """Scores of every model of a pool, attacked one after the other, shape (models, records)."""
    return filled(pool.phi.shape, ((model, attack(pool.target(model))[None]) for model in range(len(pool))))
