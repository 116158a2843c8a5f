"""Plain training with PyTorch, without privacy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt

from dpaudit.accounting.claim import GaussianSteps
from dpaudit.data.dataset import Dataset
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.pytorch import torch_module
from dpaudit.training.torch_network import (
    NetworkOf,
    TorchOptimizerName,
    as_trained,
    build_network,
    fit,
    load_weights,
    loader_of,
    loss_of,
    optimizer_of,
)
from dpaudit.training.torch_trainer import TorchTrainer
from dpaudit.training.trainer import TrainedModel
from dpaudit.training.watched import StepWatch


@dataclass(frozen=True)
class Torch(TorchTrainer):
    """A network of PyTorch trained with SGD or Adam on shuffled batches, on the processor.

    Args:
        network: what builds it from (input shape, outputs), as ``"package.module:name"`` in a plan.
        epochs: passes over the training records.
        batch_size: records per step.
        learning_rate: step size.
        momentum: of SGD.
        optimizer: ``sgd`` or ``adam``.
        loss: name of a loss of ``torch.nn``; None is the usual one of the task.
    """

    network: NetworkOf
    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 0.1
    momentum: float = 0.0
    optimizer: TorchOptimizerName = "sgd"
    loss: str | None = None

    def __post_init__(self) -> None:
        check.integer("epochs", self.epochs, at_least=1)
        check.integer("batch_size", self.batch_size, at_least=1)
        check.positive("learning_rate", self.learning_rate)
        check.probability("momentum", self.momentum)
        check.one_of("optimizer", self.optimizer, get_args(TorchOptimizerName))
        if self.optimizer != "sgd" and self.momentum:
            raise InputError(f"momentum belongs to the sgd optimizer, got {self.momentum} with {self.optimizer}.")

    def mechanism(self, records: int) -> GaussianSteps | None:
        """None: there is no noise, so nothing is claimed."""
        return None

    def adds_noise(self) -> bool:
        """No."""
        return False

    def without_privacy(self) -> "Torch":
        """Itself: it has none."""
        return self

    def trained(
        self,
        dataset: Dataset,
        included: BoolArray,
        *,
        seed: int,
        start: Sequence[npt.NDArray[np.float32]] | None = None,
        watch: StepWatch | None = None,
    ) -> TrainedModel:
        """Train on the included records, from given weights where there are any, and let every step be watched.

        Raises:
            InputError: the network or the loss is not to be had.
            AuditFailed: the trained weights are not finite.
        """
        torch = torch_module()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed % 2**63)
            module = build_network(self.network, dataset)
            if start is not None:
                load_weights(module, start)
            criterion = loss_of(self.loss, dataset.task)
            optimizer = optimizer_of(module, self.optimizer, learning_rate=self.learning_rate, momentum=self.momentum)
            batches = loader_of(dataset.take(included), self.batch_size, seed=seed)
            fit(module, optimizer, criterion, batches, epochs=self.epochs, seed=seed, watch=watch)
        return as_trained(module, None, learning_rate=self.learning_rate)
