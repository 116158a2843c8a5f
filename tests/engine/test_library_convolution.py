"""Convolutions by TensorFlow's own kernels: the same gradients and trainings as one tape for each example."""

from typing import Any

import numpy as np
import pytest

from dpaudit.accounting.claim import Poisson
from dpaudit.engine.cost import Cost, cost
from dpaudit.engine.gradients import clipped_sum
from dpaudit.engine.library_convolution import LibraryConv2D, with_library_kernels
from dpaudit.engine.losses import per_example_loss
from dpaudit.engine.network import Network, Parameters
from dpaudit.engine.optimizers import GradientDescent
from dpaudit.engine.schedules import Constant
from dpaudit.engine.training import Member, TrainingRecipe, train
from dpaudit.runtime.tensorflow import keras, tf

pytestmark = pytest.mark.tf
layers = keras.layers
EXAMPLES = 3


def images(*middle: Any, shape: tuple[int, ...] = (9, 8, 2)) -> Any:
    return keras.Sequential([keras.Input(shape), *middle, layers.Flatten(), layers.Dense(3)])


def loss(outputs: Any, targets: Any) -> Any:
    return per_example_loss("multiclass", outputs, targets)


VARIANTS = {
    "valid": lambda: images(layers.Conv2D(4, 3), layers.Conv2D(3, 3, activation="relu")),
    "same, strides": lambda: images(layers.Conv2D(4, (4, 2), strides=(2, 1), padding="same", use_bias=False)),
    "strides that do not divide": lambda: images(layers.Conv2D(4, 5, strides=3, padding="same")),
    "valid, strides": lambda: images(layers.Conv2D(4, 4, strides=2), layers.MaxPooling2D(2, 1)),
    "dilation": lambda: images(layers.Conv2D(4, 3, dilation_rate=2), layers.Conv2D(2, 2, dilation_rate=(1, 2))),
    "same, dilation": lambda: images(layers.Conv2D(4, 3, dilation_rate=2, padding="same")),
    "one position": lambda: images(layers.Conv2D(4, (9, 8))),
    "pooling": lambda: images(
        layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D((2, 3), (1, 2), "same"),
        layers.GroupNormalization(2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("is_prepared", [False, True])
@pytest.mark.parametrize("name", VARIANTS)
def test_clipped_sums_are_those_of_a_tape_for_each_example(name: str, is_prepared: bool) -> None:
    """Norms and sums of two copies, with the first layer's patches prepared or not, equal a loop of tape gradients."""
    keras.utils.set_random_seed(2)
    model = VARIANTS[name]()
    network = Network.from_keras(model)
    library = with_library_kernels(network, is_prepared=is_prepared)
    assert any(isinstance(node.weighted, LibraryConv2D) for node in library.nodes) or is_prepared
    parameters = network.initial(seed=1, models=range(2))
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2, EXAMPLES, *model.input_shape[1:])).astype(np.float32)
    y = rng.integers(3, size=(2, EXAMPLES))
    given = network.prepared(tf.constant(x)) if is_prepared else x
    expected, norms = [], []
    for copy, own, labels in zip((network.to_keras(parameters, i) for i in range(2)), x, y, strict=True):
        for one, label in zip(own, labels, strict=True):
            with tf.GradientTape() as tape:
                value = loss(copy(one[None])[None], [[label]])
            gradient = [g.numpy() for g in tape.gradient(value, copy.trainable_variables)]
            norms.append(np.sqrt(sum((g**2).sum() for g in gradient)))
            expected.append(gradient)
    clip = float(np.median(norms))
    found = clipped_sum(library, parameters, given, y, loss=loss, clip=clip, is_prepared=is_prepared)
    np.testing.assert_allclose(found.norms.numpy().ravel(), norms, rtol=1e-5)
    for copy in range(2):
        rows = range(copy * EXAMPLES, (copy + 1) * EXAMPLES)
        for position, ours in enumerate(found.gradients):
            theirs = sum(expected[row][position] * min(1.0, clip / norms[row]) for row in rows)
            np.testing.assert_allclose(ours[copy], theirs, atol=2e-6)


def network_alone() -> Network:
    """Large enough that a copy is not stacked at batches of 3,000."""
    return Network.from_keras(
        images(
            layers.Conv2D(4, 4, strides=2, padding="same", activation="relu"), layers.MaxPooling2D(2, 1),
            layers.Conv2D(4, 2, activation="relu"), layers.Dropout(0.1),
        )
    )  # fmt: skip


def trained(models: list[int], **options: Any) -> Parameters:
    network = network_alone()
    rng = np.random.default_rng(4)
    features, labels = rng.normal(size=(40, 9, 8, 2)).astype(np.float32), rng.integers(3, size=40)
    assert cost(network).stack(3000) == 1
    recipe = TrainingRecipe("multiclass", 6, 3000, GradientDescent(0.9), Constant(20.0), 1.0, 0.3, 0.01, **options)
    members = [Member(i, np.arange(i, 35 + i), Poisson(0.3)) for i in models]
    start = network.initial(seed=4, models=models)
    return train(network, start, recipe, members, features=features, targets=labels, seed=4)


def test_a_model_is_bit_for_bit_the_same_in_any_stack() -> None:
    """Trained alone, among three and in another order: the same bits."""
    alone, stack, other = trained([2]), trained([0, 1, 2]), trained([2, 0])
    for one, many, pair in zip(alone, stack, other, strict=True):
        np.testing.assert_array_equal(one[0], many[2])
        np.testing.assert_array_equal(one[0], pair[0])
        assert np.abs(many[0] - many[1]).max() > 1e-4


@pytest.mark.parametrize("compiled", [True, False])
def test_trainings_equal_those_by_patches(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions as products of patches, compiled whole, end at the same weights up to rounding, as on a GPU."""
    library = trained([0, 1], compiled=compiled)
    monkeypatch.setattr(Cost, "by_library", lambda *_: False)
    for ours, theirs in zip(library, trained([0, 1]), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_a_gpu_keeps_the_compiled_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels one by one are for a CPU, and for copies that fill a core."""
    found = cost(network_alone())
    assert found.by_library(3000)
    assert not found.by_library(10)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: ["one"])
    assert not found.by_library(3000)
