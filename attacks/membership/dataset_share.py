"""How much of a data set was trained on? `Tong et al. (2025) <https://openreview.net/forum?id=EUSkm2sVJ6>`_, DUCI."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError


@dataclass(frozen=True)
class Share:
    """Estimated share of a data set that a model was trained on.

    Args:
        share: the estimate; unbiased, so it may lie a little outside [0, 1].
        low: lower end of the interval.
        high: upper end.
        confidence: of the interval (normal approximation; the records are taken as independent).
    """

    share: float
    low: float
    high: float
    confidence: float


def dataset_share(
    scores: object, reference_scores: object, reference_member: object, *, threshold: float, confidence: float = 0.95
) -> Share:
    """Share = (called - FPR) / (TPR - FPR), with both rates from a reference model of known training data.

    Args:
        scores: of the records in question under the target, shape (records,).
        reference_scores: the same attack's scores under a reference model in place of the target, shape (records,).
        reference_member: which of those the reference was trained on, shape (records,).
        threshold: at and above it a record is called a member; fixed beforehand, for example on the reference.
        confidence: of the interval.

    Raises:
        InputError: the attack does not tell members from non-members at this threshold (TPR ≤ FPR).

    >>> dataset_share([1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], threshold=0.5).share
    0.5
    """
    values = check.vector("scores", scores)
    known = check.vector("reference scores", reference_scores)
    member = check.flags("reference membership", reference_member, length=known.size)
    if member.all() or not member.any():
        raise InputError("the reference needs members and non-members among the records.")
    cut = check.number("threshold", threshold)
    tpr, fpr = float(np.mean(known[member] >= cut)), float(np.mean(known[~member] >= cut))
    if tpr <= fpr:
        raise InputError(f"at threshold {cut:g} the attack has TPR {tpr:.3g} and FPR {fpr:.3g}; it cannot count.")
    called = float(np.mean(values >= cut))
    share = (called - fpr) / (tpr - fpr)
    # Delta method: the three observed rates are independent binomials.
    variance = (
        called * (1 - called) / values.size
        + (share**2) * tpr * (1 - tpr) / member.sum()
        + ((1 - share) ** 2) * fpr * (1 - fpr) / (~member).sum()
    ) / (tpr - fpr) ** 2
    half = float(norm.ppf(1 - (1 - check.open_unit("confidence", confidence)) / 2)) * math.sqrt(variance)
    return Share(share, share - half, share + half, confidence)
