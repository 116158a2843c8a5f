"""Low-rank adapters on the stacked engine: W + (α/r) A B, with exact per-example gradients of A and B alone."""

from typing import Any

import numpy as np
import pytest

from dpaudit.accounting.claim import FixedSize
from dpaudit.engine.adapter import Adapter
from dpaudit.engine.cost import cost
from dpaudit.engine.gradients import clipped_sum
from dpaudit.engine.losses import per_example_loss
from dpaudit.engine.network import Network, Parameters
from dpaudit.engine.optimizers import GradientDescent
from dpaudit.engine.schedules import Constant
from dpaudit.engine.training import Member, TrainingRecipe, train
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import keras, tf
from dpaudit.training.decoder import Decoder

pytestmark = pytest.mark.tf
VOCABULARY, CONTEXT, TEXTS, COPIES = 11, 5, 4, 2
ADAPTER = Adapter(2, alpha=3.0)


@pytest.fixture(scope="module")
def decoder() -> Network:
    keras.utils.set_random_seed(7)  # the start weights are those that Keras draws
    return Network.from_keras(Decoder(width=4, layers=1, heads=2)((CONTEXT,), VOCABULARY), is_started=True)


@pytest.fixture(scope="module")
def texts() -> tuple[Any, Any]:
    rng = np.random.default_rng(5)
    tokens = rng.integers(0, 4, (TEXTS, 1 + CONTEXT))
    counted = np.arange(CONTEXT) < rng.integers(1, CONTEXT + 1, TEXTS)[:, None]
    return tokens[:, :-1].astype(np.float32), np.where(counted, tokens[:, 1:], -1).astype(np.int32)


def loss(outputs: Any, targets: Any) -> Any:
    return per_example_loss("next-token", outputs, targets)


def moved(network: Network, parameters: Parameters, size: float = 0.3) -> Parameters:
    """Adapters at random values: at their start B is zero, and so is the gradient of A."""
    rng = np.random.default_rng(7)
    values = [value + size * rng.normal(size=value.shape).astype(np.float32) for value in network.trained(parameters)]
    return network.with_trained(parameters, values)


