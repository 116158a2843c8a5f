"""TensorFlow Federated beside our own federations, on the same data and settings: `make test-tff`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpaudit.integrations.tff import trace_writer, train
from dpaudit.trace import DpClaim, inspect_trace, read_trace

tff = pytest.importorskip("tensorflow_federated", reason="not installed here; `make test-tff` makes an environment")
tf = pytest.importorskip("tensorflow")

CLIENTS, ROUNDS, RATE, CLIP, NOISE = 20, 10, 0.3, 1.0, 0.5


def _data() -> tuple[Any, Any]:
    from sklearn.datasets import load_digits

    features, labels = load_digits(return_X_y=True)
    return (features[:1600] / 16).astype(np.float32), labels[:1600].astype(np.int32)


X, Y = _data()
PARTS = np.split(np.arange(1600), CLIENTS)


def _keras() -> Any:
    return tf.keras.Sequential([tf.keras.layers.InputLayer((64,)), tf.keras.layers.Dense(10)])


def _model() -> Any:
    return tff.learning.models.from_keras_model(
        _keras(),
        input_spec=(tf.TensorSpec((None, 64), tf.float32), tf.TensorSpec((None,), tf.int32)),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )


def _clients(_: int) -> Sequence[Any]:
    return [tf.data.Dataset.from_tensor_slices((X[part], Y[part])).shuffle(80).batch(20) for part in PARTS]


def _process(aggregator: Any) -> Any:
    sgd = tff.learning.optimizers.build_sgdm
    return tff.learning.algorithms.build_unweighted_fed_avg(
        _model, client_optimizer_fn=sgd(RATE), server_optimizer_fn=sgd(1.0), model_aggregator=aggregator
    )


def _accuracy(kernel: Any, bias: Any) -> float:
    return float(((X @ kernel + bias).argmax(axis=1) == Y).mean())


def _theirs(folder: Path, aggregator: Any, claim: DpClaim | None) -> float:
    process = _process(aggregator)
    state = process.initialize()
    with trace_writer(process, state, folder, dp_claim=claim) as writer:
        train(process, state, _clients, rounds=ROUNDS, writer=writer)
    return _accuracy(*read_trace(folder).whole().rounds[-1].after)


def _ours(aggregator: Any, seed: int) -> float:
    from dpaudit.engine.losses import per_example_loss
    from dpaudit.engine.network import Network
    from dpaudit.engine.schedules import Constant
    from dpaudit.training.federated.local import Local
    from dpaudit.training.federated.simulation import FederationRecipe, simulate

    network = Network.from_keras(_keras())
    recipe = FederationRecipe(ROUNDS, local=Local(1, 20), learning_rate=Constant(RATE), aggregator=aggregator)
    models, _ = simulate(
        network, network.initial(seed=seed, models=range(1)), recipe, features=X, targets=Y.astype(np.int64),
        rows=[PARTS], loss=lambda o, t: per_example_loss("multiclass", o, t), seed=seed,
    )  # fmt: skip
    return _accuracy(*network.weights(models, 0))


@pytest.mark.parametrize("private", [False, True])
def test_accuracy_agrees_with_tensorflow_federated(private: bool, tmp_path: Path) -> None:
    """FedAvg and DP-FedAvg on the same clients: their accuracy is within 3 points of our five seeds' range."""
    from dpaudit.training.federated.aggregation import FixedClip, PlainMean

    factory = tff.aggregators.DifferentiallyPrivateFactory.gaussian_fixed(NOISE, float(CLIENTS), CLIP)
    claim = DpClaim(clip=CLIP, noise_multiplier=NOISE, sampler="all", clients=CLIENTS, of=CLIENTS, rounds=ROUNDS)
    theirs = _theirs(tmp_path / "t", factory if private else None, claim if private else None)
    ours = [_ours(FixedClip(CLIP, NOISE) if private else PlainMean("uniform"), seed) for seed in range(5)]
    print(f"private={private}: theirs {theirs:.3f}, ours {min(ours):.3f} to {max(ours):.3f}")
    assert min(ours) - 0.03 <= theirs <= max(ours) + 0.03
    assert [f.check for f in inspect_trace(tmp_path / "t") if f.severity == "violation"] == []
