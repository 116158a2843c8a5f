"""What clipping and noise cost a decoder on the stacked engine: CPU time of a step with DP over one without.

    python benchmarks/decoder.py             0.73 million parameters, 32 positions, batches of 64 (two minutes)
    python benchmarks/decoder.py --smoke     a small decoder, one round

Both take turns in every round; a ratio is that of one round, and its median, lowest and highest are printed. The target
is a ratio of 1.35. CPU time of the process is measured, as other programs may run beside it.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from dpaudit.accounting.claim import FixedSize
from dpaudit.engine.network import Network
from dpaudit.engine.optimizers import Adam
from dpaudit.engine.schedules import Constant
from dpaudit.engine.training import Member, TrainingRecipe, train
from dpaudit.training.decoder import Decoder

TARGET = 1.35


def training(decoder: Decoder, vocabulary: int, context: int, batch: int, *, private: bool) -> Callable[[int], float]:
    """Steps of a training -> its CPU seconds."""
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, vocabulary, (4 * batch, context + 1))
    network = Network.from_keras(decoder((context,), vocabulary))
    start = network.initial(seed=1, models=[0])
    members = [Member(0, np.arange(len(tokens)), FixedSize(batch, len(tokens)))]

    def seconds(steps: int) -> float:
        dp = {"clip": 1.0, "noise_multiplier": 1.0} if private else {}
        recipe = TrainingRecipe("next-token", steps, batch, Adam(), Constant(1e-4), **dp)  # type: ignore[arg-type]
        begin = time.process_time()
        features, targets = tokens[:, :-1].astype(np.float32), tokens[:, 1:].astype(np.int32)
        train(network, start, recipe, members, features=features, targets=targets, seed=1)
        return time.process_time() - begin

    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="small: one round")
    smoke = parser.parse_args().smoke
    decoder, vocabulary, rounds, steps = (Decoder(16, 1, 2), 64, 1, 5) if smoke else (Decoder(96, 3, 4), 2048, 5, 15)
    sides = {name: training(decoder, vocabulary, 32, 64, private=name == "DP") for name in ("plain", "DP")}
    for seconds in sides.values():
        seconds(2)  # compiles
    found = []
    for number in range(rounds):
        each = {name: (seconds(2 + steps) - seconds(2)) / steps for name, seconds in sides.items()}
        found.append(each["DP"] / each["plain"])
        print(
            f"round {number + 1}: CPU s a step: {', '.join(f'{name} {s:.4f}' for name, s in each.items())}", flush=True
        )
    print(f"DP over plain: {statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f}), target {TARGET}")


if __name__ == "__main__":
    main()
