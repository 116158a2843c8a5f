"""Our own federations under the checks that other people's get: the trace's, and those of a server's arithmetic."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpaudit.accounting.claim import Poisson
from dpaudit.engine.losses import per_example_loss
from dpaudit.engine.network import Network
from dpaudit.engine.schedules import Constant
from dpaudit.inspection.mechanism import SHAPES, Stated
from dpaudit.inspection.server import Server, inspect_server
from dpaudit.integrations.simulated import record_rounds, trace_writer
from dpaudit.runtime.tensorflow import keras, tf
from dpaudit.trace import DpClaim, inspect_trace, read_trace
from dpaudit.training.federated.aggregation import AdaptiveClip, Aggregator, FixedClip, PlainMean
from dpaudit.training.federated.ledger import epsilon_by_round
from dpaudit.training.federated.local import Local
from dpaudit.training.federated.participation import AllClients, PoissonClients
from dpaudit.training.federated.queries import Aggregation
from dpaudit.training.federated.simulation import FederationRecipe, simulate

pytestmark = pytest.mark.tf


@pytest.mark.parametrize("capture_updates", [True, False])
def test_a_trace_of_our_own_dp_fedavg_has_no_violation(capture_updates: bool, tmp_path: Path) -> None:
    """What `simulate` does agrees with what its accountant is told; claiming half of that ε is found."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 5)).astype(np.float32), rng.integers(3, size=200)
    network = Network.from_keras(keras.Sequential([keras.Input((5,)), keras.layers.Dense(8), keras.layers.Dense(3)]))
    participation, aggregator = PoissonClients(0.5), FixedClip(0.3, 1.2)
    recipe = FederationRecipe(6, participation, Local(1, 5), Constant(0.2), aggregator)
    mechanism = aggregator.mechanism(participation, 6)
    assert mechanism is not None
    assert mechanism.sampling == Poisson(0.5)
    truth = epsilon_by_round(mechanism, [6], total=6, delta=1e-5)[0].epsilon
    claim = DpClaim(
        epsilon=truth, delta=1e-5, clip=0.3, noise_multiplier=1.2, sampler="poisson", clients=20, of=40, rounds=6,
        weighting="uniform", accountant="pld",
    )  # fmt: skip
    for name, figure in (("right", truth), ("half", truth / 2)):
        stated = DpClaim(**{**claim.__dict__, "epsilon": figure})
        with trace_writer(network, tmp_path / name, dp_claim=stated, capture_updates=capture_updates) as writer:
            models, _ = simulate(
                network, network.initial(seed=1, models=range(1)), recipe, features=x, targets=y,
                rows=[np.split(np.arange(200), 40)], loss=lambda o, t: per_example_loss("multiclass", o, t), seed=2,
                observe=record_rounds(writer, network, capture_updates=capture_updates),
            )  # fmt: skip
        last = read_trace(tmp_path / name).whole().rounds[-1].after
        for written, value in zip(last, network.weights(models, 0), strict=True):
            np.testing.assert_allclose(written, value, atol=1e-6)
        violations = [f.check for f in inspect_trace(tmp_path / name) if f.severity == "violation"]
        assert violations == ([] if name == "right" else ["claimed ε"])


def _server(aggregator: Aggregator, *, clients: int = 16) -> Server:
    """Our aggregator as a server under test: every start has noise of its own."""
    starts = iter(range(10**9))

    def start() -> Any:
        aggregation = Aggregation(aggregator, SHAPES, float(clients), AllClients(), seed=next(starts))
        state, number = aggregation.start(), 0

        def aggregate(model: Sequence[Any], updates: Sequence[Any], weights: Any) -> list[Any]:
            nonlocal state, number
            sent = [tf.constant(update, tf.float32) for update in updates]
            released = aggregation(state, sent, np.asarray(weights), range(len(weights)), round_number=number)
            state, number = released.state, number + 1
            assert released.mean is not None
            return [old + new.numpy() for old, new in zip(model, released.mean, strict=True)]

        return aggregate

    return Server(start, adaptive=isinstance(aggregator, AdaptiveClip), clients=clients)


@pytest.mark.parametrize("aggregator", [FixedClip(1.0, 1.0), AdaptiveClip(1.0, clip=1.0)])
def test_our_aggregators_pass_the_inspection_of_servers(aggregator: Aggregator) -> None:
    """Weights, scale, independence, NaN, batch size and the way of the clip are as stated (level 1e-6)."""
    found = inspect_server(_server(aggregator), Stated(1.0, 1.0, 16.0), seed=1, effort=0.1)
    assert [finding.check for finding in found.violations] == []


class _Weighted:
    """The fault: clipped and noised as stated, but weighted by the clients' numbers of examples."""

    def __call__(self, model: Sequence[Any], updates: Sequence[Any], weights: Any) -> list[Any]:
        rng = np.random.default_rng()
        flat = np.concatenate([np.reshape(u, (len(u), -1)) for u in updates], axis=1).astype(np.float64)
        flat = np.nan_to_num(flat, posinf=0, neginf=0)
        flat = flat * np.minimum(1, 1 / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-30))
        mean = (weights / weights.sum()) @ flat + rng.normal(0, 1 / 16, flat.shape[1])
        parts = np.split(mean, np.cumsum([int(np.prod(s)) for s in SHAPES])[:-1])
        return [m + p.reshape(m.shape) for m, p in zip(model, parts, strict=True)]


def test_the_same_inspection_finds_weights_and_missing_dp() -> None:
    """A server that weighs by examples, and the plain mean under a DP claim, are both caught."""
    weighted = inspect_server(Server(lambda: _Weighted(), clients=16), Stated(1.0, 1.0, 16.0), seed=1, effort=0.1)
    assert "client weights" in {finding.check for finding in weighted.violations}
    plain = inspect_server(_server(FixedClip(50.0, 0.02)), Stated(1.0, 1.0, 16.0), seed=1, effort=0.1)
    assert "sensitivity" in {finding.check for finding in plain.violations}
    assert PlainMean().mechanism(AllClients(), 1) is None
