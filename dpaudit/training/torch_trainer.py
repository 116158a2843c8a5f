"""What the trainers of PyTorch have in common."""

from dataclasses import fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from dpaudit.data.dataset import Dataset
from dpaudit.training.capabilities import checked_epoch
from dpaudit.training.named_function import digest_function, name_function
from dpaudit.training.torch_network import NetworkOf, restored
from dpaudit.training.trainer import TrainedModel


class TorchTrainer:
    """Methods of a frozen dataclass with a network, epochs and a batch size."""

    network: NetworkOf
    epochs: int
    batch_size: int

    def outside_code(self) -> str | None:
        """Where the network is, when it is named."""
        return self.network if isinstance(self.network, str) else None

    def records_needed(self) -> int:
        """One batch."""
        return self.batch_size

    def with_epochs(self, epochs: int) -> Self:
        """The same training for so many epochs."""
        return replace(self, epochs=epochs)  # type: ignore[type-var]  # every trainer is a dataclass

    def at_epoch(self, epochs: int) -> Self:
        """The training stopped after so many epochs."""
        return self.with_epochs(checked_epoch(self, epochs))  # type: ignore[arg-type]  # every trainer is called

    @cached_property
    def fingerprint(self) -> str:
        """The settings, and a hash of the network's code: results of other code are not used."""
        names = [field.name for field in fields(self) if field.name != "network"]  # type: ignore[arg-type]  # likewise
        rest: tuple[Any, ...] = tuple(getattr(self, name) for name in names)
        return f"{name_function(self.network)} {digest_function(self.network, key='network')} {rest}"

    def restore(self, weights: dict[str, npt.NDArray[np.float32]], dataset: Dataset) -> TrainedModel:
        """The model again from stored weights."""
        return restored(self.network, weights, dataset)
