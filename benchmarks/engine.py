"""What the stacked engine's programs cost beside each other and beside Keras, in CPU time.

    python -m benchmarks.engine                all parts (about ten minutes)
    python -m benchmarks.engine residual       one of them: blocks, models, residual, half or federated
    python -m benchmarks.engine --smoke        tiny, to see that it runs

All sides of a part take turns in one process, and a ratio is that of one turn: its median, lowest and highest are
printed. CPU time, so that other programs on the machine count little. Compilation is left out but for ``blocks``.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import federated
from benchmarks.peers.networks import keras_network
from dpaudit.accounting.claim import Poisson, Shuffled
from dpaudit.engine import training
from dpaudit.engine.network import Network
from dpaudit.engine.training import Member, TrainingRecipe, train
from dpaudit.runtime.tensorflow import keras, tf

LENGTHS = (100, 130, 256, 300, 20, 100)  # steps of trainings after each other
SHAPES = {"1024 x 1024 x 1024": (1024, 1024, 1024), "an MLP's": (250, 784, 128), "a convolution's": (6250, 256, 32)}


def cpu(work: Callable[[], object], *, times: int = 1) -> float:
    """CPU seconds of one call."""
    begin = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - begin) / times


def in_turns(sides: dict[str, Callable[[], float]], turns: int) -> dict[str, list[float]]:
    """What each side gives in every turn, after one turn that compiles and is left out."""
    for side in sides.values():
        side()
    rounds = [{name: side() for name, side in sides.items()} for _ in range(turns)]
    return {name: [one[name] for one in rounds] for name in sides}


def spread(values: list[float]) -> str:
    """Median, lowest and highest."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def times_as_fast(found: dict[str, list[float]], peer: str, own: str) -> str:
    """How many times as fast a side is as a peer."""
    return spread([theirs / ours for theirs, ours in zip(found[peer], found[own], strict=True)])


def small_mlp() -> Any:
    """64-64-10."""
    return keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, "relu"), keras.layers.Dense(10)])


