"""A trainer whose steps can be watched, for what an attacker learns who sees the weights and not only the answers."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from dpaudit.bounds.lower_bound import Skipped
from dpaudit.data.dataset import Dataset
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.training.on_engine import on_engine
from dpaudit.training.trainer import TrainedModel, Trainer

# Sees the seeds of some models, the step, and their trained weights before and after it.
StepWatch = Callable[[Sequence[int], int, Any, Any], None]
# Trained weights before and after a step, each (models, ...) -> scores, shape (models, records).
StepMeasure = Callable[[Sequence[Any], Sequence[Any]], FloatArray]


@runtime_checkable
class WatchedTrainer(Trainer, Protocol):
    """A trainer that shows its steps."""

    def train_many(
        self,
        dataset: Dataset,
        included: BoolArray,
        *,
        seeds: Sequence[int],
        start: Sequence[Sequence[npt.NDArray[np.float32]]] | None = None,
        watch: StepWatch | None = None,
    ) -> list[TrainedModel]:
        """Train one model per row of ``included``, from given weights where there are any."""
        ...

    def initial_weights(self, dataset: Dataset, *, seed: int) -> list[npt.NDArray[np.float32]]:
        """Random weights that a model can start from, in the order of ``start``."""
        ...

    def measure(self, records: Dataset, *, along_gradients: bool) -> StepMeasure:
        """How records are scored by a step: along their gradients, or by how far they are believed after it."""
        ...

    def without_privacy(self) -> Trainer:
        """The same network trained without clipping and noise."""
        ...


def watched(trainer: Trainer, dataset: Dataset) -> WatchedTrainer | Skipped:
    """The trainer itself where it shows its steps, else the same training on the stacked engine, which does."""
    return trainer if isinstance(trainer, WatchedTrainer) else on_engine(trainer, dataset)
