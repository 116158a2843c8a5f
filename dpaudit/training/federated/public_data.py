"""Public data that a federation may start from: training on it needs no privacy."""

from dataclasses import dataclass

from dpaudit.data.dataset import Dataset
from dpaudit.data.load import load
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.strict import Strict


@dataclass(frozen=True)
class Pretraining(Strict):
    """Training without privacy on public data, before the federation starts.

    Args:
        source: the public data, a known name or a path; nothing of it is audited.
        epochs: passes over it.
        batch_size: records per step.
        learning_rate: step size.
        freeze: how many of the first layers with weights stay as they are afterwards.
    """

    source: str
    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 0.1
    freeze: int = 0

    def __post_init__(self) -> None:
        check.integer("epochs", self.epochs, at_least=1)
        check.integer("batch_size", self.batch_size, at_least=1)
        check.positive("learning_rate", self.learning_rate)
        check.integer("freeze", self.freeze, at_least=0)

    def public_data(self, dataset: Dataset) -> Dataset:
        """The public data, checked against the data it prepares for.

        Raises:
            InputError: its records have another task or shape, or it has more classes.
        """
        if dataset.task == "next-token":
            raise InputError("pretraining reads records; a decoder starts from a file of weights, architecture.start.")
        public = load(self.source, task=dataset.task)
        if public.features.shape[1:] != dataset.features.shape[1:] or public.task != dataset.task:
            raise InputError(
                f"pretraining data {public.name} has {public.task} records of shape {public.features.shape[1:]}, "
                f"{dataset.name} {dataset.task} records of shape {dataset.features.shape[1:]}."
            )
        if public.outputs > dataset.outputs:
            raise InputError(
                f"pretraining data {public.name} has {public.outputs} classes, {dataset.name} only {dataset.outputs}."
            )
        return public
