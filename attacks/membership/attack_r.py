"""Reference attack, `Ye et al. (2022) <https://arxiv.org/abs/2111.09679>`_."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from scipy.stats import t as student

from dpaudit.attacks.membership._moments import Moments, fit_spread, moments_without_pairs, require_models, side_moments
from dpaudit.attacks.membership.pools import in_turn
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.out_of_core import filled, over_records
from dpaudit.scores.signals import PoolSignals, Signals


@dataclass(frozen=True)
class AttackR:
    """How rare so small a loss of the record is among models trained without it.

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
        check.one_of("tail", self.tail, ("fitted", "empirical"))

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores, shape (records,)."""
        if self.tail == "fitted":
            return _tail(signals.phi, side_moments(signals).outside)

        def block(reference: FloatArray, included: BoolArray, phi: FloatArray) -> tuple[FloatArray, ...]:
            beaten = np.sum((reference <= phi) & ~included, axis=0)
            return beaten.astype(np.float64), np.sum(~included, axis=0).astype(np.float64)

        beaten, count = over_records(block, signals.reference, signals.included, signals.phi[None])
        require_models(Moments(count, count, count), 1, "attack-r")
        share: FloatArray = (beaten + 0.5) / (count + 1)
        return share

    def leave_pair_out(self, pool: PoolSignals) -> FloatArray:
        """Scores of every model as the target without its pair, shape (models, records); fitted in linear time."""
        if self.tail == "empirical":
            return in_turn(self, pool)
        pairs = moments_without_pairs(pool.phi, pool.included)
        return filled(pool.phi.shape, ((first, _tail(phi, both.outside)) for first, phi, both in pairs))


def _tail(phi: FloatArray, outside: Moments) -> FloatArray:
    require_models(outside, 1, "attack-r")
    fitted = fit_spread(outside, "shrunk")
    return -np.asarray(student.logsf(fitted.z(phi), fitted.degrees), np.float64)
