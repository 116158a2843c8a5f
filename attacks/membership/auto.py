"""Which attack to run, by a rule fixed beforehand."""

from dataclasses import dataclass
from typing import ClassVar

from dpaudit.attacks.membership.base import Base, BaseOffline
from dpaudit.attacks.membership.lira import Lira
from dpaudit.attacks.membership.lira_offline import LiraOffline
from dpaudit.attacks.membership.loss import Loss
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.out_of_core import over_records
from dpaudit.scores.signals import PoolSignals, Signals

AttackChoice = Loss | Base | BaseOffline | Lira | LiraOffline

# Measured on small data (docs/attacks.md): from about this many references the fitted likelihood ratio is the
# stronger one at low false-positive rates; below it the plain ratio of confidences is, with as few as two.
MANY = 30


@dataclass(frozen=True)
class Auto:
    """The strongest attack for the number of reference models; the rule never looks at a result.

    No references: the loss. Fewer than 30: BASE. From 30 on: LiRA with shrunk variance. Their offline forms when some
    record was in the training data of no reference.

    >>> import numpy as np
    >>> Auto().chosen(Signals(np.zeros(1))).version
    'loss/1'
    """

    version: ClassVar[str] = "auto/1"
    formula: ClassVar[str] = "0 references: loss; 1 to 29: base; 30 and more: lira (offline forms where needed)"
    paper: ClassVar[str] = "measured here, docs/attacks.md"

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores of the chosen attack, shape (records,)."""
        return self.chosen(signals)(signals)

    def chosen(self, signals: Signals) -> AttackChoice:
        """The attack it takes for these signals."""
        models = len(signals.reference)
        online = bool(models) and bool(over_records(lambda rows: (rows.any(axis=0),), signals.included)[0].all())
        return _choice(models, online=online)

    def leave_pair_out(self, pool: PoolSignals) -> FloatArray:
        """Scores of the chosen attack for every model as the target, shape (models, records)."""
        return self.chosen(pool.target(0)).leave_pair_out(pool)


def _choice(models: int, *, online: bool) -> AttackChoice:
    if models == 0:
        return Loss()
    if models < MANY:
        return Base() if online else BaseOffline()
    return Lira() if online else LiraOffline()
