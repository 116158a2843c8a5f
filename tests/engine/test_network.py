"""Networks read from Keras and given back, and what is refused."""

import json
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from dpaudit.engine.network import Network
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import keras
from dpaudit.training.keras_3_config import as_keras_2
from tests.engine.networks import LAYERS, WHOLE

pytestmark = pytest.mark.tf
layers = keras.layers


@pytest.mark.parametrize("name", [*LAYERS, *WHOLE])
def test_forward_equals_keras(name: str) -> None:
    """A copy's outputs are those of the Keras model with its weights, on shared and on own inputs."""
    network = Network.from_keras({**LAYERS, **WHOLE}[name]())
    parameters = network.initial(seed=3, models=[4, 9])
    rng = np.random.default_rng(0)
    tokens = name in ("embedding", "positions")
    shared = rng.integers(4, size=(3, *network.input_shape)) if tokens else rng.normal(size=(3, *network.input_shape))
    own = np.stack([shared, shared[::-1]]).astype(np.float32)
    for i in range(2):
        copy = network.to_keras(parameters, i)
        np.testing.assert_allclose(network.forward(parameters, own[0])[i], copy(own[0]), atol=1e-5)
        np.testing.assert_allclose(network.forward(parameters, own)[i], copy(own[i]), atol=1e-5)


@pytest.mark.parametrize("name", [*WHOLE, "separable", "gru"])
def test_stacks_of_any_size_are_asked_one_after_the_other(name: str) -> None:
    """Three copies, then two, on batches of two lengths: what each copy answers alone."""
    network = Network.from_keras({**LAYERS, **WHOLE}[name]())
    copies = network.initial(seed=1, models=range(3))
    x = np.random.default_rng(0).normal(size=(5, *network.input_shape)).astype(np.float32)
    whole = network.predict(copies, x)
    np.testing.assert_allclose(network.predict(tuple(value[1:] for value in copies), x[:4]), whole[1:, :4], atol=1e-5)
    np.testing.assert_allclose(network.predict(tuple(value[2:] for value in copies), x), whole[2:], atol=1e-5)


def test_initial_depends_on_seed_and_model() -> None:
    """Model 5 starts the same in any stack; other models, seeds and variables start elsewhere; biases start at 0."""
    network = Network.from_keras(WHOLE["mlp"]())
    stack, alone = network.initial(seed=1, models=range(8)), network.initial(seed=1, models=[5])
    other = network.initial(seed=2, models=[5])
    for many, one, else_ in zip(stack, alone, other, strict=True):
        np.testing.assert_array_equal(many[5], one[0])
        if one[0].shape.rank > 1:
            assert not np.array_equal(one, else_)
            assert not np.array_equal(many[5], many[4])
    kernel = np.asarray(stack[0])
    limit = np.sqrt(6 / (72 + 16))  # Glorot's
    assert limit * 0.95 < np.abs(kernel).max() <= limit
    assert not np.asarray(stack[1]).any()


def test_recurrent_layers_start_as_in_keras() -> None:
    """Forget gates start at 1, other biases at 0, recurrent kernels are orthogonal; each copy has its own."""
    network = Network.from_keras(LAYERS["lstm"]())
    parameters = [value.numpy() for value in network.initial(seed=1, models=[0, 7])]
    recurrent, bias = parameters[3:5]  # of the second layer, which has two units
    np.testing.assert_allclose(np.einsum("mij,mkj->mik", recurrent, recurrent), np.stack([np.eye(2)] * 2), atol=1e-6)
    assert np.abs(recurrent[0] - recurrent[1]).max() > 0.1
    np.testing.assert_array_equal(bias, [[0, 0, 1, 1, 0, 0, 0, 0]] * 2)


def test_weights_of_one_copy_come_back() -> None:
    """Stacked weights are given back unchanged."""
    model = WHOLE["cnn"]()
    network = Network.from_keras(model)
    parameters = network.stack([model.get_weights(), [2 * w for w in model.get_weights()]])
    for given, back in zip(model.get_weights(), network.weights(parameters, 1), strict=True):
        np.testing.assert_array_equal(2 * given, back)
    with pytest.raises(InputError, match="weights of model 0 must have shapes"):
        network.stack([model.get_weights()[:-1]])


@pytest.mark.skipif(find_spec("tf_keras") is None, reason="needs Keras 3 beside Keras 2")
def test_weights_go_back_to_keras_3() -> None:
    """The architecture of a Keras 3 model is read, and a copy's weights make the Keras 3 model answer as the copy."""
    keras_3: Any = import_module("keras")

    L = keras_3.layers
    model = keras_3.Sequential(
        [
            keras_3.Input((6, 4, 2)),
            L.SeparableConv2D(4, 3, padding="same", activation="relu"),
            L.BatchNormalization(),
            L.Reshape((6, 16)),
            L.Conv1D(4, 2, padding="causal"),
            L.SeparableConv1D(3, 2),
            L.LSTM(3, return_sequences=True),
            L.GRU(2),
            L.Dense(3),
        ]
    )
    config = as_keras_2(json.loads(model.to_json()))
    network = Network.from_keras(keras.models.model_from_json(json.dumps(config)), mixes_examples=True)
    rng = np.random.default_rng(0)
    spread = [value + rng.uniform(0.1, 0.5, size=value.shape).astype(np.float32) for value in model.get_weights()]
    parameters = network.stack([model.get_weights(), spread])
    x = rng.normal(size=(5, 6, 4, 2)).astype(np.float32)
    for i in range(2):
        model.set_weights(network.weights(parameters, i))
        np.testing.assert_allclose(network.forward(parameters, x)[i], np.asarray(model(x)), atol=1e-5)


