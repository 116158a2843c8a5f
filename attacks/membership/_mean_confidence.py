"""Mean confidence of the reference models, also with one pair of models left out."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.out_of_core import over_records
from dpaudit.scores.signals import Signals

# Below exp(-690) = 1e-300 a confidence counts as that.
LOWEST = -690.0


def confidence(phi: FloatArray) -> FloatArray:
    """p_y, any shape. Small ones keep their relative precision: 1 / (1 + exp(-φ)) never subtracts."""
    p: FloatArray = 1 / (1 + np.exp(-np.maximum(phi, LOWEST)))
    return p


def log_confidence(phi: FloatArray) -> FloatArray:
    """log p_y = -softplus(-φ), any shape."""
    logarithm: FloatArray = -np.logaddexp(0.0, -np.maximum(phi, LOWEST))
    return logarithm


def _ratio(total: FloatArray, count: npt.NDArray[np.int64] | FloatArray) -> FloatArray:
    if not count.all():
        raise InputError(
            f"{int((count == 0).sum())} of {count.size} records have no reference model on one side "
            f"(trained with them, or without), the first at index {int(np.argmin(count))}."
        )
    result: FloatArray = total / count
    return result


def mean_by_side(
    signals: Signals, *, of: Callable[[FloatArray], FloatArray] = confidence
) -> tuple[FloatArray, FloatArray]:
    """Mean confidence of the references with each record and of those without it, each (records,), in blocks.

    Args:
        signals: of the target.
        of: φ -> what the mean is of, instead of the confidence.

    Raises:
        InputError: a record has no reference on one side.
    """

    def block(phi: FloatArray, included: BoolArray) -> tuple[FloatArray, ...]:
        p, outside = of(np.asarray(phi, np.float64)), ~included
        sums = np.einsum("mr,mr->r", p, included), np.einsum("mr,mr->r", p, outside)
        return *sums, included.sum(axis=0).astype(np.float64), outside.sum(axis=0).astype(np.float64)

    with_record, without_record, models_with, models_without = over_records(block, signals.reference, signals.included)
    return _ratio(with_record, models_with), _ratio(without_record, models_without)


def mean_without_membership(signals: Signals) -> FloatArray:
    """Mean of the references' mean confidence with each record and without it, shape (records,).

    Raises:
        InputError: a record has no reference on one side.
    """
    inside, outside = mean_by_side(signals)
    return (inside + outside) / 2


def mean_outside(signals: Signals) -> FloatArray:
    """Mean confidence of the references without each record, shape (records,), in blocks.

    Raises:
        InputError: a record has no such reference.
    """

    def block(phi: FloatArray, included: BoolArray) -> tuple[FloatArray, ...]:
        outside = ~included
        total = np.einsum("mr,mr->r", confidence(np.asarray(phi, np.float64)), outside)
        return total, outside.sum(axis=0).astype(np.float64)

    return _ratio(*over_records(block, signals.reference, signals.included))


def mean_of_all(reference: FloatArray) -> FloatArray:
    """Mean confidence over all models of φ (models, records), shape (records,), in blocks.

    Raises:
        InputError: there is no model.
    """
    total = over_records(lambda phi: (confidence(np.asarray(phi, np.float64)).sum(axis=0),), reference)[0]
    return _ratio(total, np.full(total.shape, len(reference)))


def confidence_without_pairs(p: FloatArray, where: BoolArray | None = None) -> Iterator[tuple[int, FloatArray]]:
    """(first model of the pair, mean confidence over all other models, or those with ``where``) for every pair.

    Sums of the pairs before and of the pairs after are added up: taking one confidence out of a total by
    subtraction would leave rounding where the others are small.

    Raises:
        InputError: there is only one pair.
    """
    kept = p if where is None else p * where
    pairs = kept[0::2] + kept[1::2]
    if len(pairs) < 2:
        raise InputError(f"leaving a pair out of {len(p)} models leaves no reference; use at least 4 models.")
    # Each pair has a record on both sides once, so what is left has as many models with every record as without.
    left = (2 if where is None else 1) * (len(pairs) - 1)
    after = np.concatenate([np.cumsum(pairs[:0:-1], axis=0)[::-1], np.zeros((1, p.shape[1]))])
    before = np.zeros(p.shape[1])
    for index, pair in enumerate(pairs):
        yield 2 * index, (before + after[index]) / left
        before = before + pair
