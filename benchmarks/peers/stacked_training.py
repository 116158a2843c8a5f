"""The stacked engine. Prints one JSON line."""

import argparse
import dataclasses
import json
import resource
import time

import numpy as np

from benchmarks.peers.networks import keras_network
from dpaudit.engine.batches import sampling_event
from dpaudit.engine.cost import cost
from dpaudit.engine.network import Network
from dpaudit.engine.optimizers import GradientDescent
from dpaudit.engine.schedules import Constant
from dpaudit.engine.training import Member, TrainingRecipe, train
from dpaudit.runtime.tensorflow import tf


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind")
    parser.add_argument("data")
    parser.add_argument("--models", type=int, default=16)
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--records", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--sampling", default="shuffled")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--matmul", action="store_true")
    given = parser.parse_args()
    data = np.load(given.data)
    network = Network.from_keras(keras_network(given.kind))
    event = sampling_event(given.sampling, given.records, given.batch)
    members = [Member(i, np.arange(given.records), event) for i in range(given.models)]
    start = network.initial(seed=1, models=range(given.models))
    dp = {} if given.plain else {"clip": 1.0, "noise_multiplier": 1.0}
    recipe = TrainingRecipe("multiclass", 256, given.batch, GradientDescent(), Constant(0.1), **dp)
    small = dataclasses.replace(recipe, steps=8)
    begin = time.perf_counter()
    result = {"models": given.models}

    def run(what: TrainingRecipe) -> tuple[float, float]:
        begin, cpu = time.perf_counter(), time.process_time()
        train(network, start, what, members, features=data["features"], targets=data["labels"], seed=1)
        return time.perf_counter() - begin, time.process_time() - cpu

    run(small)  # compiles
    result["first_seconds"] = time.perf_counter() - begin
    (spent, cpu), steps = run(small), 8
    while spent < given.seconds and steps < 100_000:
        steps = max(steps + 1, int(1.2 * steps * given.seconds / max(spent, given.seconds / 20)))
        spent, cpu = run(dataclasses.replace(recipe, steps=steps))
    done = steps * given.batch * given.models
    result["examples_per_second"], result["examples_per_cpu_second"] = done / spent, done / cpu
    result["flops"] = 2 * cost(network).multiply_adds * result["examples_per_second"]
    result["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if given.matmul:
        a, b = tf.random.normal((16, 1024, 1024)), tf.random.normal((16, 1024, 1024))
        best = np.inf
        for _ in range(8):
            begin = time.perf_counter()
            _ = tf.matmul(a, b)[0, 0, 0].numpy()
            best = min(best, time.perf_counter() - begin)
        result["matmul_flops"] = 16 * 2 * 1024**3 / best
    print(json.dumps(result))


main()
