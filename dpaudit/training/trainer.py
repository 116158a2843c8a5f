"""The two protocols a trainer meets. Any framework's function is enough."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dpaudit.accounting.claim import GaussianSteps
from dpaudit.data.dataset import Dataset
from dpaudit.runtime.check import BoolArray, FloatArray


class Predict(Protocol):
    """Predicts in inference mode: no dropout, no batch statistics."""

    def __call__(self, features: npt.NDArray[np.float32]) -> FloatArray:
        """Features (records, ...) -> logits, shape (records, outputs)."""
        ...


@dataclass(frozen=True)
class TrainedModel:
    """What a trainer returns.

    Args:
        predict: logits (or, for regression, outputs) of records.
        weights: the trained arrays by name, for storing; empty when the framework keeps them.
        mechanism: what its accountant must be told; None when it was trained without DP.
    """

    predict: Predict
    weights: dict[str, npt.NDArray[np.float32]]
    mechanism: GaussianSteps | None = None


class Trainer(Protocol):
    """Trains one model. The same seed gives the same model."""

    def __call__(self, dataset: Dataset, included: BoolArray, *, seed: int) -> TrainedModel:
        """Train on the records where ``included`` (records,) is true."""
        ...

    def restore(self, weights: dict[str, npt.NDArray[np.float32]], dataset: Dataset) -> TrainedModel:
        """The model again from the stored ``weights`` of a `TrainedModel`."""
        ...

    def mechanism(self, records: int) -> GaussianSteps | None:
        """What the accountant is told for a training on ``records`` records; None without DP. Loads no TensorFlow."""
        ...
