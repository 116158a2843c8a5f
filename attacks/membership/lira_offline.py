"""LiRA when no reference model was trained on the audited records, `Carlini et al. (2022)
<https://arxiv.org/abs/2112.03570>`_, section VI.
"""

from dataclasses import dataclass
from typing import ClassVar

from dpaudit.attacks.membership._moments import SideMoments, Variance, fit_spread
from dpaudit.attacks.membership._views import Centre, Centres, Fitted, WithVariance


@dataclass(frozen=True)
class LiraOffline(WithVariance):
    """One-sided: how far the target's φ lies above what models trained without the record show, in their spread.

    The order is that of Pr[Z ≤ φ], which as a number rounds to 1 from eight standard deviations on.

    Args:
        variance: as in `Lira`.
        centre: ``mean`` or ``median``.

    Raises:
        InputError: a record has too few references trained without it.

    >>> import numpy as np
    >>> from dpaudit.scores.signals import Signals
    >>> reference, included = np.array([[-3.0], [-1.0]]), np.zeros((2, 1), bool)
    >>> LiraOffline("residual")(Signals(np.array([2.0]), reference=reference, included=included))
    array([4.])
    """

    version: ClassVar[str] = "lira-offline/1"
    formula: ClassVar[str] = "mean over queries of (φ - μ_out) / s_out"
    paper: ClassVar[str] = "Carlini et al. (2022), arXiv 2112.03570, section VI"

    def _fitted(self, both: SideMoments, centres: Centres) -> Fitted:
        return fit_spread(both.outside, self.variance, location=centres[1]).z


@dataclass(frozen=True)
class LiraOfflineDensity(WithVariance):
    """Minus the log-density among models trained without the record: the offline score of the published code.

    It calls a record unusual on the low side too, which costs most of its power. It is here for parity with numbers
    others have published; use `LiraOffline`.

    >>> import numpy as np
    >>> from dpaudit.scores.signals import Signals
    >>> reference, included = np.array([[-3.0], [-1.0]]), np.zeros((2, 1), bool)
    >>> LiraOfflineDensity("residual")(Signals(np.array([2.0]), reference=reference, included=included)).round(3)
    array([8.919])
    """

    variance: Variance = "per-record"
    centre: Centre = "median"

    version: ClassVar[str] = "lira-offline-density/1"
    formula: ClassVar[str] = "mean over queries of -log f(φ | trained without)"
    paper: ClassVar[str] = "code of Carlini et al. (2022), arXiv 2112.03570; not the paper's own offline score"

    def _fitted(self, both: SideMoments, centres: Centres) -> Fitted:
        outside = fit_spread(both.outside, self.variance, location=centres[1])
        return lambda phi: -outside.log_density(phi)
