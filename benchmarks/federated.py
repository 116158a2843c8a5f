"""Rounds per second of federated training beside a loop of Keras ``fit`` per client and Flower's simulation.

    python benchmarks/federated.py            full size (a few minutes on two idle cores)
    python benchmarks/federated.py --smoke    tiny, to see that it runs

Each client has 50 images of 28x28 pixels and makes one pass in batches of 10. All sides take turns, and every ratio is
the median over several turns; compilation is left out. Flower runs in the environment of ``make test-flower``, made on
first use.
"""

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PER_CLIENT, BATCH = 50, 10
FLOWER = Path(".venv-flower/bin/python")


def records(clients: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]  # pixels of any kind will do
    """Random images: the speed does not depend on what they show."""
    rng = np.random.default_rng(0)
    shape = (clients * PER_CLIENT, 28, 28, 1)
    return rng.random(shape, np.float32), rng.integers(10, size=len(np.empty(shape[0])))


def model(kind: str) -> Any:
    """The two networks of the design's table."""
    from dpaudit.runtime.tensorflow import keras

    layers = keras.layers
    if kind == "MLP":
        return keras.Sequential(
            [keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dense(10)]
        )
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(16, 8, strides=2, padding="same", activation="relu"),
            layers.MaxPooling2D(2, strides=1),
            layers.Conv2D(32, 4, strides=2, activation="relu"),
            layers.MaxPooling2D(2, strides=1),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(10),
        ]
    )


