"""The ROC curve of an attack, with ties taken as one step and exact intervals where they are read off."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.intervals import interval
from dpaudit.scores.scores import Scores

# With fewer expected false positives than this, a TPR at that FPR is read off a handful of records.
MEASURABLE = 10


def nonmembers_needed(fpr: float) -> int:
    """Fewest non-members that can show a false-positive rate.

    A new non-member lies above the highest of n of them with probability 1 / (n + 1), whatever their distribution: no
    threshold among them stands for a smaller rate.

    >>> nonmembers_needed(0.0001)
    9999
    """
    return math.ceil(1 / check.open_unit("fpr", fpr) - 1e-9) - 1


@dataclass(frozen=True)
class TprAtFpr:
    """The highest TPR an attack reaches while its expected FPR stays at or below ``fpr``.

    A threshold just above the (k + 1)-th highest of n non-members calls k of them members. A new one lies above it with
    probability (k + 1) / (n + 1) on average, and that, not k / n, is the rate the threshold stands for.

    Args:
        fpr: the false-positive rate allowed.
        tpr: share of members called members there; 0 with fewer than `nonmembers_needed`, where nobody is.
        low: lower end of the exact interval (Clopper and Pearson 1934) on the TPR at that threshold.
        high: upper end.
        confidence: of the interval, two-sided; it takes the threshold as given.
        threshold: score at and above which records are called members; infinite when none is.
        true_positives: members called members.
        false_positives: non-members called members.
        measurable: whether at least ten non-members are expected above the threshold (n ≥ 10 / fpr).
    """

    fpr: float
    tpr: float
    low: float
    high: float
    confidence: float
    threshold: float
    true_positives: int
    false_positives: int
    measurable: bool


@dataclass(frozen=True)
class Roc:
    """True-positive rate against false-positive rate, one point per distinct score (the ends of tie blocks).

    Args:
        fpr: shape (points,), from 0 to 1.
        tpr: shape (points,), from 0 to 1.
        thresholds: shape (points,); records scored at or above are called members. The first is infinite.
        members: number of members.
        nonmembers: number of non-members.

    >>> roc = Roc.of(Scores([3.0, 2.0, 2.0], [2.0, 1.0]))
    >>> roc.fpr, roc.tpr.round(3)
    (array([0. , 0. , 0.5, 1. ]), array([0.   , 0.333, 1.   , 1.   ]))
    """

    fpr: FloatArray
    tpr: FloatArray
    thresholds: FloatArray
    members: int
    nonmembers: int

    @classmethod
    def of(cls, scores: Scores) -> "Roc":
        """The curve of an attack's scores."""
        order = np.argsort(scores.values, kind="stable")[::-1]
        values, truth = scores.values[order], scores.truth[order]
        ends: IntArray = np.append(np.flatnonzero(np.diff(values)), values.size - 1)
        true_positives = np.cumsum(truth)[ends]
        return cls(
            fpr=np.append(0.0, (ends + 1 - true_positives) / scores.nonmember.size),
            tpr=np.append(0.0, true_positives / scores.member.size),
            thresholds=np.append(np.inf, values[ends]),
            members=scores.member.size,
            nonmembers=scores.nonmember.size,
        )

    @cached_property
    def auc(self) -> float:
        """Area under the curve: how often a member outscores a non-member, ties counted half.

        >>> Roc.of(Scores([3.0, 2.0], [2.0, 1.0])).auc
        0.875
        """
        return float(np.sum(np.diff(self.fpr) * (self.tpr[1:] + self.tpr[:-1]) / 2))

    @cached_property
    def advantage(self) -> float:
        """Largest TPR - FPR (Yeom et al. 2018), in [0, 1]."""
        return float(np.max(self.tpr - self.fpr))

    @property
    def fpr_floor(self) -> float:
        """The smallest false-positive rate above 0 that this many non-members show on the curve."""
        return 1 / self.nonmembers

    def tpr_at(self, fpr: float, *, confidence: float = 0.95) -> TprAtFpr:
        """TPR where the expected FPR is at most ``fpr``, with its exact interval.

        >>> at = Roc.of(Scores([3.0, 2.0, 2.0], [2.0, 1.0])).tpr_at(0.4)
        >>> at.true_positives, at.false_positives, at.measurable
        (1, 0, False)
        """
        allowed = check.probability("fpr", fpr)
        point = self._point(allowed_false_positives(allowed, self.nonmembers))
        hits = round(float(self.tpr[point]) * self.members)
        low, high = interval(hits, self.members, confidence)
        return TprAtFpr(
            fpr=allowed,
            tpr=float(self.tpr[point]),
            low=float(low),
            high=float(high),
            confidence=confidence,
            threshold=float(self.thresholds[point]),
            true_positives=hits,
            false_positives=round(float(self.fpr[point]) * self.nonmembers),
            measurable=allowed > 0 and self.nonmembers * allowed >= MEASURABLE * (1 - 1e-12),
        )

    def expected_tpr_at(self, fpr: float) -> float | None:
        """TPR where the expected FPR is ``fpr`` itself, as a mean over targets needs it; None when too small.

        The attacker draws between the two thresholds whose expected rates lie on either side of it.

        >>> roc = Roc.of(Scores([3.0, 2.0, 0.0], [1.0]))
        >>> roc.expected_tpr_at(0.5), roc.expected_tpr_at(0.75), roc.expected_tpr_at(0.1)
        (0.6666666666666666, 0.8333333333333333, None)
        """
        return expected_tpr(fpr, self.nonmembers, lambda count: float(self.tpr[self._point(count)]))

    def _point(self, false_positives: int) -> int:
        """The last point of the curve with at most so many false positives; the first (no record called) for -1."""
        most = (false_positives + 0.5) / self.nonmembers
        return max(0, int(np.searchsorted(self.fpr, most, side="right")) - 1)

    def band(self, points: IntArray | None = None, *, confidence: float = 0.95) -> tuple[FloatArray, FloatArray]:
        """Pointwise exact interval of the TPR at some points of the curve, all by default, for drawing: (low, high)."""
        tpr = self.tpr if points is None else self.tpr[points]
        return interval(np.rint(tpr * self.members), self.members, confidence)


