"""The logit-scaled confidence φ of a record from what a model says of it (`dpaudit.scores.signals`)."""

import numpy as np
from scipy.special import logsumexp

from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import InputError

# Below it a loss or a probability is a rounding to 0, not a measurement.
FLOOR = 1e-300
# Probabilities rounded to float16, or printed with three decimals, still sum to one within this.
SUM_TOLERANCE = 0.01


def logit_scaled_confidence(logits: FloatArray, labels: IntArray) -> FloatArray:
    """φ = z_y - logsumexp of the other logits, for logits (..., records, classes) and labels (records,).

    Raises:
        InputError: fewer than two classes.

    >>> logit_scaled_confidence(np.array([[3.0, 1.0]]), np.array([1]))
    array([-2.])
    """
    if logits.shape[-1] < 2:
        raise InputError(f"logits must have at least 2 classes, got shape {logits.shape}.")
    own = np.arange(logits.shape[-1]) == labels[:, None]
    true_class = np.take_along_axis(logits, np.broadcast_to(labels[:, None], (*logits.shape[:-1], 1)), axis=-1)[..., 0]
    others: FloatArray = logsumexp(np.where(own, -np.inf, logits), axis=-1)
    return np.asarray(true_class, np.float64) - others


def confidence_from_probabilities(probabilities: FloatArray, labels: IntArray) -> tuple[FloatArray, int]:
    """φ from probabilities (..., records, classes), and how many values were cut off at the floor.

    1 - p_y is taken as the sum of the others: the difference would round where the sum does not.

    Raises:
        InputError: a value outside [0, 1], or a record whose probabilities do not sum to 1 within 0.01.
    """
    in_unit_interval(probabilities)
    total = probabilities.sum(axis=-1)
    off = np.abs(total - 1) > SUM_TOLERANCE
    if off.any():
        raise InputError(
            f"probabilities must sum to 1 for each record; {int(off.sum())} of {off.size} do not, "
            f"one sums to {total[off][0]:g}. "
            + ("Rounded? Write more digits." if np.abs(total - 1).max() < 0.1 else "Logits, perhaps?")
        )
    own = np.arange(probabilities.shape[-1]) == labels[:, None]
    return log_odds(np.where(own, probabilities, 0.0).sum(axis=-1), np.where(own, 0.0, probabilities).sum(axis=-1))


def log_odds(right: FloatArray, wrong: FloatArray) -> tuple[FloatArray, int]:
    """log(right / wrong) of two probabilities, each cut off at the floor, and how many were."""
    floored = int(((right < FLOOR) | (wrong < FLOOR)).sum())
    odds: FloatArray = np.log(np.maximum(right, FLOOR)) - np.log(np.maximum(wrong, FLOOR))
    return odds, floored


def in_unit_interval(probabilities: FloatArray) -> None:
    """Refuse values that cannot be probabilities."""
    bad = (probabilities < 0) | (probabilities > 1)
    if bad.any():
        percent = probabilities.min() >= 0 and bool((np.abs(np.atleast_2d(probabilities).sum(axis=-1) - 100) < 5).all())
        hint = "These are percentages: divide them by 100." if percent else "Logits, perhaps?"
        raise InputError(
            f"probabilities must be in [0, 1]; {int(bad.sum())} of {bad.size} are not, one is "
            f"{probabilities[bad][0]:g}. {hint}"
        )
