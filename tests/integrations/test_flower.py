"""The Flower strategy and client mod against the real package: `make test-flower`, in an environment of its own."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="Flower is not installed here; `make test-flower` makes an environment with it")

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common import Array
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import (
    DifferentialPrivacyServerSideFixedClipping,
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedMedian,
    FedYogi,
)
from flwr.simulation import run_simulation

from dpaudit.integrations.canaries import canary_direction
from dpaudit.integrations.flower import AuditStrategy, canary_mod, server_step
from dpaudit.runtime.errors import InputError
from dpaudit.trace import DpClaim, ServerStep, inspect_trace, read_trace

NODES, ROUNDS, CLIP, NOISE = 4, 3, 0.5, 1.0
SHAPES = [(10, 10), (10,)]


def _client(weights: dict[int, int], mods: list[Any]) -> ClientApp:
    """Every client moves every parameter by its partition id plus one; it reports the number of examples given."""
    app = ClientApp(mods=mods)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        node = int(context.node_config["partition-id"])
        (record,) = message.content.array_records.values()
        moved = ArrayRecord({name: Array(array.numpy() + (node + 1.0)) for name, array in record.items()})
        content = RecordDict({"arrays": moved, "metrics": MetricRecord({"num-examples": weights.get(node, 10)})})
        return Message(content=content, reply_to=message)

    return app


def _run(folder: Path, inner: Any, *, mods: Any = (), weights: Any = None, **settings: Any) -> None:
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        start = ArrayRecord({f"w{i}": Array(np.zeros(shape, np.float32)) for i, shape in enumerate(SHAPES)})
        AuditStrategy(inner, folder, **settings).start(grid, start, num_rounds=ROUNDS)

    run_simulation(server, _client(weights or {}, list(mods)), num_supernodes=NODES)


def _fedavg() -> Any:
    return FedAvg(fraction_evaluate=0.0, min_train_nodes=NODES, min_available_nodes=NODES)


CLAIM = DpClaim(
    epsilon=18.5, delta=1e-5, clip=CLIP, noise_multiplier=NOISE, sampler="all", clients=NODES, of=NODES, rounds=ROUNDS,
    weighting="num-examples", accountant="pld",
)  # fmt: skip


def test_a_simulation_of_three_rounds_leaves_a_whole_trace(tmp_path: Path) -> None:
    """FedAvg of clients that move by 1, 2, 3 and 4 moves by 2.5 a round; the trace says so, with every update."""
    _run(tmp_path / "t", _fedavg(), capture_updates=True)
    trace = read_trace(tmp_path / "t").whole()
    assert trace.manifest.framework.startswith("flower")
    assert len(trace.rounds) == trace.manifest.rounds == ROUNDS
    np.testing.assert_allclose(trace.releases, 2.5, atol=1e-5)
    updates = trace.rounds[0].updates
    assert updates is not None
    assert sorted(float(own[0][0, 0]) for own in updates.values()) == pytest.approx([1, 2, 3, 4])


def test_the_weighted_average_under_dp_is_found_in_flowers_own_wrapper(tmp_path: Path) -> None:
    """Clients of 10, 10, 10 and 1000 examples: the wrapper's noise is 3.88 times too small, and the trace shows it."""
    inner = DifferentialPrivacyServerSideFixedClipping(_fedavg(), NOISE, CLIP, NODES)
    _run(tmp_path / "t", inner, weights={3: 1000}, dp_claim=CLAIM)
    found = [finding for finding in inspect_trace(tmp_path / "t") if finding.check == "client weights"]
    assert found
    assert "3.88 times" in found[0].observed


def test_equal_weights_under_dp_pass(tmp_path: Path) -> None:
    """The same wrapper with clients of equal size has no violation, and the clip of every round is in the trace."""
    inner = DifferentialPrivacyServerSideFixedClipping(_fedavg(), NOISE, CLIP, NODES)
    _run(tmp_path / "t", inner, dp_claim=CLAIM)
    assert [f.check for f in inspect_trace(tmp_path / "t") if f.severity == "violation"] == []
    assert {one.clip for one in read_trace(tmp_path / "t").rounds} == {CLIP}


