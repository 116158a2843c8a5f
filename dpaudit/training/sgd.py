"""Plain training with Keras, without privacy: what the DP models are compared with."""

from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import numpy.typing as npt

from dpaudit.accounting.claim import GaussianSteps
from dpaudit.bounds.lower_bound import Skipped
from dpaudit.data.dataset import Dataset
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray
from dpaudit.runtime.errors import AuditFailed, InputError
from dpaudit.runtime.took import epoch_done
from dpaudit.training.architecture import Architecture
from dpaudit.training.capabilities import checked_epoch
from dpaudit.training.dp_sgd import DpSgd, OptimizerName, readable
from dpaudit.training.fine_tuned import adapter_of
from dpaudit.training.trainer import TrainedModel, Trainer


@dataclass(frozen=True)
class Sgd:
    """``compile`` and ``fit`` with SGD or Adam on shuffled batches.

    Args:
        architecture: what is trained.
        epochs: passes over the training records.
        batch_size: records per step.
        learning_rate: step size.
        momentum: of SGD.
        optimizer: ``sgd`` or ``adam``.
        until_accuracy: stop at the end of the first epoch whose training accuracy reaches this; 1.0 trains until the
            records are memorised. None trains all epochs.
    """

    architecture: Architecture
    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 0.1
    momentum: float = 0.0
    optimizer: OptimizerName = "sgd"
    until_accuracy: float | None = None

    def __post_init__(self) -> None:
        check.integer("epochs", self.epochs, at_least=1)
        check.integer("batch_size", self.batch_size, at_least=1)
        check.positive("learning_rate", self.learning_rate)
        check.probability("momentum", self.momentum)
        check.one_of("optimizer", self.optimizer, get_args(OptimizerName))
        if self.until_accuracy is not None:
            check.probability("until_accuracy", self.until_accuracy)
        if self.optimizer != "sgd" and self.momentum:
            raise InputError(f"momentum belongs to the sgd optimizer, got {self.momentum} with {self.optimizer}.")

    def mechanism(self, records: int) -> GaussianSteps | None:
        """None: there is no noise, so nothing is claimed."""
        return None

    def adds_noise(self) -> bool:
        """No."""
        return False

    def records_needed(self) -> int:
        """One batch."""
        return self.batch_size

    def refuse(self, dataset: Dataset) -> None:
        """Refuse an architecture that does not fit the records, and ``until_accuracy`` for a task without classes."""
        self._require_classes(dataset)
        if adapter_of(self.architecture) is None:
            self.architecture(*dataset.network_shape)
        else:
            self._together(dataset)

    def with_epochs(self, epochs: int) -> "Sgd":
        """The same training for so many epochs, whatever accuracy they reach."""
        return replace(self, epochs=epochs, until_accuracy=None)

    def at_epoch(self, epochs: int) -> "Sgd":
        """The training stopped after so many epochs.

        Raises:
            InputError: it has no fixed length, or is not that long.
        """
        if self.until_accuracy is not None:
            raise InputError("checkpoints need a fixed number of epochs; until_accuracy stops where it is reached.")
        return replace(self, epochs=checked_epoch(self, epochs))

    def stacked(self, dataset: Dataset) -> DpSgd | Skipped:
        """The same recipe on the stacked engine: many times faster, statistically the same.

        An architecture with a layer the engine does not have, and training until an accuracy, stay with Keras.
        """
        if self.until_accuracy is not None:
            return Skipped("the stacked engine trains for a fixed number of epochs, not until_accuracy is reached")
        together = DpSgd(
            self.architecture,
            l2_norm_clip=None,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            optimizer=self.optimizer,
            sampling="shuffled",
        )
        return readable(together, dataset)

    def reference(self, dataset: Dataset) -> Trainer:
        """`stacked` where the engine can, else the same training."""
        found = self.stacked(dataset)
        return self if isinstance(found, Skipped) else found

    def restore(self, weights: dict[str, npt.NDArray[np.float32]], dataset: Dataset) -> TrainedModel:
        """The model again from stored weights."""
        from dpaudit.training.keras_model import restore_model

        return restore_model(self.architecture(*dataset.network_shape), weights, None)

    def __call__(self, dataset: Dataset, included: BoolArray, *, seed: int) -> TrainedModel:
        """Train on the included records.

        Raises:
            InputError: fewer records than one batch, or ``until_accuracy`` for a task without classes.
            AuditFailed: ``until_accuracy`` was not reached within ``epochs``, or the loss is not finite.
        """
        if adapter_of(self.architecture) is not None:
            return self._together(dataset)(dataset, included, seed=seed)
        from dpaudit.runtime.tensorflow import keras
        from dpaudit.training.keras_model import (
            as_trained_model,
            made_ready,
            mean_loss,
            shuffled_batches,
            training_records,
        )

        self._require_classes(dataset)
        records = training_records(dataset, included, self.batch_size)
        keras.utils.set_random_seed(seed)
        model = self.architecture(*dataset.network_shape)
        optimizer = (
            keras.optimizers.Adam(self.learning_rate)
            if self.optimizer == "adam"
            else keras.optimizers.SGD(self.learning_rate, momentum=self.momentum)
        )
        # All steps of an epoch as one program: Keras would spend more time between small steps than in them.
        steps = -(-len(records.features) // self.batch_size)
        model.compile(optimizer, mean_loss(dataset.task), steps_per_execution=steps)
        made_ready(model)
        batches = shuffled_batches(records, self.batch_size, seed=seed, drop_remainder=False)
        result = as_trained_model(model, None)
        wanted = self.until_accuracy
        accuracy = 0.0
        for _ in range(self.epochs):
            loss = model.fit(batches, epochs=1, verbose=0).history["loss"][-1]
            if not np.isfinite(loss):
                raise AuditFailed(f"the training loss became {loss}; a lower learning_rate than {self.learning_rate}?")
            epoch_done()
            if wanted is not None:
                accuracy = float((classes(result.predict(records.features)) == records.classes).mean())
                if accuracy >= wanted:
                    break
        else:
            if wanted is not None:
                raise AuditFailed(
                    f"training accuracy is {accuracy:.3f} after {self.epochs} epochs, below until_accuracy {wanted}; "
                    "more epochs or another learning_rate would be needed."
                )
        return as_trained_model(model, None)

    def _require_classes(self, dataset: Dataset) -> None:
        if self.until_accuracy is not None and dataset.task not in ("multiclass", "binary"):
            raise InputError(f"until_accuracy needs classes; the task of {dataset.name} is {dataset.task}.")

    def _together(self, dataset: Dataset) -> DpSgd:
        """What trains an adapter, which Keras does not have."""
        found = self.stacked(dataset)
        if isinstance(found, Skipped):
            raise InputError(f"[adapter] is trained on the stacked engine: {found.reason}.")
        return found


def classes(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Predicted classes of logits (records, outputs); one output is the logit of class 1.

    >>> classes(np.array([[0.2], [-1.0]]))
    array([1, 0])
    """
    if logits.shape[1] == 1:
        return (logits[:, 0] > 0).astype(np.int64)
    return np.asarray(logits.argmax(axis=1), np.int64)
