"""Would a second engine pay? The stacked engine beside ``torch.func`` and JAX: examples per second of CPU time.

    python -m benchmarks.second_engine [--rounds 3] [--seconds 4] [--torch PYTHON] [--jax PYTHON]

Sixteen models of the two networks of training.py at once, batch 250, one thread each, with DP (ghost clipping in all of
them) and without. All sides take turns in every round. CPU time, so that other programs on the machine count little.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.training import BATCH, PEERS, engine, environment, measured
from dpaudit.data.bundled import mnist_5000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="of measurement, each")
    parser.add_argument("--models", type=int, default=16)
    parser.add_argument("--torch", type=Path, help="a Python with torch, in the place of one of its own")
    parser.add_argument("--jax", type=Path, help="a Python with JAX, in the place of one of its own")
    given = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
    torch, jax = given.torch or environment("opacus"), given.jax or environment("jax")
    records = mnist_5000()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "mnist.npz"
        np.savez(data, features=records.features, labels=records.labels)
        for kind in ("mlp", "cnn"):
            head, tail = [kind, given.models, data, BATCH, given.seconds], {"models": given.models}
            ways: dict[str, list[object]] = {
                "engine, DP": engine(kind, data, given.seconds, **tail),
                "engine, no DP": engine(kind, data, given.seconds, plain=True, **tail),
                "JAX, DP": [jax, PEERS / "jax_training.py", *head],
                "torch.func, DP": [torch, PEERS / "torch_func_training.py", *head, "dp"],
                "torch.func, no DP": [torch, PEERS / "torch_func_training.py", *head, "plain"],
            }
            found: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(given.rounds):
                for name, command in ways.items():
                    found[name].append(measured(*command)["examples_per_cpu_second"])
            print(f"{kind}, {given.models} models: examples per second of CPU time; times the engine (lowest, highest)")
            for name, speeds in found.items():
                base = found["engine, no DP" if "no DP" in name else "engine, DP"]
                each = [speed / own for speed, own in zip(speeds, base, strict=True)]
                low, high = min(each), max(each)
                middle = statistics.median(each)
                print(f"  {name:20s}{statistics.median(speeds):12,.0f}{middle:8.2f} ({low:.2f}, {high:.2f})")


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # it is a text file
    main()
