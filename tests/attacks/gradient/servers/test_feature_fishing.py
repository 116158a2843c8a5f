from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dpaudit.attacks.gradient.defences import Defence
from dpaudit.attacks.gradient.linear_layer import DenseInversion
from dpaudit.attacks.gradient.scanner import scan
from dpaudit.attacks.gradient.servers.feature_fishing import FeatureFishing
from dpaudit.attacks.gradient.view import Arrays
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import InputError
from tests.attacks.gradient import mlp
from tests.attacks.gradient.mlp import Images

pytestmark = pytest.mark.tf
BATCH = 16


def network(*hidden: int) -> Any:
    from dpaudit.runtime.tensorflow import keras

    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(width, "relu", dtype="float64") for width in hidden]
    return keras.Sequential([keras.Input((64,)), *layers, keras.layers.Dense(10, dtype="float64")])


@pytest.fixture(scope="module")
def deep() -> Any:
    return network(60, 40)


def client(x: FloatArray, y: IntArray, defence: Defence) -> tuple[Callable[[Arrays], Arrays], list[Arrays]]:
    """What a client answers, and all questions that it was asked."""
    asked: list[Arrays] = []
    rng = np.random.default_rng(0)

    def answer(weights: Arrays) -> Arrays:
        asked.append(weights)
        each = [mlp.gradient(weights, x[i : i + 1], y[i : i + 1]) for i in range(len(x))]
        return defence.mean(tuple(np.stack(parts) for parts in zip(*each, strict=True)), rng)

    return answer, asked


@pytest.mark.parametrize("clip", [np.inf, 1.0])
@pytest.mark.parametrize("one_class", [True, False])
def test_every_record_of_a_batch_is_seen_alone(one_class: bool, clip: float, deep: Any, images: Images) -> None:
    """16 digits, all of class 3 or of any: each comes back to 1e-9 with 2n + 1 questions (n - 1 to part n records, n
    to see that each is alone, 2 to begin), clipped or not. Each gradient is that of its record as one of the target
    class at the weights first sent, by a gradient written out."""
    x, y = images
    rows = np.flatnonzero(y == 3)[:BATCH] if one_class else np.arange(BATCH)
    server, defence = FeatureFishing(target=3), Defence(clip=clip)
    sent = server(deep, x[1000:])
    answer, asked = client(x[rows], y[rows], defence)
    views = server.isolated(sent, answer, batch_size=BATCH, noise=0.0, box=(0.0, 1.0))
    found = np.concatenate([DenseInversion()(view).records for view in views])
    distance = np.abs(found[:, None] - x[rows]).max(2)
    assert (distance.min(0) < 1e-9).all()
    assert (distance.min(1) < 1e-9).all()
    assert len(asked) == 2 * BATCH + 1
    if clip == np.inf:
        alone = mlp.gradient(sent, x[rows][[distance[0].argmin()]], np.array([3]))
        for given, own in zip(views[0].gradient, alone, strict=True):
            assert np.allclose(given, own, rtol=0, atol=1e-6 * np.abs(own).max())


def test_fewer_questions_isolate_fewer_and_noise_leaves_nothing(deep: Any, images: Images) -> None:
    """With 12 questions at least one record of 16 is alone and not all; with a noise multiplier of 0.05 none is."""
    x, y = images
    rows = np.flatnonzero(y == 3)[:BATCH]
    for defence, least, most in ((Defence(), 1, 6), (Defence(1.0, 0.05), 0, 0)):
        server = FeatureFishing(target=3, queries=12)
        answer, asked = client(x[rows], y[rows], defence)
        noise = defence.deviation / BATCH
        found = server.isolated(server(deep, x[1000:]), answer, batch_size=BATCH, noise=noise, box=(0.0, 1.0))
        assert least <= len(found) <= most
        assert len(asked) <= 12


def test_the_scanner_finds_every_question(deep: Any, images: Images) -> None:
    """The weights first sent and all that follow; the model itself raises no alarm."""
    x, y = images
    server = FeatureFishing(target=3, queries=10)
    answer, asked = client(x[:BATCH], y[:BATCH], Defence())
    server.isolated(server(deep, x[1000:]), answer, batch_size=BATCH, noise=0.0, box=(0.0, 1.0))
    assert len(asked) == 10
    for weights in asked:
        assert [found.check for found in scan(weights)] == ["malicious layers: fishing for a class"]
    assert scan(tuple(deep.get_weights())) == ()


def test_a_class_that_the_head_lacks_is_refused(deep: Any, images: Images) -> None:
    """Class 10 of ten classes."""
    with pytest.raises(InputError, match="target must be one of the 10 classes, got 10"):
        FeatureFishing(target=10)(deep, images[0])
