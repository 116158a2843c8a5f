"""Mean confidence of the reference models, as logarithms, also with one pair of models left out."""

from collections.abc import Iterator

import numpy as np
from scipy.special import logsumexp

from dpaudit._check import BoolArray, FloatArray
from dpaudit.errors import InputError
from dpaudit.signals import FLOOR


def log_confidence(phi: FloatArray) -> FloatArray:
    """log p_y = -softplus(-φ), any shape."""
    logarithm: FloatArray = -np.logaddexp(0.0, -phi)
    return logarithm


def log_mean(log_p: FloatArray, where: BoolArray) -> FloatArray:
    """log of the mean confidence over the models (axis 0) with ``where``, shape (records,).

    Raises:
        InputError: a record has no such model.
    """
    count = where.sum(axis=0)
    if not count.all():
        raise InputError(
            f"{int((count == 0).sum())} of {count.size} records have no reference model on one side "
            f"(trained with them, or without), the first at index {int(np.argmin(count))}."
        )
    mean: FloatArray = logsumexp(np.where(where, log_p, -np.inf), axis=0) - np.log(count)
    return mean


def leaving_pairs_out(log_p: FloatArray, where: BoolArray) -> Iterator[tuple[int, FloatArray]]:
    """(first model of the pair, log mean confidence over all other models with ``where``) for every pair.

    Sums of the pairs before and of the pairs after are added up: taking one confidence out of a total by
    subtraction would leave rounding where the others are small.

    Raises:
        InputError: a record has no model left.
    """
    top = np.where(where, log_p, -np.inf).max(axis=0)
    top = np.where(np.isfinite(top), top, 0.0)
    p = np.where(where, np.exp(np.minimum(log_p - top, 0.0)), 0.0)
    pairs = p[0::2] + p[1::2]
    counts = where[0::2].astype(np.int64) + where[1::2]
    after = np.concatenate([np.cumsum(pairs[:0:-1], axis=0)[::-1], np.zeros((1, p.shape[1]))])
    before = np.zeros(p.shape[1])
    count = counts.sum(axis=0)
    for index, pair in enumerate(pairs):
        left = count - counts[index]
        if not left.all():
            raise InputError(f"leaving a pair out of {len(p)} models leaves no reference; use at least 4 models.")
        yield 2 * index, np.log(np.maximum(before + after[index], FLOOR)) + top - np.log(left)
        before = before + pair
