"""Exact bound from false-positive and false-negative counts of independent trainings; any mechanism.

`Jagielski, Ullman and Oprea (2020) <https://arxiv.org/abs/2006.07709>`_, `Nasr et al. (2021)
<https://arxiv.org/abs/2101.04535>`_: with Clopper-Pearson upper bounds on both error rates, each at half the level,
(ε, δ)-differential privacy bounds 1 - FNR by e^ε FPR + δ and 1 - FPR by e^ε FNR + δ.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np

from dpaudit.accounting.claim import Adjacency, Unit
from dpaudit.bounds.certified import BoundTerms, certified
from dpaudit.bounds.choosing import ThresholdSelection
from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.bounds.trial_counts import Counts, threshold_counts
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.scores.intervals import upper_limit, upper_rate
from dpaudit.scores.scores import Scores

ASSUMPTIONS = (
    "each trial is a training of its own, independent of the others given whether the record was in",
    "the threshold was chosen without the trials it is judged on",
)


@dataclass(frozen=True)
class ClopperPearson:
    """Clopper-Pearson bound on many independent trainings.

    >>> from dpaudit.bounds.choosing import Fixed
    >>> scores = Scores(np.full(500, 1.0), np.full(500, -1.0))
    >>> bound = ClopperPearson(Fixed(0.0))(scores, delta=0.0, confidence=0.99, adjacency="add-remove", unit="record")
    >>> round(bound.epsilon, 2)
    4.54
    """

    designs: ClassVar = ("many-runs",)
    selection: ThresholdSelection

    def __call__(
        self, scores: Scores, *, delta: float, confidence: float, adjacency: Adjacency, unit: Unit
    ) -> LowerBound:
        """Lower bound on ε from scores of independent trials."""
        asked = BoundTerms(delta, confidence, adjacency, unit)

        def criterion(part: Scores, thresholds: FloatArray) -> FloatArray:
            alarms = _above(part.nonmember, thresholds)
            misses = part.member.size - _above(part.member, thresholds)
            return _bound(misses, part.member.size, alarms, part.nonmember.size, delta, asked.level)

        chosen = threshold_counts(scores, self.selection, criterion)
        judged = chosen.pieces[0]
        procedure = replace(self.selection.procedure, member_share=judged.members / judged.trials)
        return certified("clopper-pearson", asked, chosen, clopper_pearson, ASSUMPTIONS, procedure)


@lru_cache(maxsize=65536)  # few outcomes of a fixed threshold are different
def clopper_pearson(counts: Counts, delta: float, level: float) -> float:
    """Lower bound on ε at ``level`` (the probability of being above the truth), from counts.

    >>> round(clopper_pearson(Counts(90, 10, 5, 95), 1e-5, 0.05), 4)
    1.988
    """
    slack, alpha = check.delta("delta", delta), check.open_unit("level", level)
    fnr = upper_limit(counts.false_negatives, counts.members, alpha / 2)
    fpr = upper_limit(counts.false_positives, counts.nonmembers, alpha / 2)
    return math.log(max(1.0, (1 - fnr - slack) / fpr, (1 - fpr - slack) / fnr))


def _bound(
    misses: FloatArray, members: int, alarms: FloatArray, nonmembers: int, delta: float, level: float
) -> FloatArray:
    """`clopper_pearson` at every threshold."""
    fnr, fpr = upper_rate(misses, members, level / 2), upper_rate(alarms, nonmembers, level / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.maximum(0.0, np.stack([(1 - fnr - delta) / fpr, (1 - fpr - delta) / fnr])))
    best: FloatArray = np.maximum(0.0, logs.max(axis=0))
    return best


def _above(side: FloatArray, thresholds: FloatArray) -> FloatArray:
    above: FloatArray = side.size - np.searchsorted(np.sort(side), thresholds, side="right").astype(np.float64)
    return above
