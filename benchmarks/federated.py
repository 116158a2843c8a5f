"""Rounds per second with 40 clients, beside one Keras ``fit`` per client and beside Flower's simulation.

    python benchmarks/federated.py                 # MLP and CNN, 40 clients; and growth with the number of clients
    python benchmarks/federated.py --rounds 2 --repeats 1 --clients 10
    python benchmarks/federated.py --flower        # also Flower's simulation, in the environment of make test-flower

Each client has 50 images of 28x28 pixels and makes one pass in batches of 10. All figures come from one run: medians of
several repeats, after three rounds that compile. Wanted: at least 20 times the loop of ``fit``.
"""

import argparse
import json
import statistics
import subprocess
import sys
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
    from dpaudit._tensorflow import keras

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


def ours(kind: str, clients: int, rounds: int, *, private: bool) -> float:
    """Seconds per round of this package, compilation left out."""
    from dpaudit.stacked.losses import per_example_loss
    from dpaudit.stacked.network import Network
    from dpaudit.stacked.schedules import Constant
    from dpaudit.training.federated.aggregation import FixedClip, Mean
    from dpaudit.training.federated.local import Local
    from dpaudit.training.federated.simulation import Recipe, simulate

    x, y = records(clients)
    network = Network.from_keras(model(kind))
    ends: list[float] = []
    simulate(
        network,
        network.initial(seed=1, models=range(1)),
        Recipe(
            rounds + 3,
            local=Local(1, BATCH),
            learning_rate=Constant(0.1),
            aggregator=FixedClip(1.0, 1.0) if private else Mean(),
        ),
        features=x,
        targets=y,
        rows=[np.split(np.arange(len(x)), clients)],
        loss=lambda outputs, truth: per_example_loss("multiclass", outputs, truth),
        seed=1,
        progress=lambda _: ends.append(time.perf_counter()),
    )
    return (ends[-1] - ends[2]) / rounds


def keras_loop(kind: str, clients: int, rounds: int) -> float:
    """Seconds per round of the loop people write: set the weights, ``fit``, read the weights, average."""
    from dpaudit._tensorflow import keras

    x, y = records(clients)
    parts = np.split(np.arange(len(x)), clients)
    local = model(kind)
    local.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    weights = local.get_weights()
    local.fit(x[parts[0]], y[parts[0]], batch_size=BATCH, epochs=1, verbose=0)
    start = time.perf_counter()
    for _ in range(rounds):
        answers = []
        for part in parts:
            local.set_weights(weights)
            local.fit(x[part], y[part], batch_size=BATCH, epochs=1, verbose=0)
            answers.append(local.get_weights())
        weights = [np.mean(column, axis=0) for column in zip(*answers, strict=True)]
    return (time.perf_counter() - start) / rounds


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


def median(measure: Callable[[], float], repeats: int) -> float:
    return statistics.median(measure() for _ in range(repeats))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--flower", action="store_true")
    settings = parser.parse_args()
    clients, rounds, repeats = settings.clients, settings.rounds, settings.repeats
    for kind in ("MLP", "CNN"):
        loop = median(lambda kind=kind: keras_loop(kind, clients, max(1, rounds // 10)), repeats)  # type: ignore[misc]
        print(f"{kind}, {clients} clients: Keras fit per client {1 / loop:.3g} rounds/s")
        for private in (False, True):
            own = median(lambda kind=kind, private=private: ours(kind, clients, rounds, private=private), repeats)  # type: ignore[misc]
            name = "DP-FedAvg" if private else "FedAvg"
            print(f"{kind}, {clients} clients: {name} {1 / own:.3g} rounds/s, {loop / own:.1f} times the loop")
    base = None
    for count in (clients, 2 * clients, 4 * clients):
        each = median(lambda count=count: ours("MLP", count, rounds, private=False), repeats) / count  # type: ignore[misc]
        base = base or each
        print(f"growth: {count} clients, {1e3 * each:.3g} ms per client, {each / base:.2f} of the first")
    if settings.flower:
        if not FLOWER.exists():
            sys.exit(f"{FLOWER} is missing; tests/integrations/flower.sh makes it.")
        theirs = median(lambda: flower(clients, max(2, rounds // 5)), repeats)
        own = median(lambda: ours("MLP", clients, rounds, private=False), repeats)
        print(
            f"MLP, {clients} clients: Flower simulation {1 / theirs:.3g} rounds/s, ours {theirs / own:.1f} times that"
        )


if __name__ == "__main__":
    main()
