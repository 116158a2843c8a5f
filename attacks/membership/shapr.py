"""SHAPr memorisation score, `Duddu et al. (2022) <https://arxiv.org/abs/2112.02230>`_."""

import numpy as np
import numpy.typing as npt

from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError


def shapr(predictions: object, labels: object, test_predictions: object, test_labels: object) -> FloatArray:
    """How much each training record helps to predict others of its class: its Shapley value in prediction space.

    The exact value for one-nearest-neighbour (`Jia et al. (2019) <https://arxiv.org/abs/1908.08619>`_), by a
    cumulative sum instead of two loops, averaged over the test records. Above 0: the record was memorised to use.

    Args:
        predictions: of the training records, shape (records, outputs).
        labels: their classes, shape (records,).
        test_predictions: shape (test records, outputs).
        test_labels: shape (test records,).

    Returns:
        Scores, shape (records,), times (records / test records) as released with the paper.

    >>> shapr([[1.0, 0.0], [0.0, 1.0]], [0, 1], [[0.9, 0.1]], [0])
    array([2., 0.])
    """
    train = check.finite("predictions", predictions, ndim=2)
    own = check.labels("labels", labels, length=len(train))
    test = check.finite("test predictions", test_predictions, ndim=2)
    asked = check.labels("test labels", test_labels, length=len(test))
    if test.shape[1] != train.shape[1] or len(train) == 0 or len(test) == 0:
        raise InputError(f"predictions must have the same outputs, got shapes {train.shape} and {test.shape}.")
    total = np.zeros(len(train))
    ranks = np.arange(1, len(train))
    for row, label in zip(test, asked, strict=True):
        order: npt.NDArray[np.int64] = np.argsort(np.square(train - row).sum(axis=1), kind="stable")
        same = (own[order] == label).astype(np.float64)
        values = np.empty(len(train))
        values[-1] = same[-1] / len(train)
        # value(i) = value(i + 1) + (same(i) - same(i + 1)) / i, from the farthest record to the nearest
        values[:-1] = values[-1] + np.cumsum((-np.diff(same) / ranks)[::-1])[::-1]
        total[order] += values
    return total * len(train) / len(test)
