"""Reference attack, `Ye et al. (2022) <https://arxiv.org/abs/2111.09679>`_."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from scipy.stats import t as student

from dpaudit import _check
from dpaudit._check import FloatArray
from dpaudit.attacks.membership._moments import need, sides, spread
from dpaudit.signals import Signals


@dataclass(frozen=True)
class AttackR:
    """How rarely a model trained without the record has a loss as small as the target's.

    Args:
        tail: ``fitted``: minus the logarithm of a fitted tail of φ, the only form with anything to say at low
            false-positive rates. ``empirical``: the share of references, (k + ½)/(n + 1); it takes n + 1 values, so
            with few references its TPR at low FPR is 0 by construction.

    Raises:
        InputError: a record has no reference trained without it.

    >>> signals = Signals(np.array([1.0]), reference=np.array([[0.0], [2.0]]), included=np.zeros((2, 1), bool))
    >>> AttackR("empirical")(signals)
    array([0.5])
    """

    tail: Literal["fitted", "empirical"] = "fitted"

    version: ClassVar[str] = "attack-r/1"
    formula: ClassVar[str] = "-log Pr(reference loss ≤ loss), fitted; or the share of reference losses ≥ loss"
    paper: ClassVar[str] = "Ye et al. (2022), arXiv 2111.09679"

    def __post_init__(self) -> None:
        _check.one_of("tail", self.tail, ("fitted", "empirical"))

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores, shape (records,)."""
        outside = sides(signals).outside
        need(outside, 1, "attack-r")
        if self.tail == "fitted":
            fitted = spread(outside, "shrunk")
            return -np.asarray(student.logsf(fitted.z(signals.phi), fitted.degrees), np.float64)
        beaten = np.sum((signals.reference <= signals.phi) & ~signals.included, axis=0)
        share: FloatArray = (beaten + 0.5) / (outside.count + 1)
        return share