def expected_tpr(fpr: float, nonmembers: int, tpr_with: Callable[[int], float]) -> float | None:
    """TPR where the expected FPR is ``fpr`` itself, from the largest TPR with at most so many false positives."""
    if nonmembers < nonmembers_needed(fpr):
        return None
    fewer = allowed_false_positives(fpr, nonmembers)
    more = min(fewer + 1, nonmembers)
    share = min(1.0, max(0.0, fpr * (nonmembers + 1) - (fewer + 1)))
    low, high = tpr_with(fewer), tpr_with(more)
    return low + share * (high - low)


def allowed_false_positives(fpr: float, nonmembers: int) -> int:
    """Most false positives for which the expected rate stays at or below ``fpr``; -1 when no threshold does."""
    return math.floor(fpr * (nonmembers + 1) * (1 + 1e-12)) - 1


def auc_standard_error(scores: Scores) -> float:
    """Standard error of the AUC over records (`DeLong et al. (1988) <https://doi.org/10.2307/2531595>`_).

    It takes the records as independent, which records scored by one and the same model are not quite.

    Raises:
        InputError: fewer than two records on a side.

    >>> round(auc_standard_error(Scores([3.0, 2.0, 0.0], [2.0, 1.0])), 4)
    0.3118
    """
    m, n = scores.member.size, scores.nonmember.size
    if min(m, n) < 2:
        raise InputError(f"a standard error needs 2 members and 2 non-members, got {m} and {n}.")
    inside, outside = np.sort(scores.member), np.sort(scores.nonmember)  # in order, a million are found 10 times faster
    wins = _share_below(outside, inside)
    losses = 1 - _share_below(inside, outside)
    return math.sqrt(float(np.var(wins, ddof=1)) / m + float(np.var(losses, ddof=1)) / n)


def _share_below(ordered: FloatArray, values: FloatArray) -> FloatArray:
    """Share of ``ordered`` below each value, ties counted half."""
    left = np.searchsorted(ordered, values, side="left")
    share: FloatArray = (left + np.searchsorted(ordered, values, side="right")) / (2 * ordered.size)
    return share
