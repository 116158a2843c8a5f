"""Gradient inversion beside breaching 0.1.2, and the candidate attack: ratios from one run.

    python benchmarks/gradient.py            full size
    python benchmarks/gradient.py --smoke    tiny, to see that it runs

Both sides get bit-identical weights, gradients and labels, and the same number of threads; both are scored by our PSNR.
Known faults of the peer are kept out of the comparison: labels are given (its joint attack returns random ones), total
variation is off (it crashes on one channel). The peer runs in ``.benchmark-env/gradient``, made on first use. Our times
include tracing the program; the second figure repeats the attack as a user who goes on would see it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

import numpy as np

from dpaudit._tensorflow import keras, tf
from dpaudit.attacks.gradient.dense_network import DenseNetwork
from dpaudit.attacks.gradient.game import Game, play
from dpaudit.attacks.gradient.inverting import InvertingGradients
from dpaudit.attacks.gradient.matching import GradientMatching
from dpaudit.attacks.gradient.metrics import assignment, psnr
from dpaudit.attacks.gradient.observe import batch_gradient
from dpaudit.attacks.gradient.prior import CandidateAttack, RecordContributions, Records
from dpaudit.attacks.gradient.victims import Victims
from dpaudit.data.bundled import digits, mnist_5000

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE.parent / ".benchmark-env" / "gradient"
PACKAGES = (("torch==2.13.0", "hydra-core", "scipy", "numpy"), ("--no-deps", "breaching==0.1.2"))


def environment() -> Path:
    """The peer's Python."""
    python = ENVIRONMENT / "bin" / "python"
    ready = ENVIRONMENT / ".ready"
    if not ready.exists():
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        for packages in PACKAGES:
            subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
        ready.touch()
    return python


def lenet(side: int, activation: str) -> Any:
    """Three convolutions of 12 channels and a dense layer; DLG's uniform start for the sigmoid, Glorot for ReLU."""

    def start(seed: int) -> Any:
        kind = keras.initializers.RandomUniform(-0.5, 0.5, seed) if activation == "sigmoid" else None
        return kind or keras.initializers.GlorotUniform(seed)

    layers = [
        keras.layers.Conv2D(
            12, 5, stride, "same", activation=activation, kernel_initializer=start(i), bias_initializer=start(9 + i)
        )
        for i, stride in enumerate((2, 2, 1))
    ]
    return keras.Sequential(
        [
            keras.Input((side, side, 1)),
            *layers,
            keras.layers.Flatten(),
            keras.layers.Dense(10, kernel_initializer=start(5)),
        ]
    )


