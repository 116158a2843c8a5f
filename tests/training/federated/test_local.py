"""What a client does: local SGD, FedProx and DP-SGD against steps made by hand."""

from typing import Any

import numpy as np
import pytest

from dpaudit.data.dataset import Dataset
from dpaudit.engine.device_arrays import Held
from dpaudit.engine.network import Network
from dpaudit.engine.optimizers import GradientDescent
from dpaudit.engine.schedules import Constant
from dpaudit.runtime.tensorflow import keras, tf
from dpaudit.training.federated.federation import Federation
from dpaudit.training.federated.local import ClientWork, Local, Trainees, _program, pays_to_compile
from dpaudit.training.federated.simulation import FederationRecipe
from tests.training.federated.small import NETWORK, START, X, Y, clients, close, keras_sgd, loss, small_model, train

pytestmark = pytest.mark.tf


def test_local_epochs_are_local_sgd_averaged() -> None:
    """Three full-batch local epochs at two clients: the average of two Keras runs of three steps each."""
    rows = clients(24, 24)
    found = train(FederationRecipe(1, local=Local(epochs=3, batch_size="all"), learning_rate=Constant(0.3)), rows)
    alone = [keras_sgd(own, steps=3, rate=0.3) for own in rows]
    close(found, [(a + b) / 2 for a, b in zip(*alone, strict=True)])


def test_fedprox_is_the_proximal_gradient() -> None:
    """FedProx pulls towards the model that was sent: two local steps by hand with mu = 0.7."""
    model = small_model()
    start = NETWORK.weights(START, 0)
    model.set_weights(start)
    for _ in range(2):
        with tf.GradientTape() as tape:
            value = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(Y, model(X))
        slopes = tape.gradient(value, model.weights)
        model.set_weights(
            [w - 0.3 * (g.numpy() + 0.7 * (w - s)) for w, g, s in zip(model.get_weights(), slopes, start, strict=True)]
        )
    local = Local(epochs=2, batch_size="all", proximal=0.7)
    close(train(FederationRecipe(1, local=local, learning_rate=Constant(0.3)), clients(48)), model.get_weights())


def test_local_dp_sgd_is_the_clipped_gradient_and_noise_at_each_client() -> None:
    """Record-level DP inside a client: per-example clipping by hand without noise, another model with it."""
    model = small_model()
    model.set_weights(NETWORK.weights(START, 0))
    total: list[Any] = [0.0] * 4
    for x, y in zip(X, Y, strict=True):
        with tf.GradientTape() as tape:
            value = keras.losses.sparse_categorical_crossentropy([y], model(x[None]), from_logits=True)
        slope = [g.numpy() for g in tape.gradient(value, model.weights)]
        norm = np.sqrt(sum((g**2).sum() for g in slope))
        total = [t + g * min(1, 0.4 / norm) for t, g in zip(total, slope, strict=True)]
    expected = [w - 0.3 * t / 48 for w, t in zip(model.get_weights(), total, strict=True)]
    clipped = Local(batch_size="all", clip=0.4)
    close(train(FederationRecipe(1, local=clipped, learning_rate=Constant(0.3)), clients(48)), expected)
    noisy = Local(batch_size="all", clip=0.4, noise_multiplier=3.0)
    found = train(FederationRecipe(1, local=noisy, learning_rate=Constant(0.3)), clients(48))
    difference = np.concatenate([np.ravel(a - b) for a, b in zip(found, expected, strict=True)])
    # 39 coordinates: the deviation is within 45 % of 0.3 * 0.4 * 3 / 48 with probability 0.9999.
    assert difference.std() == pytest.approx(0.3 * 0.4 * 3 / 48, rel=0.45)


def test_rounds_asked_one_by_one_share_a_program() -> None:
    """A second call with the same network and settings traces nothing anew and gives the same updates; other settings
    have a program of their own.
    """
    records = Dataset("cloud", X, Y)
    one, other = (Federation(NETWORK, START, FederationRecipe(1, local=own), records) for own in (Local(), Local(2)))
    weights, rows = NETWORK.weights(START, 0), clients(24, 24)
    first = one.updates(weights, rows, round_number=0, seed=1)
    before = _program.cache_info()
    np.testing.assert_array_equal(one.updates(weights, rows, round_number=0, seed=1), first)
    assert _program.cache_info().misses == before.misses
    assert np.abs(other.updates(weights, rows, round_number=0, seed=1) - first).max() > 1e-4
    assert _program.cache_info().misses == before.misses + 1


def test_a_compiled_program_is_the_same_training() -> None:
    """Clients of 5, 8 and 3 records, momentum and a proximal term: the updates of the uncompiled program."""
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            keras.layers.Conv2D(2, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )
    network = Network.from_keras(model)
    images = np.random.default_rng(1).normal(size=(16, 6, 6, 1)).astype(np.float32)
    held = Held.of(network, images, Y[:16])
    start = network.initial(seed=1, models=[0])
    tasks = [ClientWork(0, i, rows) for i, rows in enumerate(clients(5, 8, 3))]
    local = Local(epochs=2, batch_size=4, proximal=0.3, optimizer=GradientDescent(0.9))
    one, other = (
        Trainees(network, local, held, loss, 3, 7, compiled)(start, tasks, round_number=2, rate=0.2)
        for compiled in (False, True)
    )
    close(one, other, atol=1e-6)
    assert pays_to_compile(network, local, 1e6)
    assert not pays_to_compile(network, local, 1e3)
    assert not pays_to_compile(network, Local(batch_size="all"), 1e6)
    assert not pays_to_compile(network, Local(clip=1.0), 1e6)
    assert not pays_to_compile(NETWORK, local, 1e6)
