"""A small network, its records, and federations on them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.engine.losses import per_example_loss
from dpaudit.engine.network import Network
from dpaudit.runtime.tensorflow import keras, tf
from dpaudit.training.federated.local import Local
from dpaudit.training.federated.simulation import FederationRecipe, simulate

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 5)).astype(np.float32)
Y = RNG.integers(3, size=48)
WHOLE = Local(batch_size="all")


def small_model() -> Any:
    return keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(3)])


def loss(outputs: Any, targets: Any) -> Any:
    return per_example_loss("multiclass", outputs, targets)


NETWORK = Network.from_keras(small_model())
START = NETWORK.initial(seed=1, models=range(1))


def clients(*sizes: int) -> list[npt.NDArray[np.int64]]:
    return np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])


def train(
    recipe: FederationRecipe, rows: Sequence[npt.NDArray[np.int64]], **more: Any
) -> list[npt.NDArray[np.float32]]:
    models, _ = simulate(NETWORK, START, recipe, features=X, targets=Y, rows=[rows], loss=loss, **{"seed": 3, **more})
    return NETWORK.weights(models, 0)


def keras_sgd(rows: Any, *, steps: int, rate: float, optimizer: Any = None) -> list[npt.NDArray[np.float32]]:
    """Full-batch gradient descent as Keras does it, from the same start."""
    model = small_model()
    model.set_weights(NETWORK.weights(START, 0))
    mean = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = optimizer or keras.optimizers.SGD(rate)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            value = mean(Y[rows], model(X[rows]))
        optimizer.apply_gradients(zip(tape.gradient(value, model.weights), model.weights, strict=True))
    return [np.asarray(w) for w in model.get_weights()]


def close(found: Any, expected: Any, atol: float = 2e-6) -> None:
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=atol, rtol=1e-5)


def clipped_mean(updates: Any, clip: float, divisor: float) -> list[Any]:
    flat = np.concatenate([u.reshape(len(u), -1) for u in updates], axis=1).astype(np.float64)
    factor = np.minimum(1, clip / np.linalg.norm(flat, axis=1))
    return [np.tensordot(factor, u, axes=1) / divisor for u in updates]
