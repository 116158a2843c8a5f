"""Trade-off curves: the best true-positive rate any test can reach at each false-positive rate."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray


@dataclass(frozen=True)
class TradeOff:
    """The best true-positive rate any test can reach at each false-positive rate ("trained on" is positive).

    Args:
        fpr: false-positive rates, increasing from 0 to 1, shape (points,).
        tpr: the true-positive rate at each, increasing to 1, shape (points,). Linear between the points.

    >>> round(gaussian_trade_off(1.0).tpr_at(0.05), 4)
    0.2595
    """

    fpr: FloatArray
    tpr: FloatArray

    def tpr_at(self, fpr: float) -> float:
        """Upper bound on the true-positive rate at a false-positive rate."""
        return float(np.interp(check.probability("fpr", fpr), self.fpr, self.tpr))

    def fpr_at(self, tpr: float) -> float:
        """Lower bound on the false-positive rate at a true-positive rate: the inverse of `tpr_at`."""
        level = check.probability("tpr", tpr)
        # Where the curve is flat the smallest false-positive rate counts, hence the first point that reaches the level.
        right = int(np.searchsorted(self.tpr, level, side="left"))
        if right == 0:
            return 0.0
        low, high = self.tpr[right - 1], self.tpr[min(right, self.tpr.size - 1)]
        left, end = self.fpr[right - 1], self.fpr[min(right, self.tpr.size - 1)]
        return float(left if high <= low else left + (end - left) * (level - low) / (high - low))

    @property
    def total_variation(self) -> float:
        """Largest advantage TPR - FPR of any test; it equals δ at ε = 0."""
        return float(np.max(self.tpr - self.fpr))

    def reconstruction(self, kappa: float) -> float:
        """γ(κ): bound on the success of any reconstruction whose prior alone succeeds with probability ``kappa``.

        `Hayes, Mahloujifar and Balle (2023) <https://arxiv.org/abs/2302.07225>`_; κ = 1 / M for M candidates.
        """
        return self.tpr_at(check.probability("kappa", kappa))

    def epsilon(self, delta: float) -> float:
        """Smallest ε with which the curve is (ε, δ)-differentially private in both directions."""
        slack = check.delta("delta", delta)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.concatenate(
                [(self.tpr - slack) / self.fpr, (1 - self.fpr - slack) / (1 - self.tpr)],
            )
        # 0 / 0 and negative / 0 are corners that restrict nothing.
        finite = ratios[~np.isnan(ratios)]
        largest = float(np.max(finite, initial=1.0))
        return math.inf if math.isinf(largest) else math.log(max(1.0, largest))

    def symmetric(self) -> "TradeOff":
        """The smallest concave curve above this one and its mirror image: what holds for in/out and for out/in."""
        points = np.concatenate([np.stack([self.fpr, self.tpr], 1), np.stack([1 - self.tpr, 1 - self.fpr], 1)])
        return concave(points[:, 0], points[:, 1])


def from_profile(epsilons: FloatArray, deltas: FloatArray) -> TradeOff:
    """The trade-off curve allowed by a list of (ε, δ) that hold together, each in both directions.

    >>> pure = from_profile(np.array([1.0]), np.array([0.0]))
    >>> bool(np.isclose(pure.total_variation, (np.e - 1) / (np.e + 1)))
    True
    """
    e = np.exp(check.vector("epsilons", epsilons))
    d = check.vector("deltas", deltas, length=e.size)
    # Every corner of the envelope is where two of its lines meet: the grid of neighbouring meetings, and their mirror.
    order = np.argsort(e)
    e, d = e[order], d[order]
    steep = np.diff(-d) / np.maximum(np.diff(e), 1e-300)
    middle = (1 - d) / (1 + e)
    x = np.unique(np.clip(np.concatenate([[0.0, 1.0], steep, middle, np.geomspace(1e-12, 1, 2001)]), 0, 1))
    y = np.ones_like(x)
    for growth, slack in zip(e, d, strict=True):
        y = np.minimum(y, np.minimum(growth * x + slack, 1 - np.maximum(0.0, 1 - slack - x) / growth))
    return TradeOff(x, np.maximum.accumulate(np.clip(y, x, 1)))


def gaussian_trade_off(mu: float) -> TradeOff:
    """The curve of telling N(0, 1) from N(μ, 1): μ-Gaussian differential privacy.

    `Dong, Roth and Su (2022) <https://arxiv.org/abs/1905.02383>`_.

    >>> round(gaussian_trade_off(1.0).total_variation, 4)
    0.3829
    """
    shift = check.nonnegative("mu", mu)
    thresholds = np.linspace(max(12.0, shift + 10), min(-10.0, shift - 12), 40_001)
    fpr = np.concatenate([[0.0], ndtr(-thresholds), [1.0]])
    return TradeOff(fpr, np.concatenate([[0.0], ndtr(shift - thresholds), [1.0]]))


def concave(x: FloatArray, y: FloatArray) -> TradeOff:
    """Upper concave hull of points: randomising between two tests is a test."""
    order = np.lexsort((y, x))
    x, y = x[order], np.maximum.accumulate(y[order])
    # What lies on or below any chord is not a corner of the hull. Long chords first: they clear whole valleys at once;
    # when the chords between next neighbours clear nothing more, only corners are left.
    size = 0
    while x.size != size:
        size = x.size
        for reach in 2 ** np.arange(math.floor(math.log2(max(1, (size - 1) // 2))), -1, -1):
            corner = np.ones(x.size, bool)
            run, rise = x[reach:] - x[:-reach], y[reach:] - y[:-reach]
            corner[reach:-reach] = rise[:-reach] * run[reach:] > rise[reach:] * run[:-reach]
            x, y = x[corner], y[corner]
    fpr, tpr = np.concatenate([[0.0], x, [1.0]]), np.concatenate([[y[0]], y, [1.0]])
    return TradeOff(fpr, np.maximum.accumulate(tpr))
