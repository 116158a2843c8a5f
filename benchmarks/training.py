"""The stacked engine beside TensorFlow Privacy, Opacus, hand-written JAX and plain Keras: ratios from one run.

    python benchmarks/training.py            full size (about twelve minutes on two idle cores)
    python benchmarks/training.py --smoke    small: one round of a second each, eight models
    python benchmarks/training.py --out F    also writes ratios, figures and targets as JSON

MNIST-5000, batch 250, clip 1, noise multiplier 1, SGD; examples per second after compilation. All sides take turns in
every round; a ratio is that of one round, and its median, lowest and highest over the rounds are printed. The engine
trains 16 models, every peer one (JAX also 16 under ``vmap``). The first round measures every way a peer has, the others
its fastest. Everybody uses shuffled batches; the engine's Poisson batches are printed beside. Opacus and JAX run in
``.benchmark-env``, made on first use.
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
TARGETS: dict[str, dict[str, float]] = {
    "mlp": {"TF Privacy": 50, "Opacus": 3, "JAX": 1, "Keras without DP": 2.5},
    "cnn": {"TF Privacy": 15, "Opacus": 4.5, "JAX": 1, "Keras without DP": 1.3},
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


def compare(kind: str, data: Path, *, rounds: int, seconds: float, models: int) -> list[dict[str, float]]:
    """Examples per second of every side in each round."""
    found: list[dict[str, float]] = []
    ways = sides(kind, data, seconds, models)
    for _ in range(rounds):
        speed: dict[str, float] = {}
        for name, options in OURS.items():
            answer = measured(*engine(kind, data, seconds, models=models, **options))
            speed[name] = answer["examples_per_second"]
            if "matmul_flops" in answer:
                speed["share of matmul peak"] = answer["flops"] / answer["matmul_flops"]
        for name, command in ways.items():
            speed[name] = measured(*command)["examples_per_second"]
        found.append(speed)
        fastest = [
            max((name for name in ways if name.startswith(f"{side}:")), key=speed.__getitem__) for side in TARGETS[kind]
        ]
        ways = {name: ways[name] for name in fastest}
    return found


def ratios(kind: str, rounds: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """How many times as fast as each peer's fastest way the engine is: median, lowest and highest over the rounds."""
    found = {}
    for side in TARGETS[kind]:
        each = [
            one["engine"] / max(value for name, value in one.items() if name.startswith(f"{side}:")) for one in rounds
        ]
        found[f"{kind} against {side}"] = {"median": statistics.median(each), "low": min(each), "high": max(each)}
    return found


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Of each side over the rounds that measured it."""
    return {name: statistics.median(one[name] for one in rounds if name in one) for name in rounds[0]}


def show(kind: str, speeds: dict[str, float], found: dict[str, dict[str, float]]) -> None:
    print(f"\n{kind}: examples per second")
    for name, value in speeds.items():
        print(f"  {name:34s} {value:12,.2f}" if name.startswith("share") else f"  {name:34s} {value:12,.0f}")
    print(f"{kind}: the engine with DP is ... times as fast as (lowest and highest round)")
    for side, target in TARGETS[kind].items():
        ratio = found[f"{kind} against {side}"]
        mark = "reached" if ratio["median"] >= target else "missed"
        spread = f"({ratio['low']:.1f} to {ratio['high']:.1f})"
        print(f"  {side:20s} {ratio['median']:8.1f} {spread:18s} wanted {target:g}: {mark}")


def growth(kind: str, data: Path, seconds: float, *, smoke: bool) -> dict[str, float]:
    """Cost as the number of models, the batch and the records grow; peak memory of many models."""
    figures: dict[str, float] = {}
    print(f"\n{kind}: microseconds per example (flat means that the cost grows linearly)")
    sizes = {"models": (1, 4, 16), "batch": (50, 250, 1000), "records": (1000, 5000)}
    for name, values in ({"models": (1, 2)} if smoke else sizes).items():
        row = []
        for value in values:
            options: dict[str, object] = {"models": 4, name: value}
            spent = 1e6 / measured(*engine(kind, data, seconds, **options))["examples_per_second"]
            figures[f"{kind}, {value} {name}: microseconds per example"] = spent
            row.append(f"{value}: {spent:.2f}")
        print(f"  {name:8s} {'   '.join(row)}")
    most = 4 if smoke else 64
    answer = measured(*engine(kind, data, seconds, models=most))
    print(f"  models   {most}: {1e6 / answer['examples_per_second']:.2f}")
    print(f"  peak memory of {most} models: {answer['peak_bytes'] / 2**20:,.0f} MiB")
    print(f"  first call, with compilation: {answer['first_seconds']:.1f} s")
    figures[f"{kind}, {most} models: microseconds per example"] = 1e6 / answer["examples_per_second"]
    figures[f"{kind}, {most} models: peak MiB"] = answer["peak_bytes"] / 2**20
    figures[f"{kind}, {most} models: seconds of the first call"] = answer["first_seconds"]
    return figures


def main() -> None:
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # it is a text file
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="one round, and the MLP alone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="of measurement, each")
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    given = parser.parse_args()
    rounds, seconds, models = (1, 1.0, 8) if given.smoke else (given.rounds, given.seconds, 16)
    records = mnist_5000()
    found: dict[str, dict[str, float]] = {}
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "mnist.npz"
        np.savez(data, features=records.features, labels=records.labels)
        for kind in ("mlp",) if given.smoke else TARGETS:
            each = compare(kind, data, rounds=rounds, seconds=seconds, models=models)
            speeds = medians(each)
            found |= ratios(kind, each)
            unit = {name: "" if name.startswith("share") else ": examples per second" for name in speeds}
            figures |= {f"{kind}, {name}{unit[name]}": value for name, value in speeds.items()}
            show(kind, speeds, found)
            figures |= growth(kind, data, seconds, smoke=given.smoke)
    if given.out is not None:
        targets = {f"{kind} against {side}": wanted for kind, row in TARGETS.items() for side, wanted in row.items()}
        targets = {name: wanted for name, wanted in targets.items() if name in found}
        given.out.write_text(json.dumps({"ratios": found, "figures": figures, "targets": targets}, indent=1) + "\n")


if __name__ == "__main__":
    main()
