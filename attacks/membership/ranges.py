"""Was any record of this range trained on? Range membership inference, `Tao and Shokri (2024)
<https://arxiv.org/abs/2408.05131>`_.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dpaudit.attacks.membership.base import Base
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.signals import Signals


@dataclass(frozen=True)
class Ranges:
    """Mean of BASE's scores of records near the audited one, the lowest and highest ones left out.

    The attacker does not know the record, only what it is like: the queries are samples of its range, and the record
    itself is never asked about. The score of a sample is that of `Base`, which ranks as RMIA does.

    Args:
        low: share of the lowest scores left out: samples too far from the record to show anything of it.
        high: share of the highest scores left out. The paper tunes both on a reference model; here they are fixed
            beforehand.

    Raises:
        InputError: there are no queries or no reference models.

    >>> from dataclasses import replace
    >>> def near(phi):
    ...     return Signals(np.array([phi]), reference=np.zeros((2, 1)), included=np.array([[True], [False]]))
    >>> samples = tuple(near(phi) for phi in (-9.0, 0.0, 0.0))
    >>> Ranges(low=0.34)(replace(near(5.0), queries=samples))
    array([0.])
    """

    low: float = 0.0
    high: float = 0.0

    version: ClassVar[str] = "ranges/1"
    formula: ClassVar[str] = "trimmed mean over queries of log p_y - log( mean over references of p_y )"
    paper: ClassVar[str] = "Tao and Shokri (2024), arXiv 2408.05131"

    def __post_init__(self) -> None:
        low, high = check.probability("low", self.low), check.probability("high", self.high)
        if low + high > 1 - 1e-6:
            raise InputError(f"low and high must leave something over, got {low:g} + {high:g}.")

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores, shape (records,)."""
        if not signals.queries:
            raise InputError("ranges needs queries: samples of the range around each record.")
        ordered = np.sort([Base()(view) for view in signals.queries], axis=0)
        samples = len(ordered)
        # A little slack, so that 0.3 of 10 samples is 3 of them; some are left, for low + high is below 1 by more.
        kept = ordered[int(self.low * samples + 1e-9) : samples - int(self.high * samples + 1e-9)]
        mean: FloatArray = kept.mean(axis=0)
        return mean
