"""Gradient attacks on Keras models that the stacked engine does not read, and the names of what cannot be attacked."""

from typing import Any

import numpy as np
import pytest

from dpaudit.attacks.gradient.metrics import assignment, psnr
from dpaudit.runtime.errors import InputError

pytestmark = pytest.mark.tf


def convolution_with_batch_norm() -> Any:
    from dpaudit.runtime.tensorflow import keras

    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.SeparableConv2D(3, 3, activation="gelu"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )


def attention() -> Any:
    from dpaudit.runtime.tensorflow import keras

    layers = keras.layers
    records = keras.Input((4, 6))
    attended = layers.MultiHeadAttention(2, 3)(records, records)
    normal = layers.LayerNormalization()(layers.Add()([attended, records]))
    return keras.Model(records, layers.Dense(3)(layers.Flatten()(normal)))


def a_layer_used_twice() -> Any:
    from dpaudit.runtime.tensorflow import keras

    layers = keras.layers
    records, twice = keras.Input((5,)), layers.Dense(5, "tanh")
    return keras.Model(records, layers.Dense(3)(twice(twice(records))))


def a_model_inside_a_model() -> Any:
    from dpaudit.runtime.tensorflow import keras

    layers = keras.layers
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(4, "tanh"), layers.LayerNormalization()])
    return keras.Sequential([keras.Input((5,)), inner, layers.Lambda(lambda x: x**2 + x), layers.Dense(3)])


def recurrent() -> Any:
    from dpaudit.runtime.tensorflow import keras

    layers = keras.layers
    return keras.Sequential([keras.Input((3, 4)), layers.SimpleRNN(3), layers.Dense(3)])


def gated() -> Any:
    from dpaudit.runtime.tensorflow import keras

    layers = keras.layers
    return keras.Sequential([keras.Input((3, 4)), layers.GRU(3), layers.Dense(3)])


