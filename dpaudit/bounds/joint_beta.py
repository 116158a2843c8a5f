"""Bayesian interval for ε from counts of independent trainings.

`Zanella-Béguelin et al. (2023) <https://arxiv.org/abs/2206.05199>`_: with Jeffreys priors the error rates are
FNR ~ Beta(1/2 + FN, 1/2 + TP) and FPR ~ Beta(1/2 + FP, 1/2 + TN), and ε has the posterior distribution
P[ε' ≤ ε] = P[(FNR, FPR) inside the (ε, δ) region]. The interval is credible: on mechanisms of known ε its lower end
was above the truth in up to a fifth of the trials at a nominal twentieth.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import betainc, betaincinv, roots_legendre

from dpaudit.bounds.choosing import ThresholdSelection
from dpaudit.bounds.lower_bound import CredibleInterval
from dpaudit.bounds.trial_counts import Counts, threshold_counts
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.scores import Scores

NODES, WEIGHTS = ((roots_legendre(64)[0] + 1) / 2, roots_legendre(64)[1] / 2)
LARGEST = 100.0  # ε at which an upper end counts as infinite


@dataclass(frozen=True)
class JointBeta:
    """Credible interval of Zanella-Béguelin et al. (2023); not a confidence bound.

    >>> from dpaudit.bounds.choosing import Fixed
    >>> scores = Scores(np.repeat([1.0, -1.0], [90, 10]), np.repeat([-1.0, 1.0], [95, 5]))
    >>> round(JointBeta(Fixed(0.0))(scores, delta=1e-5, credibility=0.9).low, 2)
    2.29
    """

    selection: ThresholdSelection

    def __call__(self, scores: Scores, *, delta: float, credibility: float) -> CredibleInterval:
        """Equal-tailed credible interval for ε from scores of independent trials."""

        def advantage(part: Scores, thresholds: FloatArray) -> FloatArray:
            misses = np.searchsorted(np.sort(part.member), thresholds, side="right") / part.member.size
            rejections = np.searchsorted(np.sort(part.nonmember), thresholds, side="right") / part.nonmember.size
            return np.asarray(rejections - misses, np.float64)

        chosen = threshold_counts(scores, self.selection, advantage)
        if len(chosen.pieces) > 1:
            raise InputError("a credible interval needs one threshold; use Fixed or HeldOut.")
        return joint_beta(chosen.pieces[0], delta, credibility)


@lru_cache(maxsize=65536)  # few outcomes of a fixed threshold are different
def joint_beta(counts: Counts, delta: float, credibility: float) -> CredibleInterval:
    """Equal-tailed credible interval for ε from counts.

    >>> low = joint_beta(Counts(487, 0, 512, 1), 1e-5, 0.9).low
    >>> round(low, 3)
    0.144
    """
    slack, level = check.delta("delta", delta), 1 - check.open_unit("credibility", credibility)
    swapped = Counts(counts.false_negatives, counts.true_positives, counts.true_negatives, counts.false_positives)

    def above(figure: float) -> float:
        """Posterior probability that ε is above ``figure``."""
        return _below_the_region(counts, slack, figure) + _below_the_region(swapped, slack, figure)

    def quantile(probability: float) -> float:
        if above(0.0) <= 1 - probability:
            return 0.0
        low, high = 0.0, 1.0
        while above(high) > 1 - probability:
            low, high = high, 2 * high
            if low > LARGEST:
                return math.inf
        return float(brentq(lambda figure: above(figure) - (1 - probability), low, high, xtol=1e-9))

    return CredibleInterval(
        low=quantile(level / 2),
        high=quantile(1 - level / 2),
        delta=slack,
        credibility=credibility,
        method="joint-beta",
        prior="independent Jeffreys priors, Beta(1/2, 1/2), on the false-negative and the false-positive rate",
    )


def _below_the_region(counts: Counts, delta: float, figure: float) -> float:
    """Posterior probability that FPR is smaller than (ε, δ) allows at the FNR there is: below two straight lines.

    The integral over FNR is cut where the lines meet and where they end, and each part is carried to the quantiles of
    FNR, so that Gauss and Legendre meet no kink: 64 nodes a part leave an error below 1e-5 except at empty cells.
    """
    a, b = 0.5 + counts.false_negatives, 0.5 + counts.true_positives
    grow = math.exp(figure)
    corner, end = betainc(a, b, [(1 - delta) / (1 + grow), 1 - delta])
    fnr = betaincinv(a, b, np.concatenate([corner * NODES, corner + (end - corner) * NODES]))
    lowest = np.maximum(1 - delta - fnr * grow, (1 - delta - fnr) / grow)
    below = betainc(0.5 + counts.false_positives, 0.5 + counts.true_negatives, np.clip(lowest, 0, 1))
    return float(below @ np.concatenate([corner * WEIGHTS, (end - corner) * WEIGHTS]))
