"""Many runs with many random canaries each: intervals that use how weakly the canaries of a run depend on each other.

`Pillutla et al. (2023) <https://arxiv.org/abs/2305.18447>`_, "lifted" differential privacy: n runs, k canaries drawn
independently from one distribution, x[i, j] = 1 when the test of run i says that canary j is in. The canaries of a run
are exchangeable, so the variance of a run's mean follows from the second moment E[x₁ x₂], which is itself bounded from
the data. The intervals are asymptotic in n (Wilson's), and say so; the exact alternative is one test per run.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from dpaudit import _check
from dpaudit._check import FloatArray
from dpaudit.claim import Adjacency, Unit
from dpaudit.errors import InputError
from dpaudit.evidence import LowerBound

ASSUMPTIONS = (
    "runs are independent of each other, canaries are drawn independently from one distribution",
    "false positives come from fresh canaries tested on runs that hold the other canaries",
    "asymptotic in the number of runs: the interval is Wilson's, not exact",
    "the test was fixed before the runs it is judged on",
)


@dataclass(frozen=True)
class MultiCanary:
    """Lower bound from many runs with many canaries each, after Pillutla et al. (2023); asymptotic in the runs.

    >>> rng = np.random.default_rng(0)
    >>> hits, alarms = rng.random((1000, 16)) < 0.5, rng.random((1000, 16)) < 0.1
    >>> bound = MultiCanary()(hits, alarms, delta=1e-5, confidence=0.95, adjacency="add-remove", unit="record")
    >>> round(bound.epsilon, 2)
    1.5
    """

    def __call__(
        self, hits: object, alarms: object, *, delta: float, confidence: float, adjacency: Adjacency, unit: Unit
    ) -> LowerBound:
        """Lower bound from tests of shape (runs, canaries): on canaries that were in, and on fresh ones."""
        slack, level = _check.delta("delta", delta), 1 - _check.open_unit("confidence", confidence)
        inside, outside = _tests("hits", hits), _tests("alarms", alarms)
        tpr = 1 - upper_mean(1 - inside, level / 2)
        return LowerBound(
            epsilon=_epsilon(tpr, upper_mean(outside, level / 2), slack),
            delta=slack,
            confidence=confidence,
            method="multi-canary",
            adjacency=adjacency,
            unit=unit,
            assumptions=ASSUMPTIONS,
            ceiling=_epsilon(
                1 - upper_mean(np.zeros_like(inside), level / 2), upper_mean(np.zeros_like(outside), level / 2), slack
            ),
            trials=inside.shape[0] + outside.shape[0],
        )


def upper_mean(x: FloatArray, level: float) -> float:
    """Upper limit of the mean of exchangeable 0/1 entries, shape (runs, canaries): second-order Wilson interval.

    Half of the level bounds the second moment, half the mean; with one canary it is the plain Wilson interval.
    """
    return _mean_limit(x, level, upper=True)


def lower_mean(x: FloatArray, level: float) -> float:
    """Lower limit of the mean, as `upper_mean`."""
    return _mean_limit(x, level, upper=False)


def _mean_limit(x: FloatArray, level: float, *, upper: bool) -> float:
    runs, canaries = x.shape
    means = x.mean(axis=1)
    if canaries == 1:
        return _wilson(float(means.mean()), runs, level, upper=upper)
    z = -float(ndtri(level / 2))
    pairs = means * (canaries * means - 1) / (canaries - 1)
    second = _wilson(max(0.0, float(pairs.mean())), runs, level / 2, upper=True)
    mean = float(means.mean())
    # (m - μ)² = z²/n (μ/k + (k-1)/k μ₂ - μ²), solved for μ.
    a = runs + z**2
    b = 2 * runs * mean + z**2 / canaries
    c = runs * mean**2 - z**2 * (canaries - 1) / canaries * second
    root = math.sqrt(max(0.0, b * b - 4 * a * c))
    return float(np.clip((b + root if upper else b - root) / (2 * a), 0.0, 1.0))


def _wilson(mean: float, trials: int, level: float, *, upper: bool) -> float:
    z = -float(ndtri(level))
    centre = mean + z**2 / (2 * trials)
    spread = z * math.sqrt(mean * (1 - mean) / trials + z**2 / (4 * trials**2))
    return float(np.clip((centre + spread if upper else centre - spread) / (1 + z**2 / trials), 0.0, 1.0))


def _epsilon(tpr: float, fpr: float, delta: float) -> float:
    return max(0.0, math.log((tpr - delta) / fpr)) if tpr > delta and fpr > 0 else 0.0


def _tests(name: str, values: object) -> FloatArray:
    x = _check.finite(name, values, ndim=2)
    if x.shape[0] < 2 or x.shape[1] < 1 or not np.isin(x, (0.0, 1.0)).all():
        raise InputError(f"{name} must be 0/1 of shape (runs ≥ 2, canaries ≥ 1), got shape {x.shape}.")
    return x
