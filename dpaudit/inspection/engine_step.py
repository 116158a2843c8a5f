"""A mechanism from the stacked engine's own training: one step of `dpaudit.engine.training.train`."""

from collections.abc import Sequence
from itertools import count

import numpy as np

from dpaudit.accounting.claim import Poisson
from dpaudit.engine.network import Network
from dpaudit.engine.schedules import Constant
from dpaudit.engine.training import Member, TrainingRecipe, train
from dpaudit.inspection.mechanism import Array, Mechanism
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.tensorflow import keras

TARGET = -0.5  # the squared error (⟨x, w⟩ - target)² has gradient x at w = 0


def stacked_step(
    *, clip: float, noise_multiplier: float, denominator: int, inputs: int = 240, batch_size: int = 16, seed: int
) -> Mechanism:
    """The engine's DP-SGD: each call is a training of one step on the whole batch, with a seed of its own.

    Args:
        clip: clip norm.
        noise_multiplier: σ.
        denominator: expected batch size, which the noisy sum is divided by.
        inputs: coordinates of a gradient.
        batch_size: examples in an ordinary batch.
        seed: of the first call; later calls count up.
    """
    network = Network.from_keras(keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(1, use_bias=False)]))
    recipe = TrainingRecipe(
        "regression",
        steps=1,
        batch_size=denominator,
        learning_rate=Constant(1.0),
        clip=clip,
        noise_multiplier=noise_multiplier,
        compiled=False,
    )
    origin = network.stack([[np.zeros((inputs, 1), np.float32)]])
    seeds = [count(seed)]

    def reset() -> None:
        seeds[0] = count(seed)

    def release(gradients: Sequence[Array]) -> list[FloatArray]:
        features = np.asarray(gradients[0], np.float32)[:, :, 0]
        trained = train(
            network,
            origin,
            recipe,
            [Member(0, np.arange(len(features)), Poisson(1.0))],
            features=features,
            targets=np.full((len(features), 1), TARGET, np.float32),
            seed=next(seeds[0]),
        )
        return [-np.asarray(network.weights(trained, 0)[0], np.float64)]

    return Mechanism(release, shapes=((inputs, 1),), batch_size=batch_size, reset=reset, name="stacked DP-SGD")
