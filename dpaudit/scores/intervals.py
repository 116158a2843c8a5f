"""Exact confidence limits for a rate, `Clopper and Pearson (1934) <https://doi.org/10.1093/biomet/26.4.404>`_.

And for a median, from the ranks alone.
"""

import numpy as np
from scipy.special import betaincinv

from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError


def lower_limit(hits: int, trials: int, level: float) -> float:
    """`lower_rate` of one count that is known to be right; an array costs ten times as much.

    >>> round(lower_limit(10, 10, 0.05), 4)
    0.7411
    """
    return 0.0 if hits <= 0 else float(betaincinv(hits, trials - hits + 1, level))


def upper_limit(hits: int, trials: int, level: float) -> float:
    """`upper_rate` of one count that is known to be right.

    >>> round(upper_limit(0, 10, 0.05), 4)
    0.2589
    """
    return 1.0 if hits >= trials else float(betaincinv(hits + 1, trials - hits, 1 - level))


def lower_rate(hits: object, trials: int, level: float) -> FloatArray:
    """One-sided lower limit at ``level`` of a rate that produced ``hits`` of ``trials``; 0 when there was none.

    >>> float(lower_rate(10, 10, 0.05).round(4))
    0.7411
    """
    k, n = _counts(hits, trials)
    alpha = check.open_unit("level", level)
    limits: FloatArray = np.where(k <= 0, 0.0, betaincinv(np.maximum(k, 1e-300), n - k + 1, alpha))
    return limits


def upper_rate(hits: object, trials: int, level: float) -> FloatArray:
    """One-sided upper limit at ``level``; 1 when every trial was a hit.

    >>> float(upper_rate(0, 10, 0.05).round(4))
    0.2589
    """
    k, n = _counts(hits, trials)
    alpha = check.open_unit("level", level)
    # 1 - betaincinv(..., alpha) of the misses would cancel for small rates.
    limits: FloatArray = np.where(k >= n, 1.0, betaincinv(k + 1, np.maximum(n - k, 1e-300), 1 - alpha))
    return limits


def interval(hits: object, trials: int, confidence: float) -> tuple[FloatArray, FloatArray]:
    """Two-sided limits with at least ``confidence``.

    >>> low, high = interval(5, 10, 0.95)
    >>> round(float(low), 4), round(float(high), 4)
    (0.1871, 0.8129)
    """
    tail = (1 - check.open_unit("confidence", confidence)) / 2
    return lower_rate(hits, trials, tail), upper_rate(hits, trials, tail)


def median_interval(values: object, confidence: float) -> tuple[float, float]:
    """Two-sided limits of a median with at least ``confidence``, whatever the distribution.

    They are two of the values: as many lie below the median as heads in fair coins. Infinite where there are too few
    values, fewer than six at 95 %.

    Args:
        values: independent draws, shape (n,); infinite ones are allowed.
        confidence: of the interval.

    >>> median_interval([3.0, 1.0, 2.0, 6.0, 5.0, 4.0], 0.95)
    (1.0, 6.0)
    >>> median_interval([3.0, 1.0, 2.0], 0.95)
    (-inf, inf)
    """
    from scipy.stats import binom

    tail = (1 - check.open_unit("confidence", confidence)) / 2
    ordered = np.sort(np.asarray(values, np.float64))
    if ordered.ndim != 1 or ordered.size == 0 or np.isnan(ordered).any():
        raise InputError(f"values must be numbers of shape (n,), at least one, got shape {ordered.shape}.")
    rank = int(binom.ppf(tail, ordered.size, 0.5))  # fewer than so many heads are rarer than the tail
    return (-np.inf, np.inf) if rank < 1 else (float(ordered[rank - 1]), float(ordered[-rank]))


def _counts(hits: object, trials: int) -> tuple[FloatArray, int]:
    n = check.integer("trials", trials, at_least=1)
    k = check.finite("hits", hits)
    bad = (k < 0) | (k > n) | (k != np.floor(k))
    if bad.any():
        first = k[bad].flat[0] if k.ndim else float(k)
        raise InputError(f"hits must be whole numbers from 0 to {n}, got {float(first):g}.")
    return k, n
