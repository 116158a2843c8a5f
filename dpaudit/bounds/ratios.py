"""The ratio bounds of TensorFlow Privacy's `EpsilonLowerBound`, as estimates, for people who compare.

Each is the lower end of an asymptotic interval for ln(TPR / FPR) at δ = 0, and of the mirrored ln(TNR / FNR). They are
approximations that fail where counts are small, and TensorFlow Privacy takes the largest over all thresholds without
paying for it, so none of them is a confidence bound.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from scipy.special import ndtri

from dpaudit.bounds.choosing import Fixed
from dpaudit.bounds.lower_bound import Estimate
from dpaudit.bounds.trial_counts import Counts, count_outcomes
from dpaudit.runtime import check
from dpaudit.scores.scores import Scores


@dataclass(frozen=True)
class Ratio:
    """A ratio estimate of TensorFlow Privacy at one fixed threshold; it carries no guarantee.

    >>> import numpy as np
    >>> scores = Scores(np.repeat([1.0, -1.0], [90, 10]), np.repeat([-1.0, 1.0], [95, 5]))
    >>> round(Ratio(Fixed(0.0), "katz-log")(scores, confidence=0.95).epsilon, 4)
    2.1713
    """

    selection: Fixed
    method: str

    def __post_init__(self) -> None:
        check.one_of("method", self.method, tuple(RATIOS))

    def __call__(self, scores: Scores, *, confidence: float) -> Estimate:
        """The estimate at δ = 0."""
        figure = ratio(count_outcomes(scores, self.selection.threshold), 1 - confidence, self.method)
        return Estimate(max(0.0, figure), 0.0, self.method, "asymptotic, without a guarantee; δ = 0 only")


def ratio(counts: Counts, level: float, method: str) -> float:
    """Nominal lower end for the larger of ln(TPR / FPR) and ln(TNR / FNR); may be negative.

    >>> round(ratio(Counts(90, 10, 5, 95), 0.05, "bailey"), 4)
    2.2449
    """
    formula = RATIOS[check.one_of("method", method, tuple(RATIOS))]
    z = -float(ndtri(check.open_unit("level", level)))
    forward = formula(counts.true_positives, counts.members, counts.false_positives, counts.nonmembers, z)
    backward = formula(counts.true_negatives, counts.nonmembers, counts.false_negatives, counts.members, z)
    return max(forward, backward)


def katz_log(x: float, n: int, y: float, m: int, z: float) -> float:
    """Delta method on the logarithm, Katz et al. (1978), Biometrics 34."""
    x, y = _not_both_full(x, n, y, m)
    if x == 0:
        return -math.inf
    y = y or 0.5
    return _log_ratio(x, n, y, m) - z * math.sqrt((1 - x / n) / x + (1 - y / m) / y)


def adjusted_log(x: float, n: int, y: float, m: int, z: float) -> float:
    """A half added to every count, Walter (1975), Biometrika 62."""
    x, y = _not_both_full(x, n, y, m)
    if x == y == 0:
        return -math.inf
    x, y = x + 0.5, y + 0.5
    spread = math.sqrt(1 / x - 1 / (n + 0.5) + 1 / y - 1 / (m + 0.5))
    return math.log(x / (n + 0.5)) - math.log(y / (m + 0.5)) - z * spread


def bailey(x: float, n: int, y: float, m: int, z: float) -> float:
    """Cube root of the ratio, Bailey (1987), Biometrics 43."""
    x, y = min(x, n - 0.5), min(y or 0.5, m - 0.5)
    if x == 0:
        return -math.inf
    p, q = (1 - x / n) / x, (1 - y / m) / y
    root = max(0.0, p + q - z**2 * p * q / 9)
    upper, lower = 1 - z / 3 * math.sqrt(root), 1 - z**2 * q / 9
    return _log_ratio(x, n, y, m) + 3 * math.log(upper / lower) if upper / lower > 0 else -math.inf


def inverse_sinh(x: float, n: int, y: float, m: int, z: float) -> float:
    """Inverse hyperbolic sine, Newcombe (2001), The American Statistician 55."""
    x, y = _not_both_full(x, n, y, m)
    if x == 0:
        return -math.inf
    y = y or z**2
    return _log_ratio(x, n, y, m) - 2 * math.asinh(z / 2 * math.sqrt(max(0.0, 1 / x - 1 / n + 1 / y - 1 / m)))


RATIOS: Mapping[str, Callable[[float, int, float, int, float], float]] = MappingProxyType(
    {"katz-log": katz_log, "adjusted-log": adjusted_log, "bailey": bailey, "inv-sinh": inverse_sinh}
)


def _not_both_full(x: float, n: int, y: float, m: int) -> tuple[float, float]:
    return (n - 0.5, m - 0.5) if x == n and y == m else (x, y)


def _log_ratio(x: float, n: int, y: float, m: int) -> float:
    return math.log(x / n) - math.log(y / m)