def ours(
    kind: str, clients: int, rounds: int, *, private: bool, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Seconds per round of this package, compilation left out."""
    from dpaudit.engine.losses import per_example_loss
    from dpaudit.engine.network import Network
    from dpaudit.engine.schedules import Constant
    from dpaudit.training.federated.aggregation import FixedClip, PlainMean
    from dpaudit.training.federated.local import Local
    from dpaudit.training.federated.simulation import FederationRecipe, simulate

    x, y = records(clients)
    network = Network.from_keras(model(kind))
    ends: list[float] = []
    simulate(
        network,
        network.initial(seed=1, models=range(1)),
        FederationRecipe(
            rounds + 3,
            local=Local(1, BATCH),
            learning_rate=Constant(0.1),
            aggregator=FixedClip(1.0, 1.0) if private else PlainMean(),
        ),
        features=x,
        targets=y,
        rows=[np.split(np.arange(len(x)), clients)],
        loss=lambda outputs, truth: per_example_loss("multiclass", outputs, truth),
        seed=1,
        progress=lambda _: ends.append(clock()),
    )
    return (ends[-1] - ends[2]) / rounds


def keras_loop(kind: str, clients: int, rounds: int, *, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds per round of the loop people write: set the weights, ``fit``, read the weights, average."""
    from dpaudit.runtime.tensorflow import keras

    x, y = records(clients)
    parts = np.split(np.arange(len(x)), clients)
    local = model(kind)
    local.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    weights = local.get_weights()
    local.fit(x[parts[0]], y[parts[0]], batch_size=BATCH, epochs=1, verbose=0)
    start = clock()
    for _ in range(rounds):
        answers = []
        for part in parts:
            local.set_weights(weights)
            local.fit(x[part], y[part], batch_size=BATCH, epochs=1, verbose=0)
            answers.append(local.get_weights())
        weights = [np.mean(column, axis=0) for column in zip(*answers, strict=True)]
    return (clock() - start) / rounds


FLOWER_CODE = """
import json, sys, time
import numpy as np
from flwr.app import ArrayRecord, MetricRecord, RecordDict, Message
from flwr.clientapp import ClientApp
from flwr.common import Array
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
clients, rounds, per, batch = map(int, sys.argv[1:5])
rng = np.random.default_rng(0)
shapes = [(784, 128), (128,), (128, 10), (10,)]
app = ClientApp()
@app.train()
def train(message, context):
    (record,) = message.content.array_records.values()
    w1, b1, w2, b2 = [a.numpy().copy() for a in record.values()]
    x, y = rng.random((per, 784), np.float32), rng.integers(10, size=per)
    for at in range(0, per, batch):
        a, t = x[at:at + batch], y[at:at + batch]
        h = np.maximum(a @ w1 + b1, 0); z = h @ w2 + b2
        p = np.exp(z - z.max(1, keepdims=True)); p /= p.sum(1, keepdims=True)
        p[np.arange(len(t)), t] -= 1; p /= len(t)
        d = (p @ w2.T) * (h > 0)
        w2 -= .1 * h.T @ p; b2 -= .1 * p.sum(0); w1 -= .1 * a.T @ d; b1 -= .1 * d.sum(0)
    moved = ArrayRecord({k: Array(v) for k, v in zip(record, (w1, b1, w2, b2))})
    content = RecordDict({"arrays": moved, "metrics": MetricRecord({"num-examples": per})})
    return Message(content=content, reply_to=message)
server = ServerApp()
seconds = []
@server.main()
def main(grid, context):
    class Timed(FedAvg):
        def aggregate_train(self, *a, **k):
            seconds.append(time.perf_counter())
            return super().aggregate_train(*a, **k)
    start = ArrayRecord({f"w{i}": Array(rng.normal(0, .05, s).astype(np.float32)) for i, s in enumerate(shapes)})
    strategy = Timed(fraction_evaluate=0.0, min_train_nodes=clients, min_available_nodes=clients)
    strategy.start(grid, start, num_rounds=rounds + 1)
run_simulation(server, app, num_supernodes=clients)
print("SECONDS", json.dumps((seconds[-1] - seconds[0]) / rounds))
"""


def flower(clients: int, rounds: int) -> float:
    """Seconds per round of Flower's simulation on the MLP, its clients hand-written in numpy (no framework to load)."""
    command = [str(FLOWER), "-c", FLOWER_CODE, *map(str, (clients, rounds, PER_CLIENT, BATCH))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("SECONDS"))
    return float(json.loads(line.removeprefix("SECONDS ")))


def in_turns(sides: dict[str, Callable[[], float]], turns: int) -> dict[str, list[float]]:
    """Seconds of each side in every turn."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(turns):
        for name, measure in sides.items():
            seconds[name].append(measure())
    return seconds


def ratio(theirs: list[float], own: list[float]) -> dict[str, float]:
    """How many times as fast as the peer, over the turns."""
    each = [a / b for a, b in zip(theirs, own, strict=True)]
    return {"median": statistics.median(each), "low": min(each), "high": max(each)}


def flower_environment() -> str:
    """Make Flower's environment; a reason when it cannot be made, else nothing."""
    if FLOWER.exists():
        return ""
    done = subprocess.run(["sh", "tests/integrations/flower_environment.sh"], capture_output=True, text=True)
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return "" if done.returncode == 0 else f"its environment could not be made: {lines[-1]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes")
    parser.add_argument("--out", type=Path, help="JSON file for the measurements")
    settings = parser.parse_args()
    clients, rounds, turns = settings.clients, settings.rounds, settings.turns
    if settings.smoke:
        clients, rounds, turns = 8, 2, 1
    ratios: dict[str, dict[str, float]] = {}
    figures: dict[str, Any] = {}

    def report(name: str, found: dict[str, float]) -> None:
        ratios[name] = found
        print(f"{name}: {found['median']:.1f} times ({found['low']:.1f} to {found['high']:.1f})", flush=True)

    for kind, own_rounds in (("MLP", rounds), ("CNN", max(1, rounds // 2))):
        seconds = in_turns(
            {
                "loop": lambda kind=kind: keras_loop(kind, clients, max(1, rounds // 10)),  # type: ignore[misc]
                "FedAvg": lambda kind=kind, own=own_rounds: ours(kind, clients, own, private=False),  # type: ignore[misc]
                "DP-FedAvg": lambda kind=kind, own=own_rounds: ours(kind, clients, own, private=True),  # type: ignore[misc]
            },
            turns,
        )
        for name in ("FedAvg", "DP-FedAvg"):
            report(f"{name} {kind}, {clients} clients, to a loop of Keras fit", ratio(seconds["loop"], seconds[name]))
        for name, values in seconds.items():
            figures[f"{kind} {name}, rounds per second"] = round(1 / statistics.median(values), 3)
    counts = (clients, 4 * clients)
    growth = in_turns({str(n): lambda n=n: ours("MLP", n, rounds, private=False) / n for n in counts}, turns)  # type: ignore[misc]
    for count in counts:
        each = statistics.median(growth[str(count)])
        figures[f"MLP, {count} clients, milliseconds per client and round"] = round(1e3 * each, 3)
        print(f"growth: {count} clients, {1e3 * each:.3g} ms per client and round", flush=True)
    report(
        f"MLP, cost per client at {clients} to that at {4 * clients} clients",
        ratio(growth[str(counts[0])], growth[str(counts[1])]),
    )
    problem = flower_environment()
    if problem:
        figures["Flower"] = f"not measured: {problem}"
        print(f"Flower: {figures['Flower']}")
    else:
        seconds = in_turns(
            {
                "flower": lambda: flower(clients, max(2, rounds // 5)),
                "ours": lambda: ours("MLP", clients, rounds, private=False),
            },
            turns,
        )
        report(f"FedAvg MLP, {clients} clients, to Flower's simulation", ratio(seconds["flower"], seconds["ours"]))
        figures["Flower, rounds per second"] = round(1 / statistics.median(seconds["flower"]), 3)
    targets = {name: 20.0 for name in ratios if "Keras" in name}
    if settings.out is not None:
        document = {"ratios": ratios, "figures": figures, "targets": targets}
        settings.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
