"""Whether the package became slower: each work beside a fixed loop that is measured in the same moment.

    make bench-quick                       exit 1 where a work lost a quarter of its speed, or nothing is recorded
    make bench-quick QUICK=--record        record the ratios of this processor in benchmarks/results/quick.json
    make bench-quick QUICK="--slow 1.25"   every work takes 1.25 times as long: shows that this would be reported

A work and its loop take turns. Of each the least processor time of all rounds counts, without compilation and in one
thread, which the recipe of `make` sees to; the ratio is that of the loop to that of the work, so that above 1 the
package is faster. What else the machine does slows both. A ratio is compared with the one that was recorded on the same
kind of processor: another processor has other ratios.

Attacks on gradients are no work here: on two cores that ten other programs shared, ten passes of gradient matching
beside descent on the same distance in NumPy gave 0.81 to 1.05 of the recorded ratio, three of them below the limit.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from benchmarks.all import machine
from benchmarks.attacks import pool, published_loop
from dpaudit.attacks.membership.lira import Lira
from dpaudit.bounds.default import default_bound
from dpaudit.data.inclusion import fair_coins
from dpaudit.data.member_choice import Coins
from dpaudit.runtime.files import read_text, write_text
from dpaudit.scores.scores import Scores

RESULTS = Path(__file__).resolve().parent / "results" / "quick.json"
ROUNDS = 7
LOST = 0.87  # of the recorded ratio: between 1, which noise moves by some per cent, and 0.8, a quarter more time
Work = Callable[[], object]


def training() -> tuple[Work, Work]:
    """DP-SGD of eight MLPs on the stacked engine, beside one in NumPy."""
    from benchmarks.peers.networks import keras_network
    from dpaudit.data.bundled import mnist_5000
    from dpaudit.engine.batches import sampling_event
    from dpaudit.engine.network import Network
    from dpaudit.engine.optimizers import GradientDescent
    from dpaudit.engine.schedules import Constant
    from dpaudit.engine.training import Member, TrainingRecipe, train

    records = mnist_5000()
    features, labels = records.features[:1000], records.classes[:1000]
    network = Network.from_keras(keras_network("mlp"))
    event = sampling_event("shuffled", len(labels), 250)
    members = [Member(i, np.arange(len(labels)), event) for i in range(8)]
    start = network.initial(seed=1, models=range(8))
    recipe = TrainingRecipe("multiclass", 24, 250, GradientDescent(), Constant(0.1), clip=1.0, noise_multiplier=1.0)
    rows, truth = features.reshape(len(labels), -1).astype(np.float32), np.eye(10, dtype=np.float32)[labels]
    return (
        lambda: train(network, start, recipe, members, features=features, targets=labels, seed=1),
        lambda: numpy_dp_sgd(rows, truth, steps=60, batch=250),
    )


def numpy_dp_sgd(rows: npt.NDArray[np.float32], truth: npt.NDArray[np.float32], *, steps: int, batch: int) -> None:
    """DP-SGD of 784-128-10 with per-example norms from activations and errors."""
    rng = np.random.default_rng(1)
    first, second = (rng.normal(0, 0.05, shape).astype(np.float32) for shape in ((rows.shape[1], 128), (128, 10)))
    for _ in range(steps):
        chosen = rng.integers(len(rows), size=batch)
        x, y = rows[chosen], truth[chosen]
        hidden = np.maximum(x @ first, 0)
        logits = hidden @ second
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        error = p / p.sum(axis=1, keepdims=True) - y
        back = (error @ second.T) * (hidden > 0)
        squares = (x**2).sum(1) * (back**2).sum(1) + (hidden**2).sum(1) * (error**2).sum(1)
        scale = np.minimum(1, 1 / np.sqrt(squares))[:, None].astype(np.float32)
        for weights, left, right in ((first, x, back), (second, hidden, error)):
            noise = rng.standard_normal(weights.shape, dtype=np.float32)
            weights -= np.float32(0.1 / batch) * (left.T @ (right * scale) + noise)


def federated() -> tuple[Work, Work]:
    """Rounds of federated averaging of an MLP with DP on 40 clients of 50 images, beside such clients in NumPy."""
    from benchmarks.federated import BATCH, records
    from benchmarks.peers.networks import keras_network
    from dpaudit.engine.losses import per_example_loss
    from dpaudit.engine.network import Network
    from dpaudit.engine.schedules import Constant
    from dpaudit.training.federated.aggregation import FixedClip
    from dpaudit.training.federated.local import Local
    from dpaudit.training.federated.simulation import FederationRecipe, simulate

    features, labels = records(40)
    network = Network.from_keras(keras_network("mlp"))
    start, rows = network.initial(seed=1, models=range(1)), [np.split(np.arange(len(labels)), 40)]
    recipe = FederationRecipe(8, local=Local(1, BATCH), learning_rate=Constant(0.1), aggregator=FixedClip(1.0, 1.0))

    def loss(outputs: object, truth: object) -> object:
        return per_example_loss("multiclass", outputs, truth)

    flat, truth = features.reshape(len(labels), -1), np.eye(10, dtype=np.float32)[labels]
    return (
        lambda: simulate(network, start, recipe, features=features, targets=labels, rows=rows, loss=loss, seed=1),
        lambda: numpy_dp_sgd(flat, truth, steps=600, batch=BATCH),
    )


def attacks() -> tuple[Work, Work]:
    """LiRA on 64 references and 20,000 records, beside the published loop."""
    signals = pool(64, 20_000).target(0)
    attack = Lira("per-record", "median")
    return lambda: attack(signals), lambda: published_loop(signals)


def bounds() -> tuple[Work, Work]:
    """The bound of an audit of one run on 1,000 scores, beside sums of binomial probabilities."""
    member = fair_coins(1000, seed=1)
    scores = Scores.join(np.random.default_rng(1).normal(size=1000) + member, member)
    bound, counts = default_bound("one-run", Coins(0.5), seed=1), np.arange(1001)

    def judge() -> None:
        for _ in range(400):
            bound(scores, delta=1e-5, confidence=0.95, adjacency="add-remove", unit="record")

    def tails() -> None:
        for p in np.linspace(0.5, 0.9, 600):
            np.cumsum(binom.pmf(counts, 1000, p))

    return judge, tails


WORKS: dict[str, Callable[[], tuple[Work, Work]]] = {
    "training": training,
    "federated": federated,
    "attacks": attacks,
    "bounds": bounds,
}


def spent(work: Work, slow: float = 1.0) -> float:
    """Processor seconds of a work, and of doing nothing for as long as it would take if it were slower."""
    begin = time.process_time()
    work()
    end = time.process_time()
    while time.process_time() < begin + slow * (end - begin):
        pass
    return time.process_time() - begin


def ratio(ours: Work, loop: Work, *, rounds: int = ROUNDS, slow: float = 1.0) -> float:
    """How many times as fast as the loop the work is: least times of rounds in which both take turns."""
    ours(), loop()  # what is compiled or read once
    each = [(spent(ours, slow), spent(loop)) for _ in range(rounds)]
    return min(loops for _, loops in each) / min(own for own, _ in each)


def fell(now: Mapping[str, float], recorded: Mapping[str, float]) -> list[str]:
    """Works that lost a quarter of their speed, or that nothing is recorded of.

    >>> fell({"training": 0.8, "bounds": 0.9, "attacks": 1.0}, {"training": 1.0, "bounds": 1.0})
    ['training: 0.8 times its loop, 1 recorded', 'attacks: nothing is recorded on this processor']
    """
    found = []
    for name, value in now.items():
        if name not in recorded:
            found.append(f"{name}: nothing is recorded on this processor")
        elif value < LOST * recorded[name]:
            found.append(f"{name}: {value:.3g} times its loop, {recorded[name]:.3g} recorded")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="*", metavar="WORK", help=f"of {', '.join(WORKS)}; all when none")
    parser.add_argument("--record", action="store_true", help="keep the ratios, the middle ones of three times")
    parser.add_argument("--slow", type=float, default=1.0, help="how many times as long every work is to take")
    given = parser.parse_args()
    if unknown := [name for name in given.works if name not in WORKS]:
        parser.error(f"work must be one of {', '.join(WORKS)}, got {unknown[0]!r}")
    processor = machine()["CPU"]
    recorded = json.loads(read_text(RESULTS)) if RESULTS.exists() else {}
    found = {}
    for name in given.works or WORKS:
        ours, loop = WORKS[name]()
        times = [ratio(ours, loop, slow=given.slow) for _ in range(3 if given.record else 1)]
        found[name] = statistics.median(times)
        print(f"{name}: {', '.join(f'{each:.3g}' for each in times)} times its loop", flush=True)
    if given.record:
        recorded[processor] = {**recorded.get(processor, {}), **{name: round(found[name], 4) for name in found}}
        write_text(RESULTS, json.dumps(recorded, indent=1) + "\n")
        return 0
    lost = fell(found, recorded.get(processor, {}))
    for line in lost:
        print(f"FELL  {line}")
    if any("nothing is recorded" in line for line in lost):
        print("make bench-quick QUICK=--record records them, before the change that is to be judged")
    return 1 if lost else 0


if __name__ == "__main__":
    raise SystemExit(main())
