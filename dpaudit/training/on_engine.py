"""The same training on the stacked engine, for a trainer that says how."""

from typing import Protocol, runtime_checkable

from dpaudit.bounds.lower_bound import Skipped
from dpaudit.data.dataset import Dataset
from dpaudit.training.dp_sgd import DpSgd
from dpaudit.training.trainer import Trainer


@runtime_checkable
class _HasEngine(Protocol):
    def stacked(self, dataset: Dataset) -> DpSgd | Skipped: ...


def on_engine(trainer: Trainer, dataset: Dataset) -> DpSgd | Skipped:
    """The same training on the stacked engine, whose steps can be watched: ``trainer.stacked(dataset)``."""
    if isinstance(trainer, _HasEngine):
        return trainer.stacked(dataset)
    return Skipped(f"the stacked engine does not run the code of a {type(trainer).__name__} trainer")
