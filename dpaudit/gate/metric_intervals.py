"""Metrics read off a result with an interval at any confidence, so that a gate can hold one error level over many.

Every edge is one-sided: the true value lies below ``low`` with probability at most ``tail``, and above ``high`` with
probability at most ``tail``. Records are taken as independent, which records scored by one model are not quite.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpaudit.results.membership import AttackResult
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.intervals import lower_rate, upper_rate

ROUNDING = 5e-7  # a result's curves are rounded to six decimals


@dataclass(frozen=True)
class Interval:
    """A measured value between its edges.

    Args:
        value: what was measured.
        low: lower edge.
        high: upper edge.
        tail: probability, for each edge, that the true value lies beyond it.
    """

    value: float
    low: float
    high: float
    tail: float

    def minus(self, other: "Interval") -> "Interval":
        """Interval of the difference of two independent measurements, of the same tails.

        The method of variance estimates recovery of `Zou and Donner (2008) <https://doi.org/10.1002/sim.3095>`_, for
        proportions the hybrid score interval of Newcombe (1998): it keeps the asymmetry of both intervals.

        >>> Interval(0.6, 0.5, 0.7, 0.05).minus(Interval(0.5, 0.5, 0.5, 0.05)).low
        0.0
        """
        value = self.value - other.value
        below = math.hypot(self.value - self.low, other.high - other.value)
        above = math.hypot(self.high - self.value, other.value - other.low)
        return Interval(value, round(value - below, 12), round(value + above, 12), self.tail)


def auc_interval(attack: AttackResult, *, tail: float) -> Interval:
    """Area under the ROC curve: DeLong's standard error on the logit scale.

    The normal approximation has no width where the curve is perfect; there the edge is exact: with every member above
    every non-member, a pair in the wrong order has a probability above 1 - tail^(1/n) with probability at most tail.
    """
    from scipy.stats import norm

    level, m, n = _sound(attack, tail)
    value = check.probability(f"AUC of {attack.attack!r}", attack.auc)
    error = check.nonnegative(f"standard error of the AUC of {attack.attack!r}", attack.auc_standard_error)
    perfect = level ** (1 / min(m, n))
    if value == 1:
        return Interval(value, perfect, 1.0, level)
    if value == 0:
        return Interval(value, 0.0, 1 - perfect, level)
    reach = float(norm.isf(level)) * error / (value * (1 - value))
    logit = math.log(value / (1 - value))
    return Interval(value, _expit(logit - reach), _expit(logit + reach), level)


def advantage_interval(attack: AttackResult, *, tail: float) -> Interval:
    """Largest TPR - FPR of any threshold, by Massart's form of the Dvoretzky-Kiefer-Wolfowitz inequality.

    It holds whatever threshold was found best, because it holds for all at once (Massart 1990).
    """
    level, m, n = _sound(attack, tail)
    value = check.probability(f"advantage of {attack.attack!r}", attack.advantage)
    reach = sum(math.sqrt(math.log(2 / level) / (2 * size)) for size in (m, n))
    return Interval(value, max(0.0, value - reach), min(1.0, value + reach), level)


def tpr_interval(attack: AttackResult, fpr: float, *, tail: float) -> Interval:
    """True-positive rate at a *true* false-positive rate, not at the one that happened to be seen.

    Half of the tail pays for the threshold: the lower edge is read at a threshold whose true rate is at most ``fpr``
    (an order statistic of the non-members, exact for every distribution), the upper edge at one whose true rate is at
    least ``fpr``. The other half pays for the members above it (Clopper and Pearson 1934).
    """
    from scipy.stats import binom

    level, m, n = _sound(attack, tail)
    xs, ys = _curve(attack)
    half = level / 2
    seen = next((at for at in attack.tpr_at_fpr if at.fpr == fpr), None)
    value = _at(xs, ys, fpr) if seen is None else check.probability("TPR", seen.tpr)
    # binom.ppf(q) is the smallest k with P(X <= k) >= q, so P(X <= k - 1) < q.
    fewest = int(binom.ppf(half, n, fpr)) - 1
    most = int(binom.isf(half, n, fpr)) + 1
    low, high = 0.0, 1.0
    inside = np.floor((xs + ROUNDING) * n + 1e-9) <= fewest
    if fewest >= 0 and inside.any():
        hits = math.ceil((float(ys[inside][-1]) - ROUNDING) * m - 1e-9)
        low = float(lower_rate(max(hits, 0), m, half))
    outside = np.ceil((xs - ROUNDING) * n - 1e-9) >= most
    if outside.any():
        # The last point of the first such rate: its threshold lies just above a non-member.
        rate = xs[outside][0]
        hits = math.floor((float(ys[xs == rate][-1]) + ROUNDING) * m + 1e-9)
        high = float(upper_rate(min(hits, m), m, half))
    # A value read off a handful of records can lie beyond an edge read elsewhere on the curve; the edges decide.
    return Interval(min(max(value, low), high), low, high, level)


def success_interval(successes: int, trials: int, *, tail: float) -> Interval:
    """Share of records an attacker reconstructs, of as many independent trials (Clopper and Pearson 1934).

    >>> round(success_interval(0, 10, tail=0.05).high, 4)
    0.2589
    """
    level = check.open_unit("tail", tail)
    low, high = float(lower_rate(successes, trials, level)), float(upper_rate(successes, trials, level))
    return Interval(successes / trials, round(low, 12), round(high, 12), level)


def metric_interval(attack: AttackResult, metric: tuple[str, float | None], *, tail: float) -> Interval:
    """A metric by its parsed name."""
    match metric:
        case ("tpr", float(fpr)):
            return tpr_interval(attack, fpr, tail=tail)
        case ("auc", None):
            return auc_interval(attack, tail=tail)
        case ("advantage", None):
            return advantage_interval(attack, tail=tail)
    raise InputError(f"the metric {metric!r} is not known.")


def _sound(attack: AttackResult, tail: float) -> tuple[float, int, int]:
    name = f"of attack {attack.attack!r}"
    level = check.open_unit("tail", tail)
    if level >= 0.5:
        raise InputError(f"tail must be below 0.5, got {tail!r}.")
    members = check.integer(f"members {name}", attack.members, at_least=1)
    return level, members, check.integer(f"nonmembers {name}", attack.nonmembers, at_least=1)


def _curve(attack: AttackResult) -> tuple[FloatArray, FloatArray]:
    """The curve's points, checked: a result may come from anywhere."""
    name = f"curve of attack {attack.attack!r}"
    xs = check.vector(f"false-positive rates in the {name}", attack.curve.fpr)
    ys = check.vector(f"true-positive rates in the {name}", attack.curve.tpr, length=xs.size)
    for what, values in (("false", xs), ("true", ys)):
        if values.min() < 0 or values.max() > 1 or (np.diff(values) < 0).any():
            raise InputError(f"{what}-positive rates in the {name} must rise from 0 to 1.")
    if xs[-1] != 1 or ys[-1] != 1:
        raise InputError(f"the {name} must end at (1, 1), it ends at ({xs[-1]:g}, {ys[-1]:g}).")
    return xs, ys


def _at(xs: FloatArray, ys: FloatArray, x: float) -> float:
    row = int(np.searchsorted(xs, x, side="right")) - 1
    return float(ys[row]) if row >= 0 else 0.0


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def widest_interval(intervals: Sequence[Interval]) -> Interval:
    """The largest value with the largest edges: a ceiling on every one of them."""
    return Interval(
        max(each.value for each in intervals),
        max(each.low for each in intervals),
        max(each.high for each in intervals),
        sum(each.tail for each in intervals),
    )
