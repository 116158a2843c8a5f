"""Both error rates against the trade-off curve of a family, at one threshold; many independent trainings.

A curve is refuted when even the upper confidence bounds of FPR and FNR (Clopper-Pearson, half the level each) lie below
it. For Gaussian curves this is the bound of `Nasr et al. (2023) <https://arxiv.org/abs/2302.07956>`_ with its level
shared; with a mechanism's own curve the family is the accounted sampler.
"""

from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import ClassVar

import numpy as np
from scipy.special import ndtri

from dpaudit.accounting.claim import Adjacency, Unit
from dpaudit.accounting.gaussian import gaussian_epsilon
from dpaudit.bounds.certified import BoundTerms, certified
from dpaudit.bounds.choosing import ThresholdSelection
from dpaudit.bounds.clopper_pearson import ASSUMPTIONS
from dpaudit.bounds.hypothesis import Curve, Gaussian, MechanismFamily, strongest_refuted
from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.bounds.trial_counts import Counts, threshold_counts
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.scores.intervals import upper_limit, upper_rate
from dpaudit.scores.scores import Scores


@dataclass(frozen=True)
class WholeCurve:
    """Both error rates against a Gaussian or a mechanism's own trade-off curve; independent trainings.

    >>> from dpaudit.bounds.choosing import Fixed
    >>> scores = Scores(np.repeat([1.0, -1.0], [90, 10]), np.repeat([-1.0, 1.0], [95, 5]))
    >>> bound = WholeCurve(Fixed(0.0))
    >>> round(bound(scores, delta=1e-5, confidence=0.95, adjacency="add-remove", unit="record").epsilon, 2)
    10.88
    """

    designs: ClassVar = ("many-runs",)
    selection: ThresholdSelection
    null: Gaussian | MechanismFamily = field(default_factory=Gaussian)

    def __call__(
        self, scores: Scores, *, delta: float, confidence: float, adjacency: Adjacency, unit: Unit
    ) -> LowerBound:
        """Lower bound on ε from scores of independent trials."""
        asked = BoundTerms(delta, confidence, adjacency, unit)

        def criterion(part: Scores, thresholds: FloatArray) -> FloatArray:
            misses = np.searchsorted(np.sort(part.member), thresholds, side="right")
            alarms = part.nonmember.size - np.searchsorted(np.sort(part.nonmember), thresholds, side="right")
            fnr = upper_rate(misses, part.member.size, asked.level / 2)
            return np.asarray(-ndtri(upper_rate(alarms, part.nonmember.size, asked.level / 2)) - ndtri(fnr), np.float64)

        chosen = threshold_counts(scores, self.selection, criterion)
        value, procedure = partial(whole_curve, null=self.null), self.selection.procedure
        return certified("whole-curve", asked, chosen, value, ASSUMPTIONS, procedure, family=self.null.family)


@lru_cache(maxsize=65536)  # few outcomes of a fixed threshold are different
def whole_curve(counts: Counts, delta: float, level: float, *, null: Gaussian | MechanismFamily) -> float:
    """Lower bound on ε at ``level`` from counts, within the family of ``null``.

    >>> round(whole_curve(Counts(500, 0, 0, 500), 1e-5, 0.05, null=Gaussian()), 2)
    32.0
    """
    slack, alpha = check.delta("delta", delta), check.open_unit("level", level)
    fnr, fpr = _rates(counts, alpha)
    if fnr == 1 or fpr == 1:
        return 0.0
    if isinstance(null, Gaussian):
        return gaussian_epsilon(max(0.0, float(-ndtri(fpr) - ndtri(fnr))), slack)
    return strongest_refuted(lambda strength: 1 - fnr - null.curve(strength, slack).tpr_at(fpr), null, slack)


def counts_refute(counts: Counts, curve: Curve, level: float) -> bool:
    """Whether counts contradict one trade-off curve, for instance the one a claim's mechanism implies.

    >>> from dpaudit.bounds.hypothesis import GaussianCurve
    >>> counts_refute(Counts(90, 10, 5, 95), GaussianCurve(1.0), 0.05)
    True
    """
    fnr, fpr = _rates(counts, check.open_unit("level", level))
    return 1 - fnr > curve.tpr_at(fpr)


def _rates(counts: Counts, level: float) -> tuple[float, float]:
    fnr = upper_limit(counts.false_negatives, counts.members, level / 2)
    return fnr, upper_limit(counts.false_positives, counts.nonmembers, level / 2)
