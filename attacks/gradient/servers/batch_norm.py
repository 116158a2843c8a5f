"""A server whose batch normalisation knows what the records are like, as that of every trained model does."""

from dataclasses import dataclass
from typing import Any

from dpaudit.attacks.gradient.view import Arrays
from dpaudit.runtime.check import FloatArray


@dataclass(frozen=True)
class BatchNorm:
    """Fits moving averages of batch normalisation to its own records, for `inverting`, Yin et al. (2021)."""

    def __call__(self, model: Any, auxiliary: FloatArray) -> Arrays:
        """The model's weights with such averages."""
        from dpaudit.attacks.gradient.batch_statistics import fit_averages

        before = model.get_weights()
        fit_averages(model, auxiliary)
        fitted = tuple(model.get_weights())
        model.set_weights(before)
        return fitted
