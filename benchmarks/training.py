"""The stacked engine beside TensorFlow Privacy, Opacus, hand-written JAX and plain Keras: ratios from one run.

    python benchmarks/training.py            full size (about half an hour on two idle cores)
    python benchmarks/training.py --smoke    tiny, to see that it runs

MNIST-5000, batch 250, clip 1, noise multiplier 1, SGD; examples per second after compilation, medians of several
rounds in which all sides take turns. The engine trains 16 models, every peer one (JAX also 16 under ``vmap``); of a
peer's ways the fastest counts. Everybody uses shuffled batches; the engine's Poisson batches are printed beside. Opacus
and JAX run in ``.benchmark-env``, made on first use.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import numpy as np

from dpaudit.data.bundled import mnist_5000

HERE = Path(__file__).resolve().parent
PEERS = HERE / "peers"
ENVIRONMENTS = HERE.parent / ".benchmark-env"
PACKAGES = {"opacus": ["opacus==1.6.0", "torch==2.13.0", "numpy"], "jax": ["jax", "numpy"]}
BATCH = 250
OURS: dict[str, dict[str, object]] = {
    "engine": {"matmul": True},
    "engine, Poisson batches": {"sampling": "poisson"},
    "engine without DP": {"plain": True},
}
# Peer -> the ratio to reach, by network; the plain figures compare training without DP's noise and clipping.
TARGETS = {
    "mlp": {"TF Privacy": 50, "Opacus": 3, "JAX": 1, "Keras without DP": 2.5},
    "cnn": {"TF Privacy": 150, "Opacus": 3, "JAX": 1, "Keras without DP": 1},
}


def environment(name: str) -> Path:
    """A peer's Python."""
    folder = ENVIRONMENTS / name
    python = folder / "bin" / "python"
    ready = folder / f".ready-training-{'-'.join(PACKAGES[name])}".replace("=", "")
    if not ready.exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES[name]], check=True)
        ready.touch()
    return python


def measured(*command: object) -> dict[str, Any]:
    """The JSON line a program ends with."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=HERE.parent)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def sides(kind: str, data: Path, seconds: float, models: int) -> dict[str, list[object]]:
    """Side and way -> the command that measures it."""
    opacus, jax = environment("opacus"), environment("jax")
    here = [sys.executable, "-m", "benchmarks.peers.tensorflow_training", kind]
    tail = [data, BATCH, seconds]
    modes = ("microbatch", "vectorized", "dp-sequential")
    return {
        **{f"TF Privacy: {mode}": [*here, mode, *tail] for mode in modes},
        **{f"Opacus: {mode}": [opacus, PEERS / "opacus_training.py", kind, mode, *tail] for mode in ("ghost", "hooks")},
        **{f"JAX: {count} models": [jax, PEERS / "jax_training.py", kind, count, *tail] for count in (1, models)},
        "Keras without DP: fit": [*here, "keras", *tail],
    }  # fmt: skip


def engine(kind: str, data: Path, seconds: float, **options: object) -> list[object]:
    """The command that measures the engine."""
    extra = [
        part for name, value in options.items() for part in ([f"--{name}"] if value is True else [f"--{name}", value])
    ]
    return [sys.executable, "-m", "benchmarks.peers.stacked_training", kind, data, "--seconds", seconds, *extra]


def compare(kind: str, data: Path, *, rounds: int, seconds: float, models: int) -> dict[str, Any]:
    """Medians over rounds in which all sides take turns."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, options in OURS.items():
            answer = measured(*engine(kind, data, seconds, models=models, **options))
            found.setdefault(name, []).append(answer["examples_per_second"])
            if "matmul_flops" in answer:
                found.setdefault("share of matmul peak", []).append(answer["flops"] / answer["matmul_flops"])
        for name, command in sides(kind, data, seconds, models).items():
            found.setdefault(name, []).append(measured(*command)["examples_per_second"])
    return {name: statistics.median(values) for name, values in found.items()}


def show(kind: str, medians: dict[str, Any]) -> None:
    ours = medians["engine"]
    print(f"\n{kind}: examples per second")
    for name, value in medians.items():
        print(f"  {name:34s} {value:12,.2f}" if name.startswith("share") else f"  {name:34s} {value:12,.0f}")
    print(f"{kind}: the engine with DP is ... times as fast as")
    for side, target in TARGETS[kind].items():
        best = max(value for name, value in medians.items() if name.startswith(f"{side}:"))
        mark = "reached" if ours / best >= target else "missed"
        print(f"  {side:20s} {ours / best:8.1f}   wanted {target:g}: {mark}")


def growth(kind: str, data: Path, seconds: float, *, smoke: bool) -> None:
    """Cost as the number of models, the batch and the records grow; peak memory of many models."""
    print(f"\n{kind}: microseconds per example (flat means that the cost grows linearly)")
    for name, values in (
        ("models", (1, 2) if smoke else (1, 4, 16, 64)),
        ("batch", (50, 250) if smoke else (50, 250, 1000)),
        ("records", (1000, 5000) if smoke else (1000, 2500, 5000)),
    ):
        row = []
        for value in values:
            options: dict[str, object] = {"models": 4, name: value}
            answer = measured(*engine(kind, data, seconds, **options))
            row.append(f"{value}: {1e6 / answer['examples_per_second']:.2f}")
        print(f"  {name:8s} {'   '.join(row)}")
    most = 4 if smoke else 64
    answer = measured(*engine(kind, data, seconds, models=most))
    print(f"  peak memory of {most} models: {answer['peak_bytes'] / 2**20:,.0f} MiB")
    print(f"  first call, with compilation: {answer['first_seconds']:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    given = parser.parse_args()
    rounds, seconds, models = (1, 0.2, 2) if given.smoke else (given.rounds, given.seconds, 16)
    records = mnist_5000()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "mnist.npz"
        np.savez(data, features=records.features, labels=records.labels)
        for kind in TARGETS:
            show(kind, compare(kind, data, rounds=rounds, seconds=seconds, models=models))
            growth(kind, data, seconds, smoke=given.smoke)


if __name__ == "__main__":
    main()
