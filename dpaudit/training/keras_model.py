"""What the trainers that use Keras share: losses per task, and a trained Keras model as a `TrainedModel`."""

from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.accounting.claim import GaussianSteps
from dpaudit.data.dataset import Dataset, Task
from dpaudit.engine.losses import per_example_loss, token_losses
from dpaudit.engine.network import TEXTS_AT_A_TIME, Network
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import keras, tf
from dpaudit.training.trainer import TrainedModel


class NextTokenLoss(keras.losses.Loss):  # type: ignore[misc]  # Keras has no types
    """Cross-entropy of the tokens that count (targets ≥ 0), its mean for each example."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Shape (examples,)."""
        return per_example_loss("next-token", y_pred[None], tf.cast(y_true, tf.int32)[None])[0]


def keras_loss(task: Task) -> Any:
    """The Keras loss of a task on logits, one value per example (reduction NONE)."""
    none = keras.losses.Reduction.NONE
    if task == "multiclass":
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=none)
    if task == "regression":
        return keras.losses.MeanSquaredError(reduction=none)
    if task == "next-token":
        return NextTokenLoss(reduction=none)
    return keras.losses.BinaryCrossentropy(from_logits=True, reduction=none)


def mean_loss(task: Task) -> Any:
    """The Keras loss of a task on logits, averaged over the batch."""
    loss = keras_loss(task)
    return type(loss).from_config({**loss.get_config(), "reduction": keras.losses.Reduction.SUM_OVER_BATCH_SIZE})


def keras_targets(dataset: Dataset) -> npt.NDArray[np.generic]:
    """Labels as losses want them: (records,) for classes, (records, outputs) otherwise.

    Of texts the token after each position, -1 where its loss does not count.
    """
    if dataset.task == "multiclass":
        return dataset.labels
    if dataset.task == "next-token":
        return np.where(dataset.labels == 1, dataset.features[:, 1:], -1).astype(np.int32)
    return dataset.labels.reshape(len(dataset), -1).astype(np.float32)


def network_inputs(dataset: Dataset) -> npt.NDArray[np.float32]:
    """What a network takes of the records: their features, of texts all tokens but the last."""
    return dataset.features[:, :-1] if dataset.task == "next-token" else dataset.features


def network_outputs(network: Network, parameters: Any, dataset: Dataset) -> FloatArray:
    """What each copy gives for the records, shape (models, records, outputs): of texts the loss of each token."""
    if dataset.task == "next-token":
        return network.predict_token_losses(parameters, dataset.features)
    return network.predict(parameters, dataset.features)


def training_records(dataset: Dataset, included: BoolArray, batch_size: int) -> Dataset:
    """The included records, refused when they do not fill one batch."""
    records = dataset.take(included)
    if len(records) < batch_size:
        raise InputError(
            f"batch_size {batch_size} is larger than the {len(records)} training records of {dataset.name}."
        )
    return records


def shuffled_batches(records: Dataset, batch_size: int, *, seed: int, drop_remainder: bool) -> Any:
    """A ``tf.data`` pipeline that reshuffles every epoch, as the users of Keras write it."""
    pairs = tf.data.Dataset.from_tensor_slices((network_inputs(records), keras_targets(records)))
    shuffled = pairs.shuffle(len(records), seed=seed, reshuffle_each_iteration=True)
    return shuffled.batch(batch_size, drop_remainder=drop_remainder)


def made_ready(model: Any) -> None:
    """Make the variables of a compiled model's optimizer: a first step that had to make them would be traced twice."""
    optimizer, variables = model.optimizer, model.trainable_variables
    if hasattr(optimizer, "build"):
        optimizer.build(variables)
        return
    _ = optimizer.iterations  # an older optimizer, as TensorFlow Privacy's are, makes it where it is asked for
    optimizer._create_all_weights(variables)  # the only place where it makes the rest


def as_trained_model(model: Any, mechanism: GaussianSteps | None) -> TrainedModel:
    """A Keras model as a `TrainedModel`: logits in inference mode, weights by position and name.

    A model with logits for every position takes texts, and gives the loss of each of their tokens but the first.
    """
    texts = len(model.output_shape) == 3
    size = TEXTS_AT_A_TIME if texts else 2048

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def forward(features: Any) -> Any:
        if texts:
            return token_losses(model(features[:, :-1], training=False), features)
        return model(features, training=False)

    def predict(features: npt.NDArray[np.float32]) -> FloatArray:
        parts = [forward(tf.constant(features[i : i + size])).numpy() for i in range(0, len(features), size)]
        return np.asarray(np.concatenate(parts), np.float64)

    weights = {f"{i:03d}:{variable.name}": variable.numpy() for i, variable in enumerate(model.weights)}
    return TrainedModel(predict, weights, mechanism)


def restore_model(
    model: Any, weights: dict[str, npt.NDArray[np.float32]], mechanism: GaussianSteps | None
) -> TrainedModel:
    """A fresh Keras model with stored weights."""
    values = [weights[key] for key in sorted(weights)]
    if [value.shape for value in values] != [tuple(variable.shape) for variable in model.weights]:
        raise InputError("the stored weights do not fit the architecture of the plan.")
    model.set_weights(values)
    return as_trained_model(model, mechanism)
