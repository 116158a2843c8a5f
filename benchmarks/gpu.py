"""The stacked engine on a GPU beside the CPU: the same weights, the same accounting, examples per second.

``python benchmarks/gpu.py`` (`make test-gpu`) trains sixteen copies of the MLP and of the CNN of `training.py` on both
devices, with DP-SGD and without, from the same seeds. It prints a line for each and fails where

- a weight on the GPU differs from the weight on the CPU by more than `ROUNDING` of the largest weight, after
  `STEPS_ALIKE` steps, which use the same batches and the same noise;
- the accountant is told different steps.

It takes minutes, of which most is the CPU's. Without a GPU it ends with exit code 2. ``--device /CPU:0`` runs the
second side on the CPU as well, which tries the script and not the GPU.
"""

import argparse
import dataclasses
import sys
import time
from functools import partial

import numpy as np

from benchmarks.peers.networks import keras_network
from dpaudit.data.bundled import mnist_5000
from dpaudit.engine.batches import sampling_event
from dpaudit.engine.network import Network
from dpaudit.engine.optimizers import GradientDescent
from dpaudit.engine.schedules import Constant
from dpaudit.engine.training import Member, TrainingRecipe, train
from dpaudit.runtime.tensorflow import tf

STEPS_ALIKE = 8
ROUNDING = 1e-4  # products of single precision summed in another order, over eight steps
BATCH = 250
KINDS = ("mlp", "cnn")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="/GPU:0")
    parser.add_argument("--models", type=int, default=16)
    parser.add_argument("--steps", type=int, default=64, help="that are timed")
    parser.add_argument("--kind", action="append", choices=KINDS)
    given = parser.parse_args()
    if not tf.config.list_logical_devices(given.device.strip("/").partition(":")[0]):
        print(f"TensorFlow sees no {given.device} here; nothing was compared.", file=sys.stderr)
        return 2
    wrong = 0
    for kind in given.kind or KINDS:
        for clip in (None, 1.0):
            wrong += compare(kind, clip, given.device, models=given.models, steps=given.steps)
    return min(wrong, 1)


def compare(kind: str, clip: float | None, device: str, *, models: int, steps: int) -> int:
    """Train on both devices and print the line; gives 1 where they disagree."""
    data = mnist_5000()
    features = np.asarray(data.features, np.float32).reshape(-1, *keras_network(kind).input_shape[1:])
    records = len(features)
    network = Network.from_keras(keras_network(kind))
    sampling = sampling_event("poisson", records, BATCH)
    members = [Member(i, np.arange(records), sampling) for i in range(models)]
    noise = 0.0 if clip is None else 1.0
    recipe = TrainingRecipe(
        "multiclass", STEPS_ALIKE, BATCH, GradientDescent(), Constant(0.1), clip=clip, noise_multiplier=noise
    )
    timed = dataclasses.replace(recipe, steps=steps)
    weights, speeds, accounted = [], [], []
    for place in ("/CPU:0", device):
        with tf.device(place):
            start = network.initial(seed=1, models=range(models))
            run = partial(train, network, start, members=members, features=features, targets=data.labels, seed=1)
            weights.append([np.asarray(value) for value in tf.nest.flatten(run(recipe))])
            run(timed)  # compiles programs of this length
            begin = time.perf_counter()
            _ = [np.asarray(value) for value in tf.nest.flatten(run(timed))]  # waits for the device
            speeds.append(steps * BATCH * models / (time.perf_counter() - begin))
            accounted.append(recipe.mechanism(sampling, records))
    largest = max(float(np.abs(value).max()) for value in weights[0])
    apart = max(float(np.abs(a - b).max()) for a, b in zip(*weights, strict=True)) / largest
    same = accounted[0] == accounted[1]
    print(
        f"{kind}, {'no DP' if clip is None else 'DP'}: weights apart by {apart:.1e} of the largest "
        f"(at most {ROUNDING:g}), the accountant is told {'the same' if same else 'OTHER STEPS'}; "
        f"examples a second {speeds[0]:,.0f} on the CPU, {speeds[1]:,.0f} on {device}: "
        f"{speeds[1] / speeds[0]:.1f} times",
        flush=True,
    )
    agree = same and apart <= ROUNDING
    return int(not agree)


if __name__ == "__main__":
    sys.exit(main())