def peer(job: dict[str, Any], views: list[Any], check: Any) -> tuple[np.ndarray, np.ndarray]:
    """Reconstructions and seconds per victim of breaching."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "job.npz", Path(folder) / "out.npz"
        content: dict[str, Any] = {"job": json.dumps({**job, "out": str(out)})}
        content |= {f"w{i}": w for i, w in enumerate(views[0].weights)}
        for v, view in enumerate(views):
            content |= {f"g{v}_{i}": g for i, g in enumerate(view.gradient)}
            content[f"y{v}"] = view.labels
        content |= {"check_x": check[0], "check_y": check[1]}
        content |= {f"check_g{i}": g for i, g in enumerate(check[2].gradient)}
        np.savez(path, **content)
        subprocess.run([environment(), HERE / "breaching_peer.py", path], check=True, stdout=subprocess.DEVNULL)
        with np.load(out) as found:
            return found["found"], found["seconds"]


def scored(found: list[np.ndarray], truth: np.ndarray) -> float:
    """Median over the victims of the mean PSNR of their records, matched by assignment."""
    values = [psnr(np.clip(f, 0, 1)[assignment(f, t)], t).mean() for f, t in zip(found, truth, strict=True)]
    return statistics.median(values)


def compare(
    name: str,
    data: Any,
    activation: str,
    *,
    victims: int,
    threads: int,
    budgets: tuple[int, ...],
    tolerance: float,
) -> None:
    side = data.features.shape[1]
    rows = np.random.default_rng(0).choice(len(data), victims, replace=False)
    truth, labels = data.features[rows, None].astype(np.float64), data.classes[rows, None]
    model = lenet(side, activation)
    model_victims = Victims.of(model)
    views = [batch_gradient(model_victims, x, y, knows=("labels",)) for x, y in zip(truth, labels, strict=True)]
    # The first view is of this very record: what both frameworks must agree on.
    check = (truth[0], labels[0], views[0])
    cosine = activation == "relu"
    kind = "invertinggradients" if cosine else "deepleakage"
    job = {"attack": kind, "activation": activation, "side": side, "threads": threads, "victims": victims}

    def attack() -> Any:
        if cosine:
            return InvertingGradients(model, restarts=1, iterations=500, variation=1e-3)
        return GradientMatching(model, restarts=1, iterations=800, tolerance=tolerance)

    single, times = attack(), []
    found = []
    for view in views:
        begin = time.perf_counter()
        found.append(single(view).records)
        times.append(time.perf_counter() - begin)
    cold, warm = times[0], statistics.median(times[1:] or times)
    stacked = attack()
    begin = time.perf_counter()
    together = [r.records for r in stacked.together(views)]
    stacked_seconds = time.perf_counter() - begin
    # The peer gets the smallest of its budgets that comes within 1 dB of our fidelity, else the best it reaches.
    ours, best = scored(found, truth), (0.0, -np.inf, 0)
    for budget in budgets:
        theirs, seconds = peer({**job, "iterations": budget}, views, check)
        reached = scored(list(theirs), truth)
        if reached > best[1]:
            best = (60 * victims / seconds.sum(), reached, budget)
        if reached >= ours - 1:
            break
    their_rate, their_psnr, budget = best
    print(f"{name}, {activation}, {job['attack']}, {victims} victims, {threads} threads")
    print(f"  breaching          {their_rate:8.1f} per minute   PSNR {their_psnr:6.1f} dB   ({budget} iterations)")
    print(f"  one by one         {60 / warm:8.1f} per minute   PSNR {ours:6.1f} dB   "
          f"x{60 / warm / their_rate:.1f}   (the first, with tracing: {cold:.1f} s)")  # fmt: skip
    rate = 60 * victims / stacked_seconds
    reached = scored(together, truth)
    print(f"  stacked            {rate:8.1f} per minute   PSNR {reached:6.1f} dB   x{rate / their_rate:.1f}")


def prior_runs(runs: int) -> None:
    """The candidate attack in the published setting."""
    data = mnist_5000()
    x, y = 2 * data.features.reshape(len(data), -1) - 1, data.classes
    order = np.random.default_rng(0).permutation(len(data))
    network = DenseNetwork((784, 10, 10))
    contributions = RecordContributions(network, 0.1)
    known = Records(x[order[:999]], y[order[:999]])
    candidates = Records(x[order[1000:1008]], y[order[1000:1008]])
    game = Game(contributions, known, noise_multiplier=5.0, steps=100, learning_rate=9.0)
    begin = time.perf_counter()
    won = play(game, CandidateAttack(contributions), network.initial(seed=1), candidates, runs=runs, seed=0)
    seconds = time.perf_counter() - begin
    print(f"candidate attack: {runs} runs in {seconds:.1f} s ({1000 * seconds / runs:.0f} s per 1,000), "
          f"success {won.successes / runs:.3f}")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="tiny, to see that it runs")
    parser.add_argument("--threads", type=int, default=1, help="threads on both sides")
    chosen = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(chosen.threads)
    small = chosen.smoke
    victims = 2 if small else 64
    both = {"victims": victims, "threads": chosen.threads}
    compare("digits", digits(), "sigmoid", **both, budgets=(10,) if small else (10, 30, 100), tolerance=1e-10)
    if not small:
        compare("MNIST", mnist_5000(), "sigmoid", **both, budgets=(60, 120, 240), tolerance=1e-10)
        compare("MNIST", mnist_5000(), "relu", **{**both, "victims": 16}, budgets=(500, 1000, 2000), tolerance=0.0)
    prior_runs(5 if small else 1000)
    return 0


if __name__ == "__main__":
    sys.exit(main())