def test_frozen_layers_stay() -> None:
    """Weights of frozen layers are the model's own values, held once for all copies, and not among the trained."""
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, trainable=False), layers.Dense(2)])
    network = Network.from_keras(model)
    assert [v.trainable for v in network.variables] == [False, False, True, True]
    parameters = network.initial(seed=1, models=range(2))
    frozen = [i for i, v in enumerate(network.variables) if not v.trainable]
    for i in frozen:
        assert parameters[i].shape[0] == 1
        np.testing.assert_array_equal(network.weights(parameters, 1)[i], model.get_weights()[i])


def images(*middle: Any) -> Any:
    return keras.Sequential([keras.Input((6, 6, 2)), *middle, layers.Flatten(), layers.Dense(3)])


def steps(*middle: Any) -> Any:
    return keras.Sequential([keras.Input((4, 3)), *middle, layers.Flatten(), layers.Dense(3)])


def stateful() -> Any:
    return keras.Sequential([keras.Input((4, 3), batch_size=2), layers.LSTM(2, stateful=True), layers.Dense(3)])


def shared_layer() -> Any:
    inputs = keras.Input((4,))
    twice = layers.Dense(4)
    return keras.Model(inputs, twice(twice(inputs)))


def attention(**settings: Any) -> Any:
    inputs = keras.Input((4, 3))
    call = settings.pop("call", {})
    return keras.Model(inputs, layers.MultiHeadAttention(2, 3, **settings)(inputs, inputs, **call))


def masked_attention() -> Any:
    inputs = keras.Input((4, 4))
    return keras.Model(inputs, layers.MultiHeadAttention(2, 3)(inputs, inputs, attention_mask=inputs))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: attention(dropout=0.1), "has dropout inside or more than one axis of positions"),
        (masked_attention, "is called with attention_mask; the stacked engine knows attention over all positions"),
        (lambda: attention(kernel_regularizer="l2"), "that loss is not per example"),
        (
            lambda: keras.Sequential([keras.Input((2, 3)), layers.EinsumDense("abx,bxc->abc", (2, 4))]),
            "has the equation 'abx,bxc->abc'; the stacked engine takes those that contract the last axes",
        ),
        (lambda: images(layers.BatchNormalization()), r"mixes the examples of a batch.*freeze the layer.*'sgd'"),
        (lambda: images(layers.DepthwiseConv2D(3, depthwise_regularizer="l2")), "has a depthwise_regularizer"),
        (lambda: images(layers.SeparableConv2D(2, 3, pointwise_constraint="unit_norm")), "has a pointwise_constraint"),
        (lambda: steps(layers.Conv1D(3, 2, groups=3)), "has groups=3"),
        (lambda: steps(layers.LSTM(2, go_backwards=True)), "has go_backwards=True; the stacked engine supports False"),
        (
            lambda: steps(layers.LSTM(2, recurrent_dropout=0.1)),
            r"recurrent_dropout=0.1.* put a Dropout layer before this one",
        ),
        (lambda: steps(layers.GRU(2, reset_after=False)), "has reset_after=False; the stacked engine supports True"),
        (lambda: steps(layers.GRU(2, recurrent_regularizer="l2")), "has a recurrent_regularizer"),
        (stateful, "has stateful=True; the stacked engine supports False only"),
        (lambda: images(layers.Conv2DTranspose(2, 3)), r"\(Conv2DTranspose\) is not supported .*'tf-privacy'"),
        (lambda: images(layers.Conv2D(2, 3, kernel_regularizer="l2")), "that loss is not per example; .*weight_decay"),
        (lambda: images(layers.Conv2D(2, 3, kernel_constraint="unit_norm")), "has a kernel_constraint"),
        (lambda: images(layers.Conv2D(2, 3, groups=2)), "has groups=2; the stacked engine supports 1 only"),
        (lambda: keras.Sequential([keras.Input((4,)), layers.ReLU()]), "no trainable weights; there is nothing"),
        (shared_layer, "is used 2 times"),
        (lambda: keras.Sequential([layers.Dense(3)]), "has no input shape yet"),
        (lambda: keras.Sequential([keras.Input((None, 3)), layers.Dense(3)]), "needs a fixed input shape"),
        (lambda: object(), "reads Sequential and Functional Keras models, got object"),
    ],
)
def test_what_cannot_run_is_refused_by_name(model: Any, message: str) -> None:
    """The message names the layer, the reason and where to go."""
    with pytest.raises(InputError, match=message):
        Network.from_keras(model())


def test_bad_inputs() -> None:
    """Inputs of another shape are refused with both shapes."""
    network = Network.from_keras(WHOLE["mlp"]())
    with pytest.raises(InputError, match=r"got \(3, 5, 6, 2\)"):
        network.forward(network.initial(seed=1, models=[0]), np.zeros((3, 5, 6, 2), np.float32))
