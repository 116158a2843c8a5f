"""TensorFlow Privacy's optimizers and models, used wrongly, and Keras models that no optimizer makes private."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dpaudit.bounds.lower_bound import Finding
from dpaudit.inspection.coupling import inspect_model
from dpaudit.inspection.keras_optimizer import optimizer
from dpaudit.inspection.mechanism import Mechanism, Stated
from dpaudit.runtime.tensorflow import keras, tf

CLIP, NOISE = 2.0, 1.0
SHAPES = ((6, 8), (6, 8), (48,))
BATCH = 16
STATED = Stated(CLIP, NOISE, "batch", "zero-out")


def mechanism(build: Callable[[], Any], *, seed: int, learning_rate: float | None = None) -> Mechanism:
    """An optimizer in batches of 16 with three small variables; microbatches of four take no other size."""
    partial = build is not four_in_a_microbatch
    return optimizer(build, shapes=SHAPES, batch_size=BATCH, learning_rate=learning_rate, partial=partial, seed=seed)


def right() -> Any:
    """One example in each microbatch."""
    from tensorflow_privacy.privacy.optimizers.dp_optimizer_keras import DPKerasSGDOptimizer

    return DPKerasSGDOptimizer(l2_norm_clip=CLIP, noise_multiplier=NOISE, learning_rate=0.5)


def right_vectorized() -> Any:
    """The vectorized optimizer, one example in each microbatch."""
    from tensorflow_privacy.privacy.optimizers.dp_optimizer_keras_vectorized import VectorizedDPKerasSGDOptimizer

    return VectorizedDPKerasSGDOptimizer(l2_norm_clip=CLIP, noise_multiplier=NOISE, learning_rate=0.5)


def right_adam() -> Any:
    """DP-Adam, one example in each microbatch."""
    from tensorflow_privacy.privacy.optimizers.dp_optimizer_keras import DPKerasAdamOptimizer

    return DPKerasAdamOptimizer(l2_norm_clip=CLIP, noise_multiplier=NOISE, learning_rate=0.5)


def one_microbatch() -> Any:
    """The mean of the batch is clipped (``num_microbatches=1``)."""
    from tensorflow_privacy.privacy.optimizers.dp_optimizer_keras import DPKerasSGDOptimizer

    return DPKerasSGDOptimizer(l2_norm_clip=CLIP, noise_multiplier=NOISE, num_microbatches=1, learning_rate=0.5)


def four_in_a_microbatch() -> Any:
    """Means of four examples are clipped, by the vectorized optimizer."""
    from tensorflow_privacy.privacy.optimizers.dp_optimizer_keras_vectorized import VectorizedDPKerasSGDOptimizer

    return VectorizedDPKerasSGDOptimizer(
        l2_norm_clip=CLIP, noise_multiplier=NOISE, num_microbatches=4, learning_rate=0.5
    )


def query_without_clip_norm() -> Any:
    """The noise multiplier is handed to the query as the standard deviation."""
    return _with_query(CLIP, NOISE)


def query_that_never_clips() -> Any:
    """A clip norm of a million, with the noise for the one that is stated."""
    return _with_query(1e6, CLIP * NOISE)


def bypassed() -> Any:
    """The DP optimizer is built, and a plain one is used."""
    right()
    return keras.optimizers.SGD(0.5)


def noise_in_the_update() -> Any:
    """Noise is added to the weights, multiplied by the learning rate a second time."""
    rate = 0.5

    class NoisyUpdates(keras.optimizers.legacy.SGD):  # type: ignore[misc]  # Keras has no types
        def _resource_apply_dense(self, grad: Any, var: Any, apply_state: Any = None) -> Any:
            noisy = grad + rate * tf.random.normal(tf.shape(grad), stddev=CLIP * NOISE / BATCH)
            return super()._resource_apply_dense(noisy, var, apply_state)

    clips_only = _with_query(CLIP, 0.0)

    def minimize(loss: Any, variables: Any, tape: Any) -> Any:
        pairs = clips_only._compute_gradients(loss, variables, tape=tape)
        return applying.apply_gradients(pairs)

    applying = NoisyUpdates(rate)
    applying.minimize = minimize
    return applying


def batch_normalisation(seed: int) -> tuple[Finding, ...]:
    """A model with batch normalisation under DP-SGD."""
    return _inspect([keras.layers.Dense(4), keras.layers.BatchNormalization(), keras.layers.Dense(2)], seed)


def moving_average_of_inputs(seed: int) -> tuple[Finding, ...]:
    """Inputs are scaled by fixed numbers, while a layer keeps their moving average for later."""

    class RunningMean(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
        def build(self, shape: Any) -> None:
            self.mean = self.add_weight(name="running_mean", shape=(shape[-1],), trainable=False)

        def call(self, x: Any) -> Any:
            self.mean.assign(0.9 * self.mean + 0.1 * tf.reduce_mean(x, axis=0))
            return x

    return _inspect([RunningMean(), keras.layers.Dense(2)], seed)


def layer_normalisation(seed: int) -> tuple[Finding, ...]:
    """A right model: normalised within each example, with dropout."""
    layers = [keras.layers.Dense(4), keras.layers.LayerNormalization(), keras.layers.Dropout(0.3)]
    return _inspect([*layers, keras.layers.Dense(2)], seed)


def _inspect(layers: list[Any], seed: int) -> tuple[Finding, ...]:
    model = keras.Sequential([keras.Input((5,)), *layers])
    return inspect_model(model, np.random.default_rng(seed).normal(size=(8, 5)), seed=seed)


def _with_query(clip: float, noise: float) -> Any:
    from tensorflow_privacy.privacy.dp_query.gaussian_query import GaussianSumQuery
    from tensorflow_privacy.privacy.optimizers.dp_optimizer_keras import make_keras_generic_optimizer_class

    generic = make_keras_generic_optimizer_class(keras.optimizers.legacy.SGD)
    return generic(GaussianSumQuery(clip, noise), learning_rate=0.5)