@pytest.mark.parametrize(
    "build",
    [
        convolution_with_batch_norm,
        attention,
        a_layer_used_twice,
        a_model_inside_a_model,
        pytest.param(recurrent, marks=pytest.mark.slow),
        pytest.param(gated, marks=pytest.mark.slow),
    ],
)
def test_gradients_and_their_slopes(build: Any) -> None:
    """Two victims' gradients equal Keras and GradientTape to 1e-12; the slope of an unrolled update of two steps along
    a random direction equals its central difference to 1e-5; the model has its own weights again afterwards. Of these
    models the engine reads the gated one alone."""
    from dpaudit.attacks.gradient.tape_objective import ByTape
    from dpaudit.attacks.gradient.victims import Victims
    from dpaudit.runtime.tensorflow import keras, tf

    keras.utils.set_random_seed(0)
    victims = Victims.of(build())
    assert isinstance(victims.program, ByTape) == (build is not gated)
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 3, *victims.record_shape)), np.eye(3)[rng.integers(3, size=(2, 3))]
    parameters, model = victims.at(victims.weights), victims.model
    ours = tf.function(victims.gradients)(parameters, tf.constant(x), tf.constant(y))
    trained = [i for i, w in enumerate(model.weights) if any(w is v for v in model.trainable_weights)]
    for v in range(2):
        with tf.GradientTape() as tape:
            logits = model(x[v], training=False)
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(y[v], logits))
        wanted = dict(zip(trained, tape.gradient(loss, [model.weights[i] for i in trained]), strict=True))
        for i, mine in enumerate(ours):
            assert np.abs(mine[v] - wanted.get(i, 0.0)).max() < 1e-12

    @tf.function  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def moved(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            updates = victims.updates(parameters, [(x, tf.constant(y))] * 2, 0.5)
            size = tf.add_n([tf.reduce_sum(u**2) for u in updates])
        return size, tape.gradient(size, x)

    direction, step = rng.standard_normal(x.shape), 1e-6
    size = [float(moved(tf.constant(x + sign * step * direction))[0]) for sign in (1, -1)]
    slope = float(tf.reduce_sum(moved(tf.constant(x))[1] * direction))
    assert (size[0] - size[1]) / (2 * step) == pytest.approx(slope, rel=1e-5)
    assert all(isinstance(weight, tf.Variable) for weight in model.weights)


def test_both_programs_agree() -> None:
    """Layer by layer and by tape give the same gradients to 1e-13, clipped ones too."""
    from dpaudit.attacks.gradient.losses import cross_entropy
    from dpaudit.attacks.gradient.tape_objective import ByTape
    from dpaudit.attacks.gradient.victims import Victims
    from dpaudit.runtime.tensorflow import keras

    layers = keras.layers
    stacked = Victims.of(
        keras.Sequential(
            [
                keras.Input((7, 6, 2)),
                layers.Conv2D(3, (3, 2), (2, 1), "same", activation="tanh"),
                layers.Conv2D(2, 3, dilation_rate=2, padding="same"),
                layers.Flatten(),
                layers.Dense(3),
            ]
        )
    )
    taped = Victims(ByTape.of(stacked.model, cross_entropy))
    rng = np.random.default_rng(1)
    x, y = rng.random((2, 3, 7, 6, 2)), np.eye(3)[rng.integers(3, size=(2, 3))]
    parameters = stacked.at(stacked.weights)
    for clip in (None, 0.5):
        pairs = zip(
            stacked.gradients(parameters, x, y, clip=clip), taped.gradients(parameters, x, y, clip=clip), strict=True
        )
        assert max(float(np.abs(a - b).max()) for a, b in pairs) < 1e-13
    assert np.abs(stacked.logits(parameters, x[:1]) - taped.logits(parameters, x[:1])).max() < 1e-13


def test_attention_is_inverted() -> None:
    """A sequence through attention and layer normalisation comes back to 60 dB from its gradient."""
    from dpaudit.attacks.gradient.gradient_matching import GradientMatching
    from dpaudit.attacks.gradient.observed_gradient import batch_gradient
    from dpaudit.attacks.gradient.victims import Victims
    from dpaudit.runtime.tensorflow import keras

    keras.utils.set_random_seed(0)
    model = attention()
    x = np.random.default_rng(0).random((1, 4, 6))
    found = GradientMatching(model, restarts=2, iterations=300)(batch_gradient(Victims.of(model), x, np.array([1])))
    assert found.labels == [1]
    assert psnr(found.records[assignment(found.records, x)], x)[0] >= 60


def test_what_cannot_be_attacked_is_named() -> None:
    """Looked-up and rounded records, wrong and missing second derivatives, regularisers, weights out of reach, several
    inputs, single precision: one line each, with the layer."""
    from dpaudit.attacks.gradient.victims import Victims
    from dpaudit.runtime.tensorflow import keras, tf

    layers = keras.layers

    class Moments(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
        """Its variance stops the gradient at the mean: the second derivative is wrong, silently."""

        def call(self, x: Any) -> Any:
            mean, variance = tf.nn.moments(x, -1, keepdims=True)
            return (x - mean) / tf.sqrt(variance + 1e-3)

    class Listed(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
        def build(self, shape: Any) -> None:
            self.kernels = [self.add_weight("kernel", (shape[-1], 3))]
            super().build(shape)

        def call(self, x: Any) -> Any:
            return x @ self.kernels[0]

    class Single(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
        def __init__(self, name: str | None = None) -> None:
            super().__init__(name=name)

        def get_config(self) -> dict[str, Any]:
            return {"name": self.name}

        def call(self, x: Any) -> Any:
            return tf.sin(x)

    class Subclassed(keras.Model):  # type: ignore[misc]  # Keras has no types
        def call(self, x: Any) -> Any:
            return x

    def on_rows(*chosen: Any) -> Any:
        return keras.Sequential([keras.Input((5,)), *chosen, layers.Dense(3)])

    subclassed = Subclassed()
    subclassed.build((None, 5))
    two = [keras.Input((2,)), keras.Input((2,))]
    for model, message in (
        (on_rows(layers.Embedding(9, 4, name="words"), layers.Flatten()), r"layer 'words' \(Embedding\) looks them up"),
        (on_rows(layers.Lambda(tf.round)), "rounds or cuts"),
        (on_rows(Moments(name="moments")), r"layer 'moments' \(Moments\) does not differentiate twice.* not that of"),
        (on_rows(Listed(name="listed")), r"layer 'listed' \(Listed\) does not hold its weight"),
        (on_rows(Single(name="single")), r"layer 'single' \(Single\) stays in float32"),
        (on_rows(layers.Dense(4, kernel_regularizer="l2", name="decayed")), "layer 'decayed' has a regulariser"),
        (keras.Model(two, layers.Dense(3)(layers.Concatenate()(two))), "one input and one output"),
        (subclassed, "take Sequential and Functional models, got Subclassed"),
        (keras.Sequential([keras.Input((None, 2)), layers.Conv1D(3, 1)]), "fixed input shape"),
        (keras.Sequential([layers.Dense(3)]), "no input shape yet"),
    ):
        with pytest.raises(InputError, match=message):
            Victims.of(model)
