"""DP-SGD as the users of TensorFlow Privacy write it: its optimizers and models through ``compile`` and ``fit``."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from dpaudit.accounting.claim import GaussianSteps, Shuffled
from dpaudit.bounds.lower_bound import Skipped
from dpaudit.data.dataset import Dataset
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray
from dpaudit.runtime.errors import AuditFailed, InputError
from dpaudit.runtime.took import epoch_done
from dpaudit.training import dp_sgd
from dpaudit.training.architecture import Architecture
from dpaudit.training.capabilities import checked_epoch
from dpaudit.training.trainer import TrainedModel, Trainer

if TYPE_CHECKING:
    from dpaudit.inspection.under_test import UnderTest

PrivateOptimizerName = Literal[
    "sgd", "adam", "adagrad", "vectorized-sgd", "vectorized-adam", "vectorized-adagrad", "dp-sequential"
]

# Its name -> the engine's, where the engine has the optimizer.
STACKED_OPTIMIZERS: dict[str, dp_sgd.OptimizerName] = {
    "sgd": "sgd",
    "vectorized-sgd": "sgd",
    "dp-sequential": "sgd",
    "adam": "adam",
    "vectorized-adam": "adam",
}


@dataclass(frozen=True)
class TFPrivacy:
    """TensorFlow Privacy 0.9's Keras optimizers, its vectorized ones, or ``DPSequential`` with SGD.

    The records are reshuffled every epoch and the last partial batch is dropped, because the optimizers need batches
    that ``num_microbatches`` divides. The noise comes from TensorFlow's seeded generator: good for audits, not for a
    model that is released.

    Args:
        architecture: what is trained.
        l2_norm_clip: largest norm of one microbatch's gradient.
        noise_multiplier: standard deviation of the noise over the clip norm; 0 adds none.
        epochs: passes over the training records.
        batch_size: records per step.
        learning_rate: step size.
        num_microbatches: parts of a batch whose mean gradients are clipped; None is one example in each.
        optimizer: which of TensorFlow Privacy's classes.
    """

    architecture: Architecture
    l2_norm_clip: float
    noise_multiplier: float
    epochs: int = 20
    batch_size: int = 50
    learning_rate: float = 0.1
    num_microbatches: int | None = None
    optimizer: PrivateOptimizerName = "sgd"

    def __post_init__(self) -> None:
        check.positive("l2_norm_clip", self.l2_norm_clip)
        check.nonnegative("noise_multiplier", self.noise_multiplier)
        check.integer("epochs", self.epochs, at_least=1)
        check.integer("batch_size", self.batch_size, at_least=1)
        check.positive("learning_rate", self.learning_rate)
        check.one_of("optimizer", self.optimizer, get_args(PrivateOptimizerName))
        if self.num_microbatches is not None:
            check.integer("num_microbatches", self.num_microbatches, at_least=1)
            if self.batch_size % self.num_microbatches:
                raise InputError(
                    f"num_microbatches must divide batch_size {self.batch_size}, got {self.num_microbatches}."
                )

    @property
    def microbatches(self) -> int:
        """Number of microbatches in a batch."""
        return self.num_microbatches or self.batch_size

    def mechanism(self, records: int) -> GaussianSteps:
        """What the accountant is told.

        With several examples in a microbatch one record can turn a clipped mean around, so that the sum changes by up
        to twice the clip norm: the noise counts half.
        """
        batches = records // self.batch_size
        if batches < 1:
            raise InputError(f"batch_size {self.batch_size} is larger than the {records} training records.")
        alone = self.microbatches == self.batch_size
        effective = self.noise_multiplier if alone else self.noise_multiplier / 2
        return GaussianSteps(effective, self.epochs * batches, Shuffled(batches))

    def adds_noise(self) -> bool:
        """Whether there is a noise multiplier."""
        return self.noise_multiplier > 0

    def records_needed(self) -> int:
        """One batch."""
        return self.batch_size

    def refuse(self, dataset: Dataset) -> None:
        """Refuse an architecture that does not fit the records or, where it is one, the ``DPSequential``."""
        model = self.architecture(*dataset.network_shape)
        if self.optimizer == "dp-sequential":
            self.dp_sequential(model)

    def with_epochs(self, epochs: int) -> "TFPrivacy":
        """The same training for so many epochs."""
        return replace(self, epochs=epochs)

    def at_epoch(self, epochs: int) -> "TFPrivacy":
        """The training stopped after so many epochs."""
        return replace(self, epochs=checked_epoch(self, epochs))

    def reference(self, dataset: Dataset) -> Trainer:
        """Its recipe on the stacked engine. Microbatches of several examples and Adagrad stay with the code itself."""
        optimizer = STACKED_OPTIMIZERS.get(self.optimizer)
        if optimizer is None or self.microbatches != self.batch_size:
            return self
        together = dp_sgd.DpSgd(
            self.architecture,
            l2_norm_clip=self.l2_norm_clip,
            noise_multiplier=self.noise_multiplier,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            optimizer=optimizer,
            sampling="shuffled",
            drop_remainder=True,
        )
        found = dp_sgd.readable(together, dataset)
        return self if isinstance(found, Skipped) else found

    def probe(self, dataset: Dataset, *, seed: int) -> "UnderTest":
        """Its optimizer, or its `DPSequential`, on a model whose per-example gradients are chosen."""
        from dpaudit.inspection.keras_optimizer import model, optimizer
        from dpaudit.inspection.mechanism import Stated
        from dpaudit.inspection.under_test import UnderTest
        from dpaudit.runtime.tensorflow import keras

        size = self.batch_size
        if self.optimizer == "dp-sequential":
            step = model(lambda layers: self.dp_sequential(keras.Sequential(layers)), batch_size=size, seed=seed)
        else:
            step = optimizer(self.dp_optimizer, batch_size=size, partial=False, seed=seed)
        return UnderTest(step, Stated(self.l2_norm_clip, self.noise_multiplier, "batch", "zero-out"))

    def restore(self, weights: dict[str, npt.NDArray[np.float32]], dataset: Dataset) -> TrainedModel:
        """The model again from stored weights."""
        from dpaudit.training.keras_model import restore_model

        return restore_model(self.architecture(*dataset.network_shape), weights, None)

    def __call__(self, dataset: Dataset, included: BoolArray, *, seed: int) -> TrainedModel:
        """Train on the included records.

        Raises:
            InputError: fewer records than one batch.
            AuditFailed: the trained weights are not finite.
        """
        from dpaudit.runtime.tensorflow import keras
        from dpaudit.training.keras_model import (
            as_trained_model,
            keras_loss,
            made_ready,
            shuffled_batches,
            training_records,
        )

        records = training_records(dataset, included, self.batch_size)
        keras.utils.set_random_seed(seed)
        model = self.architecture(*dataset.network_shape)
        if self.optimizer == "dp-sequential":
            model = self.dp_sequential(model)
            model.compile(keras.optimizers.SGD(self.learning_rate), keras_loss(dataset.task))
        else:
            model.compile(self.dp_optimizer(), keras_loss(dataset.task))
        made_ready(model)
        batches = shuffled_batches(records, self.batch_size, seed=seed, drop_remainder=True)
        told = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epoch_done())
        model.fit(batches, epochs=self.epochs, verbose=0, callbacks=[told])
        if not all(np.isfinite(value).all() for value in model.get_weights()):
            raise AuditFailed(f"the weights are not finite; a lower learning_rate than {self.learning_rate}?")
        return as_trained_model(model, self.mechanism(len(records)))

    def dp_optimizer(self) -> Any:
        """A new optimizer, as the training compiles it."""
        from dpaudit.runtime.tensorflow import tensorflow_privacy_module

        vectorized = self.optimizer.startswith("vectorized-")
        module = tensorflow_privacy_module(
            "privacy.optimizers.dp_optimizer_keras" + ("_vectorized" if vectorized else "")
        )
        base = {"sgd": "SGD", "adam": "Adam", "adagrad": "Adagrad"}[self.optimizer.removeprefix("vectorized-")]
        optimizer = getattr(module, f"{'Vectorized' if vectorized else ''}DPKeras{base}Optimizer")
        return optimizer(
            l2_norm_clip=self.l2_norm_clip,
            noise_multiplier=self.noise_multiplier,
            num_microbatches=self.microbatches,
            learning_rate=self.learning_rate,
        )

    def dp_sequential(self, model: Any) -> Any:
        """A Keras Sequential model as a ``DPSequential``, not yet compiled.

        Raises:
            InputError: the model is no Sequential, or microbatches of several examples are asked for.
        """
        from dpaudit.runtime.tensorflow import keras, tensorflow_privacy_module

        if not isinstance(model, keras.Sequential):
            raise InputError("dp-sequential needs a Sequential architecture; the sgd optimizer takes any.")
        if self.microbatches != self.batch_size:
            raise InputError("dp-sequential clips single examples; leave num_microbatches out.")
        module = tensorflow_privacy_module("privacy.keras_models.dp_keras_model")
        # XLA draws its own random numbers: with it the same seed would give another model at every training.
        return module.DPSequential(self.l2_norm_clip, self.noise_multiplier, use_xla=False, layers=[*model.layers])
