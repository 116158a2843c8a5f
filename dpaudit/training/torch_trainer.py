"""What the trainers of PyTorch have in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from dpaudit.data.dataset import Dataset
from dpaudit.runtime.check import BoolArray
from dpaudit.runtime.pytorch import torch_module
from dpaudit.training.capabilities import checked_epoch
from dpaudit.training.named_function import digest_function, name_function
from dpaudit.training.torch_network import NetworkOf, build_network, loss_of, restored
from dpaudit.training.torch_scores import along_gradients_of, beliefs_after
from dpaudit.training.trainer import TrainedModel
from dpaudit.training.watched import StepMeasure, StepWatch


class TorchTrainer(ABC):
    """Methods of a frozen dataclass with a network, epochs and a batch size."""

    network: NetworkOf
    epochs: int
    batch_size: int
    loss: str | None

    def __call__(self, dataset: Dataset, included: BoolArray, *, seed: int) -> TrainedModel:
        """Train on the included records; raises as ``trained`` does."""
        return self.trained(dataset, included, seed=seed)

    @abstractmethod
    def trained(
        self,
        dataset: Dataset,
        included: BoolArray,
        *,
        seed: int,
        start: Sequence[npt.NDArray[np.float32]] | None = None,
        watch: StepWatch | None = None,
    ) -> TrainedModel:
        """Train on the included records, from given weights where there are any, and let every step be watched."""

    def refuse(self, dataset: Dataset) -> None:
        """Refuse a network that does not fit the records, and a loss that there is not."""
        torch = torch_module()
        with torch.random.fork_rng(devices=[]):
            build_network(self.network, dataset)
        loss_of(self.loss, dataset.task)

    def train_many(
        self,
        dataset: Dataset,
        included: BoolArray,
        *,
        seeds: Sequence[int],
        start: Sequence[Sequence[npt.NDArray[np.float32]]] | None = None,
        watch: StepWatch | None = None,
    ) -> list[TrainedModel]:
        """Train one model per row of ``included`` (models, records), one after the other."""
        own = [None] * len(seeds) if start is None else list(start)
        rows = zip(included, seeds, own, strict=True)
        return [self.trained(dataset, row, seed=seed, start=first, watch=watch) for row, seed, first in rows]

    def initial_weights(self, dataset: Dataset, *, seed: int) -> list[npt.NDArray[np.float32]]:
        """Random weights that a model of this seed starts from, in the order of ``train_many``'s ``start``."""
        torch = torch_module()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed % 2**63)
            return [value.cpu().numpy() for value in build_network(self.network, dataset).state_dict().values()]

    def measure(self, records: Dataset, *, along_gradients: bool) -> StepMeasure:
        """What an attacker who sees a step learns of some records (`dpaudit.training.torch_scores`)."""
        clip, per_layer = getattr(self, "l2_norm_clip", None), getattr(self, "clipping", "flat") == "per-layer"
        module = build_network(self.network, records)
        if not along_gradients:
            return beliefs_after(module, records)
        return along_gradients_of(module, loss_of(self.loss, records.task), records, clip=clip, per_layer=per_layer)

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
