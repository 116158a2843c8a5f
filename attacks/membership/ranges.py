"""Was anything from this range trained on? `Tao and Shokri (2024) <https://arxiv.org/abs/2408.05131>`_."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.roc import Roc
from dpaudit.scores.scores import Scores


@dataclass(frozen=True)
class RangeScore:
    """Mean of the record scores of samples from a range, its lowest and highest ones cut off.

    Args:
        low: share of the lowest scores left out: samples that are not the member itself.
        high: share of the highest scores left out.

    >>> RangeScore(low=0.5)(np.array([[0.0, 1.0, 5.0, 7.0]]))
    array([6.])
    """

    low: float = 0.0
    high: float = 0.0

    def __post_init__(self) -> None:
        low, high = check.probability("low", self.low), check.probability("high", self.high)
        if low + high >= 1:
            raise InputError(f"low and high must leave something over, got {low:g} + {high:g}.")

    def __call__(self, scores: object) -> FloatArray:
        """Scores (ranges, samples) of any membership attack -> one score per range."""
        ordered = np.sort(check.finite("scores", scores, ndim=2), axis=1)
        samples = ordered.shape[1]
        kept = ordered[:, int(self.low * samples) : samples - int(self.high * samples)]
        if not kept.shape[1]:
            raise InputError(f"{samples} samples per range are too few for these cut-offs.")
        mean: FloatArray = kept.mean(axis=1)
        return mean


def tune_cuts(
    reference_scores: object, member: object, *, cuts: Sequence[float] = (0.0, 0.25, 0.5, 0.75)
) -> RangeScore:
    """The cut-offs with the best AUC on a *reference* model, whose membership the attacker knows.

    Args:
        reference_scores: shape (ranges, samples), of a reference model. Never of the target.
        member: whether the range holds a record the reference was trained on, shape (ranges,).
        cuts: shares tried on either side.
    """
    candidates = [RangeScore(low=cut) for cut in cuts] + [RangeScore(high=cut) for cut in cuts if cut > 0]
    aucs = [Roc.of(Scores.join(candidate(reference_scores), member)).auc for candidate in candidates]
    return candidates[int(np.argmax(aucs))]
