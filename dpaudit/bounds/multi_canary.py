"""Many runs with many random canaries each: intervals that use how weakly the canaries of a run depend on each other.

`Pillutla et al. (2023) <https://arxiv.org/abs/2305.18447>`_, "lifted" differential privacy: n runs, k canaries drawn
independently from one distribution, x[i, j] = 1 when the test of run i says that canary j is in. The canaries of a run
are exchangeable, so the variance of a run's mean follows from the second moment E[x₁ x₂], which is itself bounded from
the data: by Wilson's interval as if it were a rate (second order), or with the variance that follows from the third and
fourth moments (fourth order). The intervals are asymptotic in n and say so; the exact alternative is one test per run.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtri

from dpaudit.accounting.claim import Adjacency, Unit
from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError

Order = Literal[2, 4]
ASSUMPTIONS = (
    "runs are independent of each other, canaries are drawn independently from one distribution",
    "false positives come from fresh canaries tested on runs that hold the other canaries",
    "asymptotic in the number of runs: the interval is Wilson's, not exact",
    "the test was fixed before the runs it is judged on",
)


@dataclass(frozen=True)
class MultiCanary:
    """Lower bound from many runs with many canaries each, after Pillutla et al. (2023); asymptotic in the runs.

    Args:
        order: 2 bounds the second moment; 4 also the third and fourth, which pays where rates are small and runs many.

    >>> rng = np.random.default_rng(0)
    >>> hits, alarms = rng.random((1000, 16)) < 0.5, rng.random((1000, 16)) < 0.1
    >>> bound = MultiCanary()(hits, alarms, delta=1e-5, confidence=0.95, adjacency="add-remove", unit="record")
    >>> round(bound.epsilon, 2)
    1.5
    """

    order: Order = 2

    def __post_init__(self) -> None:
        if self.order not in (2, 4):
            raise InputError(f"order must be 2 or 4, got {self.order!r}.")

    def __call__(
        self, hits: object, alarms: object, *, delta: float, confidence: float, adjacency: Adjacency, unit: Unit
    ) -> LowerBound:
        """Lower bound from tests of shape (runs, canaries): on canaries that were in, and on fresh ones."""
        slack, level = check.delta("delta", delta), 1 - check.open_unit("confidence", confidence)
        inside, outside = _tests("hits", hits), _tests("alarms", alarms)
        tpr = 1 - upper_mean(1 - inside, level / 2, self.order)
        fpr = upper_mean(outside, level / 2, self.order)
        perfect = [upper_mean(np.zeros_like(side), level / 2, self.order) for side in (inside, outside)]
        return LowerBound(
            epsilon=_epsilon(tpr, fpr, slack),
            delta=slack,
            confidence=confidence,
            method="multi-canary",
            adjacency=adjacency,
            unit=unit,
            assumptions=ASSUMPTIONS,
            ceiling=_epsilon(1 - perfect[0], perfect[1], slack),
            trials=inside.shape[0] + outside.shape[0],
        )


def upper_mean(x: FloatArray, level: float, order: Order = 2) -> float:
    """Upper limit of the mean of exchangeable 0/1 entries, shape (runs, canaries), by Wilson's interval.

    The mean and the moments up to the order share the level equally; with one canary it is the plain interval.
    """
    runs, k = x.shape
    if order == 4 and k < 4:
        raise InputError(f"order 4 needs at least 4 canaries a run, got {k}.")
    moments = _moments(x, min(order, k))
    share = level / len(moments)
    if k == 1:
        return _limit(moments[0], runs, share)
    if order == 4:
        third, fourth = (_limit(moment, runs, share) for moment in moments[2:])
        # Variance of a run's mean over pairs: two pairs are the same, share one canary, or share none.
        alike, one, none = 2 / (k * (k - 1)), 4 * (k - 2) / (k * (k - 1)), (k - 2) * (k - 3) / (k * (k - 1))
        second = _limit(moments[1], runs, share, linear=alike, constant=one * third + none * fourth)
    else:
        second = _limit(moments[1], runs, share)
    return _limit(moments[0], runs, share, linear=1 / k, constant=(k - 1) / k * second)


def _moments(x: FloatArray, order: int) -> list[float]:
    """E[x₁], E[x₁ x₂], ... up to the order, each from all tuples of different canaries of a run."""
    canaries = x.shape[1]
    falling, moments = np.ones(x.shape[0]), []
    for taken in range(order):
        falling = falling * (x.sum(axis=1) - taken) / (canaries - taken)
        moments.append(float(falling.mean()))
    return moments


def _limit(mean: float, runs: int, level: float, *, linear: float = 1.0, constant: float = 0.0) -> float:
    """Wilson's upper limit of a mean μ of runs with variance linear · μ + constant - μ²: (m - μ)² = z²/n · variance."""
    z = -float(ndtri(level))
    a = runs + z**2
    b = 2 * runs * mean + z**2 * linear
    c = runs * mean**2 - z**2 * constant
    root = math.sqrt(max(0.0, b * b - 4 * a * c))
    return float(np.clip((b + root) / (2 * a), 0.0, 1.0))


def _epsilon(tpr: float, fpr: float, delta: float) -> float:
    return max(0.0, math.log((tpr - delta) / fpr)) if tpr > delta and fpr > 0 else 0.0


def _tests(name: str, values: object) -> FloatArray:
    x = check.finite(name, values, ndim=2)
    if x.shape[0] < 2 or x.shape[1] < 1 or not np.isin(x, (0.0, 1.0)).all():
        raise InputError(f"{name} must be 0/1 of shape (runs ≥ 2, canaries ≥ 1), got shape {x.shape}.")
    return x
