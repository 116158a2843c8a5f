"""What privacy and adapters cost a decoder on the stacked engine: CPU time of a step, and memory of a further model.

    python benchmarks/decoder.py             0.73 million parameters, 32 positions, batches of 64 (some minutes)
    python benchmarks/decoder.py --smoke     a small decoder, one round

Trained are all weights, or adapters (LoRA) of rank 8 beside all kernels or those of queries and values, each with and
without DP. All take turns in every round; a ratio is that of one round, and its median, lowest and highest are
printed. The target of DP over plain is 1.35. CPU time of the process is measured, as other programs may run beside it.

Memory is the peak of a process that trains many models of a stack, less that of one that trains a single one, for each
further model: adapters share the frozen weights.
"""

import argparse
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dpaudit.accounting.claim import FixedSize
from dpaudit.engine.adapter import Adapter
from dpaudit.engine.network import Network
from dpaudit.engine.optimizers import Adam
from dpaudit.engine.schedules import Constant
from dpaudit.engine.training import Member, TrainingRecipe, train
from dpaudit.training.decoder import Decoder

TARGET = 1.35
CONTEXT, BATCH = 32, 64
SIZES = {True: (Decoder(16, 1, 2), 64), False: (Decoder(96, 3, 4), 2048)}  # smoke or not: decoder and vocabulary
TRAINED: dict[str, Adapter | None] = {
    "all weights": None,
    "adapters everywhere": Adapter(8),
    "adapters of queries and values": Adapter(8, layers=("query", "value")),
}


def training(name: str, *, private: bool, smoke: bool, models: int = 1) -> Callable[[int], float]:
    """Steps of a training -> its CPU seconds."""
    decoder, vocabulary = SIZES[smoke]
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, vocabulary, (4 * BATCH, CONTEXT + 1))
    network, adapter = Network.from_keras(decoder((CONTEXT,), vocabulary), is_started=True), TRAINED[name]
    if adapter is not None:
        network = network.adapted(adapter)
    start = network.initial(seed=1, models=range(models))
    members = [Member(model, np.arange(len(tokens)), FixedSize(BATCH, len(tokens))) for model in range(models)]

    def seconds(steps: int) -> float:
        dp = {"clip": 1.0, "noise_multiplier": 1.0} if private else {}
        recipe = TrainingRecipe("next-token", steps, BATCH, Adam(), Constant(1e-4), **dp)  # type: ignore[arg-type]
        begin = time.process_time()
        features, targets = tokens[:, :-1].astype(np.float32), tokens[:, 1:].astype(np.int32)
        train(network, start, recipe, members, features=features, targets=targets, seed=1)
        return time.process_time() - begin

    return seconds


def peak_in_fresh_process(name: str, models: int, *, smoke: bool) -> float:
    """Peak memory in MB of a process that trains so many models with DP for two steps."""
    command = [sys.executable, __file__, "--peak", name, str(models), *(["--smoke"] if smoke else [])]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def peak(name: str, models: int, *, smoke: bool) -> float:
    """Peak memory in MB of this process, after such a training."""
    training(name, private=True, smoke=smoke, models=models)(2)
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="small: one round")
    parser.add_argument("--peak", nargs=2, metavar=("TRAINED", "MODELS"), help="print the peak memory of one training")
    given = parser.parse_args()
    smoke = given.smoke
    if given.peak is not None:
        print(peak(given.peak[0], int(given.peak[1]), smoke=smoke))
        return
    rounds, steps, many = (1, 5, 3) if smoke else (5, 15, 25)
    sides = {
        (name, private): training(name, private=private, smoke=smoke) for name in TRAINED for private in (False, True)
    }
    for seconds in sides.values():
        for length in (2, 2 + steps):
            seconds(length)  # compiles, once for each length
    ratios: dict[str, list[float]] = {}
    for number in range(rounds):
        each = {side: (seconds(2 + steps) - seconds(2)) / steps for side, seconds in sides.items()}
        for (name, private), value in each.items():
            kind = "DP" if private else "plain"
            print(f"round {number + 1}: {name}, {kind}: {value:.4f} CPU s a step", flush=True)
            if private:
                ratios.setdefault(f"{name}: DP over plain", []).append(value / each[name, False])
            if name != "all weights":
                ratios.setdefault(f"{name} over all weights, {kind}", []).append(value / each["all weights", private])
    for said, found in ratios.items():
        print(f"{said}: {statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})")
    print(f"target of DP over plain: {TARGET}")
    held = {}
    for name in TRAINED:
        few, more = (peak_in_fresh_process(name, models, smoke=smoke) for models in (1, many))
        held[name] = (more - few) / (many - 1)
        print(f"{name}: {held[name]:.2f} MB for each further model ({few:.0f} MB with one, {more:.0f} with {many})")
        if name != "all weights" and held["all weights"] > 0:
            print(f"{name} over all weights, memory: {held[name] / held['all weights']:.3f}")


if __name__ == "__main__":
    main()