def residual_network() -> Any:
    """Three residual blocks of 16, 32 and 64 channels on images of 32x32, with GroupNormalization."""
    layers = keras.layers

    def convolved(x: Any, filters: int, stride: int = 1) -> Any:
        return layers.GroupNormalization(8)(
            layers.Conv2D(filters, 3, strides=stride, padding="same", use_bias=False)(x)
        )

    images = keras.Input((32, 32, 3))
    x = layers.ReLU()(convolved(images, 16))
    for filters, stride in ((16, 1), (32, 2), (64, 2)):
        y = convolved(layers.ReLU()(convolved(x, filters, stride)), filters)
        if stride > 1:
            x = layers.Conv2D(filters, 1, strides=stride, use_bias=False)(x)
        x = layers.ReLU()(layers.Add()([x, y]))
    return keras.Model(images, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def trainer(model: Any, recipe: TrainingRecipe, records: int, *, models: int = 1, poisson: bool = False) -> Any:
    """Trains copies of a model on random records by a recipe that it is given, or by this one."""
    network, rng = Network.from_keras(model), np.random.default_rng(0)
    features = rng.normal(size=(records, *network.input_shape)).astype(np.float32)
    targets = rng.integers(10, size=records)
    rate = recipe.batch_size / records
    sampling = Poisson(rate) if poisson else Shuffled(round(1 / rate))
    members = [Member(i, np.arange(records), sampling) for i in range(models)]
    start = network.initial(seed=1, models=range(models))

    def run(other: TrainingRecipe = recipe) -> Any:
        return train(network, start, other, members, features=features, targets=targets, seed=1)

    return run, features, targets


def private(steps: int, batch: int) -> TrainingRecipe:
    return TrainingRecipe("multiclass", steps, batch, clip=1.0, noise_multiplier=1.0)


def blocks(*, smoke: bool) -> None:
    """Trainings of several lengths after each other: one program for all, and one compiled for each."""
    lengths = (4, 5) if smoke else LENGTHS
    for name, model, models in (("64-64-10", small_mlp(), 4), ("the benchmark's CNN", keras_network("cnn"), 1)):
        run, *_ = trainer(model, private(1, 100), 1000, models=models, poisson=True)

        def spent(*, anew: bool, run: Any = run) -> float:
            seconds = 0.0
            training._block.cache_clear()
            for steps in lengths:
                if anew:
                    training._block.cache_clear()
                seconds += cpu(lambda steps=steps: run(private(steps, 100)))  # type: ignore[misc]  # called at once
            return seconds

        one, each = spent(anew=False), spent(anew=True)
        print(f"{name}, trainings of {lengths} steps: {one:.1f} CPU s with one program, {each:.1f} with one for each")


def models(*, smoke: bool) -> None:
    """Cost of a model in stacks of several sizes."""
    short, long = (1, 3) if smoke else (10, 50)
    sizes = (2, 4) if smoke else (4, 16, 64)
    records, batch = 1797, 100

    def side(number: int) -> Callable[[], float]:
        run, *_ = trainer(small_mlp(), private(1, batch), records, models=number)
        steps = records // batch

        def spent() -> float:
            times = [cpu(lambda epochs=epochs: run(private(steps * epochs, batch))) for epochs in (short, long)]  # type: ignore[misc]
            return 1e3 * (times[1] - times[0]) / (long - short) / number

        return spent

    found = in_turns({str(size): side(size) for size in sizes}, 1 if smoke else 4)
    for name, values in found.items():
        print(f"{name} models of 64-64-10: {spread(values)} CPU ms an epoch and model")
    few, many = map(str, sizes[-2:])
    each = [1 + np.log(b / a) / np.log(int(many) / int(few)) for a, b in zip(found[few], found[many], strict=True)]
    print(f"exponent from {few} to {many} models: {spread(each)}")


def beside_fit(name: str, model: Any, batch: int, *, smoke: bool) -> None:
    """One model on the engine, with DP and without, beside Keras' ``fit`` without DP."""
    steps, turns = (2, 1) if smoke else (10, 5)
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    run, features, targets = trainer(model, private(steps, batch), steps * batch)
    plain = TrainingRecipe("multiclass", steps, batch)
    sides = {
        "engine with DP": lambda: 1e3 / steps * cpu(run),
        "engine without DP": lambda: 1e3 / steps * cpu(lambda: run(plain)),
        "Keras fit": lambda: 1e3 / steps * cpu(lambda: model.fit(features, targets, batch_size=batch, verbose=0)),
    }
    found = in_turns(sides, turns)
    print(f"{name}, one model, batches of {batch}: CPU ms a step")
    for side, values in found.items():
        print(f"  {side:20s}{spread(values)}")
    for side in list(sides)[:2]:
        print(f"  {side} is {times_as_fast(found, 'Keras fit', side)} times as fast as Keras fit")


def residual(*, smoke: bool) -> None:
    """Networks of convolutions beside ``fit``."""
    beside_fit("three residual blocks, 32x32", residual_network(), 50, smoke=smoke)
    beside_fit("the benchmark's CNN, 28x28", keras_network("cnn"), 250, smoke=smoke)


def half(*, smoke: bool) -> None:
    """Matrix products of bfloat16 beside float32, of TensorFlow and in an XLA program."""
    for kind, compiled in (("TensorFlow", False), ("XLA", True)):
        for name, (rows, inner, columns) in SHAPES.items():
            repeats = 3 if smoke else max(3, int(1e9 / (rows * inner * columns)))

            def side(dtype: Any, rows: int = rows, inner: int = inner, columns: int = columns) -> Callable[[], float]:
                a, b = (tf.cast(tf.random.normal(shape), dtype) for shape in ((rows, inner), (inner, columns)))
                product = tf.function(tf.matmul, jit_compile=compiled)  # noqa: B023  # called in this turn
                return lambda: cpu(lambda: product(a, b), times=repeats)  # noqa: B023

            found = in_turns({dtype.name: side(dtype) for dtype in (tf.float32, tf.bfloat16)}, 1 if smoke else 5)
            ratio = times_as_fast(found, "float32", "bfloat16")
            print(f"{kind}, {name} product: bfloat16 is {ratio} times as fast as float32")


def clients(*, smoke: bool) -> None:
    """Clients of a federation that are trained as one program, beside a loop of ``fit``."""
    number, rounds = (2, 1) if smoke else (20, 20)
    clock = time.process_time
    sides = {
        "loop of fit": lambda: federated.keras_loop("CNN", number, 1, clock=clock),
        "engine": lambda: federated.ours("CNN", number, rounds, private=False, clock=clock),
    }
    found = in_turns(sides, 1 if smoke else 3)
    print(f"{number} clients with the benchmark's CNN: CPU s a round")
    for side, values in found.items():
        print(f"  {side:20s}{spread(values)}")
    print(f"  the engine is {times_as_fast(found, 'loop of fit', 'engine')} times as fast")


PARTS = {"blocks": blocks, "models": models, "residual": residual, "half": half, "federated": clients}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    # Without a part, argparse asks whether the empty list is a choice.
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs")
    given = parser.parse_args()
    for name in given.parts or PARTS:
        PARTS[name](smoke=given.smoke)


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # it is a text file
    main()