def test_canaries_answer_with_their_direction(tmp_path: Path) -> None:
    """A canary's update is the norm times its direction, drawn again from the seed; the others are untouched."""
    mod = canary_mod(seed=5, canaries=[2], norm=CLIP)
    _run(tmp_path / "t", _fedavg(), mods=[mod], capture_updates=True, canaries=1)
    updates = read_trace(tmp_path / "t").rounds[1].updates
    assert updates is not None
    flat = [np.concatenate([np.ravel(part) for part in own]) for own in updates.values()]
    direction = canary_direction(110, seed=5, canary=2)
    cosines = sorted(float(u @ direction / np.linalg.norm(u)) for u in flat)
    assert cosines[-1] == pytest.approx(1, abs=1e-4)
    assert abs(cosines[-2]) < 0.5
    assert min(float(np.linalg.norm(u)) for u in flat) == pytest.approx(CLIP, abs=1e-4)


def test_several_array_records_are_refused(tmp_path: Path) -> None:
    """Flower clips each record by itself, at twice the sensitivity for four; a trace of that is not written."""
    from dpaudit.integrations.flower import only_arrays

    class Fake:
        content = RecordDict({"a": ArrayRecord(), "b": ArrayRecord()})

    with pytest.raises(InputError, match="2 array records"):
        only_arrays(Fake())


def _after(strategy: Any, rounds: int) -> list[float]:
    """The one parameter after each round, in which the clients' average moves by 1."""
    now, found = ArrayRecord({"w": Array(np.zeros(1, np.float32))}), []
    for number in range(1, rounds + 1):
        strategy.current_arrays = now
        asked = Message(RecordDict({"arrays": now}), dst_node_id=1, message_type="train")
        moved = ArrayRecord({"w": Array(now["w"].numpy() + np.float32(1.0))})
        reply = Message(RecordDict({"arrays": moved, "metrics": MetricRecord({"num-examples": 10})}), reply_to=asked)
        now, _ = strategy.aggregate_train(number, [reply])
        found.append(float(now["w"].numpy()[0]))
    return found


def test_flowers_own_steps_are_what_the_trace_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """v = 0.9 v + g and w + 0.5 v: 0.5, 1.45, 2.805 by hand, from the strategy itself; plain averaging adds g."""
    if find_spec("flwr.supercore.task_identity") is not None:  # later versions want a run before a message
        identity = import_module("flwr.supercore.task_identity").TaskIdentity
        for name in ("_task_id", "_run_id", "_node_id"):
            monkeypatch.setattr(identity, name, 1)
    strategy = FedAvgM(server_learning_rate=0.5, server_momentum=0.9)
    assert server_step(strategy) == ServerStep("momentum", 0.5, 0.9)
    assert _after(strategy, 3) == pytest.approx([0.5, 1.45, 2.805], abs=1e-6)
    assert server_step(FedAvgM(server_learning_rate=0.5)) == ServerStep("sgd", 0.5)
    assert _after(FedAvgM(server_learning_rate=0.5), 2) == pytest.approx([0.5, 1.0], abs=1e-6)
    assert server_step(FedAvg()) == ServerStep()
    assert _after(FedAvg(), 2) == pytest.approx([1.0, 2.0], abs=1e-6)
    for adaptive in (FedAdam, FedYogi, FedAdagrad):
        assert server_step(adaptive(eta=0.05)) == ServerStep("adam", 0.05)
    wrapped = DifferentialPrivacyServerSideFixedClipping(strategy, NOISE, CLIP, NODES)
    assert server_step(wrapped) == ServerStep("momentum", 0.5, 0.9)
    assert server_step(FedMedian()) is None
