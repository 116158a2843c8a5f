"""DP-SGD as the users of Opacus write it: ``PrivacyEngine.make_private`` and a training loop."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from dpaudit.accounting.claim import GaussianSteps, Poisson
from dpaudit.data.dataset import Dataset
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray
from dpaudit.runtime.errors import InputError, one_line
from dpaudit.runtime.pytorch import opacus_module, torch_module
from dpaudit.training.named_function import name_function
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
from dpaudit.training.torch_sgd import Torch
from dpaudit.training.torch_trainer import TorchTrainer
from dpaudit.training.trainer import TrainedModel
from dpaudit.training.watched import StepWatch

if TYPE_CHECKING:
    from dpaudit.inspection.under_test import UnderTest

Clipping = Literal["flat", "per-layer", "ghost"]


@dataclass(frozen=True)
class Opacus(TorchTrainer):
    """A network of PyTorch trained with Opacus: Poisson batches, per-example clipping, Gaussian noise.

    The noisy sum is divided by ``batch_size``, where Opacus would divide by a number that it computes from the number
    of records, which is private. The noise comes from PyTorch's seeded generator: good for audits, not for a model
    that is released.

    Args:
        network: what builds it from (input shape, outputs), as ``"package.module:name"`` in a plan.
        l2_norm_clip: largest norm of one record's gradient, over all weights; shared equally with ``per-layer``.
        noise_multiplier: standard deviation of the noise over the clip norm; 0 adds none.
        epochs: passes over the training records, in expectation.
        batch_size: expected records per step.
        learning_rate: step size.
        optimizer: ``sgd`` or ``adam``.
        loss: name of a loss of ``torch.nn``; None is the usual one of the task.
        clipping: ``flat``, ``per-layer`` or ``ghost``.
    """

    network: NetworkOf
    l2_norm_clip: float
    noise_multiplier: float
    epochs: int = 20
    batch_size: int = 50
    learning_rate: float = 0.1
    optimizer: TorchOptimizerName = "sgd"
    loss: str | None = None
    clipping: Clipping = "flat"

    def __post_init__(self) -> None:
        check.positive("l2_norm_clip", self.l2_norm_clip)
        check.nonnegative("noise_multiplier", self.noise_multiplier)
        check.integer("epochs", self.epochs, at_least=1)
        check.integer("batch_size", self.batch_size, at_least=1)
        check.positive("learning_rate", self.learning_rate)
        check.one_of("optimizer", self.optimizer, get_args(TorchOptimizerName))
        check.one_of("clipping", self.clipping, get_args(Clipping))

    def mechanism(self, records: int) -> GaussianSteps:
        """What the accountant of Opacus is told: each record is in a batch with probability 1 / batches."""
        if records < self.batch_size:
            raise InputError(f"batch_size {self.batch_size} is larger than the {records} training records.")
        batches = math.ceil(records / self.batch_size)
        return GaussianSteps(self.noise_multiplier, self.epochs * batches, Poisson(1 / batches))

    def adds_noise(self) -> bool:
        """Whether there is a noise multiplier."""
        return self.noise_multiplier > 0

    def refuse(self, dataset: Dataset) -> None:
        """Refuse a network that Opacus cannot clip, or that does not fit the records."""
        with torch_module().random.fork_rng(devices=[]):
            self._private(dataset, seed=0)

    def probe(self, dataset: Dataset, *, seed: int) -> "UnderTest":
        """Its optimizer on this network, with gradients that are chosen; with ghost clipping its model and loss too."""
        from dpaudit.inspection.mechanism import Stated
        from dpaudit.inspection.opacus_step import ghost_step, optimizer_step
        from dpaudit.inspection.under_test import UnderTest

        torch = torch_module()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed % 2**63)
            module, optimizer, criterion, _ = self._private(dataset, seed=seed)
        if self.clipping == "ghost":
            step = ghost_step(module, optimizer, criterion, seed=seed)
        else:
            step, _ = optimizer_step(optimizer, seed=seed)
        return UnderTest(step, Stated(self.l2_norm_clip, self.noise_multiplier, self.batch_size, "add-remove"))

    def without_privacy(self) -> Torch:
        """The same network trained on shuffled batches, without clipping and noise."""
        return Torch(self.network, self.epochs, self.batch_size, self.learning_rate, 0.0, self.optimizer, self.loss)

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
            InputError: the network or the loss is not to be had, Opacus cannot clip one of its layers, or there are
                fewer records than one batch.
            AuditFailed: the trained weights are not finite.
        """
        torch = torch_module()
        records = dataset.take(included)
        mechanism = self.mechanism(len(records))
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the insecure generator, which an audit wants, and of hooks
            torch.manual_seed(seed % 2**63)
            module, optimizer, criterion, batches = self._private(records, seed=seed, start=start)
            fit(module, optimizer, criterion, batches, epochs=self.epochs, seed=seed, watch=watch)
            network = module.to_standard_module()
        return as_trained(network, mechanism, learning_rate=self.learning_rate)

    def _private(
        self, records: Dataset, *, seed: int, start: Sequence[npt.NDArray[np.float32]] | None = None
    ) -> tuple[Any, Any, Any, Any]:
        """Model, optimizer, criterion and loader, as ``make_private`` returns them."""
        opacus = opacus_module()
        module = build_network(self.network, records)
        if start is not None:
            load_weights(module, start)
        optimizer = optimizer_of(module, self.optimizer, learning_rate=self.learning_rate)
        criterion = loss_of(self.loss, records.task)
        clip: float | list[float] = self.l2_norm_clip
        if self.clipping == "per-layer":
            layers = sum(parameter.requires_grad for parameter in module.parameters())
            clip = [self.l2_norm_clip / math.sqrt(layers)] * layers
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                made = opacus.PrivacyEngine().make_private(
                    module=module,
                    optimizer=optimizer,
                    criterion=criterion,
                    data_loader=loader_of(records, self.batch_size, seed=seed),
                    noise_multiplier=self.noise_multiplier,
                    max_grad_norm=clip,
                    clipping="per_layer" if self.clipping == "per-layer" else "flat",
                    grad_sample_mode="ghost" if self.clipping == "ghost" else "hooks",
                )
            except (NotImplementedError, opacus.validators.errors.UnsupportedModuleError) as error:
                reason = one_line(error)
                raise InputError(f"Opacus cannot train network {name_function(self.network)}: {reason}") from error
        private, dp_optimizer, *rest, loader = made
        dp_optimizer.expected_batch_size = self.batch_size
        return private, dp_optimizer, rest[0] if rest else criterion, loader