def by_hand(network: Network, parameters: Parameters, copy: int, x: Any, y: Any) -> list[Any]:
    """Gradients of one text: of each kernel W at W + (α/r) A B by a tape, then of A and B by the chain rule."""
    model, weights = network.to_keras(parameters, copy), network.weights(parameters, copy)
    with tf.GradientTape() as tape:
        value = loss(model(x[None])[None], tf.constant(y[None, None]))
    slopes = tape.gradient(value, model.weights)
    found = []
    for pair in network.factors:
        slope = tf.convert_to_tensor(slopes[pair.kernel]).numpy().astype(np.float64)
        down, up = weights[pair.down].astype(np.float64), weights[pair.up].astype(np.float64)
        rank = down.shape[-1]
        flat = slope.reshape(down.size // rank, up.size // rank)
        found.append(pair.scale * (flat @ up.reshape(rank, -1).T).reshape(down.shape))
        found.append(pair.scale * (down.reshape(-1, rank).T @ flat).reshape(up.shape))
    return found


def test_a_copy_starts_as_the_network(decoder: Network, texts: tuple[Any, Any]) -> None:
    """B is zero at first, so that every copy gives what the frozen network gives; A differs between copies."""
    network = decoder.adapted(ADAPTER)
    parameters = network.initial(seed=3, models=range(COPIES))
    outputs = network.predict(parameters, texts[0])
    for copy in range(COPIES):
        np.testing.assert_allclose(outputs[copy], decoder.model(texts[0]), atol=1e-5)
    first, second = (network.weights(parameters, copy) for copy in range(COPIES))
    assert not np.array_equal(first[network.factors[0].down], second[network.factors[0].down])


def test_gradients_are_those_of_the_whole_kernel_by_the_chain_rule(decoder: Network, texts: tuple[Any, Any]) -> None:
    """Norms and clipped sums over A and B equal those of one tape per text through the kernels W + (α/r) A B."""
    network = decoder.adapted(ADAPTER)
    parameters = moved(network, network.initial(seed=3, models=range(COPIES)))
    x, y = texts
    targets = np.stack([y] * COPIES)
    expected = [
        [by_hand(network, parameters, copy, *text) for text in zip(x, y, strict=True)] for copy in range(COPIES)
    ]
    brute = np.array([[np.sqrt(sum((part**2).sum() for part in each)) for each in copy] for copy in expected])
    clip = float(np.median(brute))
    assert (brute > clip).any()
    found = clipped_sum(network, parameters, x, targets, loss=loss, clip=clip)
    np.testing.assert_allclose(found.norms, brute, rtol=1e-4)
    assert len(found.gradients) == 2 * len(network.factors) == len(network.trainable)
    for copy in range(COPIES):
        factors = np.minimum(1, clip / brute[copy])
        for place, total in enumerate(found.gradients):
            wanted = sum(factor * each[place] for factor, each in zip(factors, expected[copy], strict=True))
            np.testing.assert_allclose(total[copy], wanted, rtol=1e-3, atol=2e-5)


def test_only_the_adapters_are_trained_and_noised(decoder: Network, texts: tuple[Any, Any]) -> None:
    """After steps with noise every frozen weight has the same bits, held once for all copies, and A and B have moved.

    The merged model is that of the adapters: a Keras model with kernels W + (α/r) A B gives the same outputs.
    """
    network = decoder.adapted(ADAPTER)
    start = network.initial(seed=3, models=range(COPIES))
    recipe = TrainingRecipe("next-token", 3, TEXTS, GradientDescent(), Constant(0.5), 0.1, 1.0, compiled=False)
    members = [Member(copy, np.arange(TEXTS), FixedSize(TEXTS, TEXTS)) for copy in range(COPIES)]
    x, y = texts
    end = train(network, start, recipe, members, features=x, targets=y, seed=1)
    for variable, before, after, own in zip(
        network.variables, start, end, [*decoder.model.get_weights(), *start[len(decoder.variables) :]], strict=True
    ):
        if variable.trainable:
            assert (np.abs(after - before).max(axis=tuple(range(1, before.ndim))) > 0).all()
        else:
            assert after.shape[0] == 1
            np.testing.assert_array_equal(after[0], own)
    outputs = network.predict(end, x)
    for copy in range(COPIES):
        np.testing.assert_allclose(network.to_keras(end, copy)(x), outputs[copy], atol=1e-4)


def test_a_copy_is_the_same_in_a_stack() -> None:
    """A copy trained beside three others ends at the bits it has alone, though all share the frozen weights."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(8, 3)).astype(np.float32), rng.integers(0, 2, 8)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(2)])
    network = Network.from_keras(model, is_started=True).adapted(Adapter(1))
    recipe = TrainingRecipe("multiclass", 3, 4, GradientDescent(), Constant(0.5), 1.0, 1.0)
    members = [Member(copy, np.arange(8), FixedSize(4, 8)) for copy in range(4)]

    def trained(chosen: list[int]) -> Parameters:
        start = network.initial(seed=3, models=chosen)
        return train(network, start, recipe, [members[i] for i in chosen], features=x, targets=y, seed=1)

    together, alone = trained([0, 1, 2, 3]), trained([2])
    for one, other in zip(network.weights(together, 2), network.weights(alone, 0), strict=True):
        np.testing.assert_array_equal(one, other)


def test_layers_say_which_kernels(decoder: Network) -> None:
    """Projections are named alone, blocks by the beginning of names; of a copy only their factors are held."""
    of_queries = decoder.adapted(Adapter(2, layers=("query", "value")))
    names = [of_queries.variables[i].name for i in of_queries.trainable]
    paths = ["block_0_attention/query", "block_0_attention/value"]
    assert names == [f"{path}/lora_{factor}:0" for path in paths for factor in "ab"]
    assert len(decoder.adapted(Adapter(2, layers=("block_0",))).factors) == 6
    assert len(decoder.adapted(ADAPTER).factors) == 7
    priced = cost(of_queries)
    assert priced.parameters == 2 * (4 * 2 + 2 * 4)
    assert priced.frozen == sum(int(np.prod(variable.shape)) for variable in decoder.variables)


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        (Adapter(5), "adapter.rank 5 is above the smaller side of layer 'block_0_attention/query' \\(4 to 4\\)"),
        (Adapter(2, layers=("queries",)), "adapter.layers: 'queries' is no layer with a kernel; there are 'block_0"),
    ],
)
def test_what_does_not_fit_is_refused(decoder: Network, adapter: Adapter, said: str) -> None:
    """A rank above a side of a kernel, and a layer that is not there, in one line that names what there is."""
    with pytest.raises(InputError, match=said):
        decoder.adapted(adapter)


def test_a_network_without_kernels_of_dense_layers_is_refused() -> None:
    """Convolutions have no adapter."""
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 3), keras.layers.Flatten()])
    with pytest.raises(InputError, match="the network has none"):
        Network.from_keras(model).adapted(ADAPTER)


@pytest.mark.parametrize("settings", [{"rank": 0}, {"rank": 2, "alpha": 0.0}])
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    """A rank from 1 on and an alpha above 0."""
    with pytest.raises(InputError):
        Adapter(**settings)
