"""BatchNormalization on the stacked engine, against Keras."""

from typing import Any

import numpy as np
import pytest

from dpaudit.accounting.claim import FixedSize, Poisson, Shuffled
from dpaudit.engine.dot_products import dot_products
from dpaudit.engine.gradients import clipped_sum, per_example_norms, plain_sum
from dpaudit.engine.losses import loss_of
from dpaudit.engine.network import Network, Parameters
from dpaudit.engine.optimizers import GradientDescent
from dpaudit.engine.schedules import Constant
from dpaudit.engine.training import Member, TrainingRecipe, train
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import keras, tf

pytestmark = pytest.mark.tf
layers = keras.layers
RECORDS = 10


def images() -> Any:
    """Keras takes n - 1 in the running variance of the first, and n in that of the second."""
    return keras.Sequential(
        [
            keras.Input((4, 4, 2)),
            layers.Conv2D(3, 3, activation="relu"),
            layers.BatchNormalization(momentum=0.8),
            layers.Flatten(),
            layers.Dense(5, use_bias=False),
            layers.BatchNormalization(momentum=0.9, scale=False),
            layers.Dense(3),
        ]
    )


@pytest.fixture(scope="module")
def network() -> Network:
    return Network.from_keras(images(), mixes_examples=True)


def records() -> tuple[Any, Any]:
    rng = np.random.default_rng(2)
    return rng.normal(1, 2, size=(RECORDS, 4, 4, 2)).astype(np.float32), rng.integers(3, size=RECORDS)


def trained(network: Network, models: list[int], steps: int, sampling: Any, *, compiled: bool = False) -> Parameters:
    features, labels = records()
    recipe = TrainingRecipe("multiclass", steps, RECORDS, GradientDescent(0.9), Constant(0.1), compiled=compiled)
    members = [Member(i, np.arange(i % 3, RECORDS), sampling) for i in models]
    start = network.initial(seed=3, models=models)
    return train(network, start, recipe, members, features=features, targets=labels, seed=3)


def test_training_is_keras(network: Network) -> None:
    """Five steps with momentum on full batches: weights and running averages are those of ``apply_gradients``."""
    features, labels = records()
    copy = network.to_keras(network.initial(seed=3, models=[0]), 0)
    optimizer, loss = keras.optimizers.SGD(0.1, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(True)
    for _ in range(5):
        with tf.GradientTape() as tape:
            value = loss(labels, copy(features, training=True))
        optimizer.apply_gradients(
            zip(tape.gradient(value, copy.trainable_variables), copy.trainable_variables, strict=True)
        )
    end = trained(network, [0], 5, FixedSize(RECORDS, RECORDS))
    for one, other in zip(end, copy.get_weights(), strict=True):
        np.testing.assert_allclose(one[0], other, atol=2e-5)
    exported = network.to_keras(end, 0)
    np.testing.assert_allclose(network.predict(end, features)[0], exported(features, training=False), atol=1e-5)
    np.testing.assert_allclose(exported(features), copy(features, training=False), atol=1e-4)


def test_padding_acts_on_nobody(network: Network) -> None:
    """Gradients and averages of a padded batch are those of its six examples, whatever the padding holds."""
    features, labels = records()
    parameters = network.initial(seed=3, models=[0, 1])
    x, y = np.stack([features] * 2), np.stack([labels] * 2)
    present = tf.constant(np.repeat([[1.0] * 6 + [0.0] * 4], 2, axis=0), tf.float32)
    loss = loss_of("multiclass")
    padded = plain_sum(network, parameters, x, y, loss=loss, present=present)
    alone = plain_sum(network, parameters, x[:, :6], y[:, :6], loss=loss)
    for one, other in zip(padded.gradients + padded.moved, alone.gradients + alone.moved, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_batch_without_examples_moves_nothing(network: Network) -> None:
    """Averages stay finite and as they were."""
    features, labels = records()
    parameters = network.initial(seed=3, models=[0])
    empty = tf.zeros((1, RECORDS))
    moved = plain_sum(
        network, parameters, features[None], labels[None], loss=loss_of("multiclass"), present=empty
    ).moved
    for one, position in zip(moved, network.moving, strict=True):
        np.testing.assert_array_equal(one, parameters[position])


def test_copies_are_the_same_in_any_stack(network: Network) -> None:
    """Bit for bit, compiled, with batches of different lengths and averages of their own."""
    alone, stack = (trained(network, models, 4, Shuffled(2), compiled=True) for models in ([4], [3, 4, 5]))
    for one, many in zip(alone, stack, strict=True):
        np.testing.assert_array_equal(one[0], many[1])
        assert not np.array_equal(many[0], many[1])


def test_per_example_gradients_are_refused(network: Network) -> None:
    """Clipped sums, norms and products with a record's gradient do not exist, nor does a clipped training."""
    features, labels = records()
    parameters = network.initial(seed=3, models=[0])
    given: dict[str, Any] = {"loss": loss_of("multiclass")}
    for ask in (
        lambda: clipped_sum(network, parameters, features, labels[None], clip=1.0, **given),
        lambda: per_example_norms(network, parameters, features, labels[None], **given),
        lambda: dot_products(network, "multiclass", None),
    ):
        with pytest.raises(InputError, match=r"moving_mean:0 is an average over a batch.*GroupNormalization"):
            ask()
    recipe = TrainingRecipe("multiclass", 1, 2, clip=1.0, compiled=False)
    with pytest.raises(InputError, match="no example has a gradient of its own"):
        train(
            network, parameters, recipe, [Member(0, np.arange(RECORDS), Poisson(0.2))],
            features=features, targets=labels, seed=1,
        )  # fmt: skip
