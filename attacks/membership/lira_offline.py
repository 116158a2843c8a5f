"""LiRA when no reference model was trained on the audited records, `Carlini et al. (2022)
<https://arxiv.org/abs/2112.03570>`_, section VI.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dpaudit import _check
from dpaudit._check import FloatArray
from dpaudit.attacks.membership._moments import VARIANCES, Variance, leaving_pairs_out, medians, sides, spread
from dpaudit.attacks.membership.lira import Centre
from dpaudit.signals import PoolSignals, Signals


@dataclass(frozen=True)
class LiraOffline:
    """One-sided: how far the target's φ lies above what models trained without the record show, in their spread.

    The order is that of Pr[Z ≤ φ], which as a number rounds to 1 from eight standard deviations on.

    Args:
        variance: as in `Lira`.
        centre: ``mean`` or ``median``.

    Raises:
        InputError: a record has too few references trained without it.

    >>> reference, included = np.array([[-3.0], [-1.0]]), np.zeros((2, 1), bool)
    >>> LiraOffline("residual")(Signals(np.array([2.0]), reference=reference, included=included))
    array([4.])
    """

    variance: Variance = "shrunk"
    centre: Centre = "mean"

    version: ClassVar[str] = "lira-offline/1"
    formula: ClassVar[str] = "mean over queries of (φ - μ_out) / s_out"
    paper: ClassVar[str] = "Carlini et al. (2022), arXiv 2112.03570, section VI"

    def __post_init__(self) -> None:
        _check.one_of("variance", self.variance, VARIANCES)
        _check.one_of("centre", self.centre, ("mean", "median"))

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores, shape (records,)."""
        total = np.zeros(len(signals))
        for view in (signals, *signals.queries):
            centre = medians(view)[1] if self.centre == "median" else None
            total += spread(sides(view).outside, self.variance, location=centre).z(view.phi)
        return total / (1 + len(signals.queries))

    def leave_pair_out(self, pool: PoolSignals) -> FloatArray:
        """Scores of every model as the target without its pair, shape (models, records), in time linear in both."""
        if self.centre == "median":  # a median has no running sum
            return np.stack([self(pool.target(model)) for model in range(len(pool))])
        total = np.zeros_like(pool.phi)
        for phi in (pool.phi, *pool.queries):
            for first, both in leaving_pairs_out(phi, pool.included):
                fitted = spread(both.outside, self.variance)
                total[first : first + 2] += fitted.z(phi[first : first + 2])
        return total / (1 + len(pool.queries))


@dataclass(frozen=True)
class LiraOfflineDensity:
    """Minus the log-density among models trained without the record: the offline score of the published code.

    It calls a record unusual on the low side too, which costs most of its power. It is here for parity with numbers
    others have published; use `LiraOffline`.

    >>> reference, included = np.array([[-3.0], [-1.0]]), np.zeros((2, 1), bool)
    >>> LiraOfflineDensity("residual")(Signals(np.array([2.0]), reference=reference, included=included)).round(3)
    array([8.919])
    """

    variance: Variance = "per-record"
    centre: Centre = "median"

    version: ClassVar[str] = "lira-offline-density/1"
    formula: ClassVar[str] = "mean over queries of -log f(φ | trained without)"
    paper: ClassVar[str] = "code of Carlini et al. (2022), arXiv 2112.03570; not the paper's own offline score"

    def __post_init__(self) -> None:
        _check.one_of("variance", self.variance, VARIANCES)
        _check.one_of("centre", self.centre, ("mean", "median"))

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores, shape (records,)."""
        total = np.zeros(len(signals))
        for view in (signals, *signals.queries):
            centre = medians(view)[1] if self.centre == "median" else None
            total -= spread(sides(view).outside, self.variance, location=centre).log_density(view.phi)
        return total / (1 + len(signals.queries))
