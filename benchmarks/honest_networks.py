"""False alarms of the scanner for malicious layers: networks that nobody tampered with, at random starts and trained.

    python benchmarks/honest_networks.py          340 random starts and 85 trained networks (some minutes of CPU)
    python benchmarks/honest_networks.py --smoke  a few, to see that it runs

Prints the alarms, and over all trained networks the largest statistic on which each rule of
`dpaudit.attacks.gradient.scanner` decides, beside its threshold.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np

from dpaudit.attacks.gradient.scanner import RULES, scan, statistics
from dpaudit.attacks.gradient.view import Arrays
from dpaudit.data.bundled import breast_cancer, digits, mnist_5000
from dpaudit.runtime.tensorflow import keras
from dpaudit.training.architecture import Cnn, Mlp

DATA = (digits, breast_cancer, mnist_5000)
SHAPES = (Mlp(()), Mlp((8,)), Mlp((64,)), Mlp((400,)), Mlp((128, 64)), Cnn((8,), (3,), (1,)))
TRAININGS = (("sgd", 0.1), ("sgd", 1.0), ("adam", 1e-3), ("adam", 1e-2), ("adamw", 1e-2))
STARTS, EPOCHS, RECORDS = 20, 10, 1000


def networks(data: Any, shape: Any) -> Iterator[tuple[str, Arrays]]:
    """Random starts, then one trained network for each training."""
    features, labels = data.features[:RECORDS], data.classes[:RECORDS]
    classes = int(labels.max()) + 1
    for seed in range(STARTS):
        keras.utils.set_random_seed(seed)
        yield "start", _weights(shape(features.shape[1:], classes))
    optimisers = keras.optimizers
    for kind, rate in TRAININGS:
        keras.utils.set_random_seed(0)
        model = shape(features.shape[1:], classes)
        chosen = {
            "sgd": optimisers.legacy.SGD, "adam": optimisers.legacy.Adam, "adamw": optimisers.AdamW,
        }[kind]  # fmt: skip
        more = {"weight_decay": 0.05} if kind == "adamw" else {}
        model.compile(chosen(rate, **more), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(features, labels, batch_size=32, epochs=EPOCHS, verbose=0)
        yield f"{kind} {rate:g}", _weights(model)


def _weights(model: Any) -> Arrays:
    return tuple(np.asarray(each, np.float64) for each in model.get_weights())


def main() -> None:
    """Print the alarms and the statistics."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true")
    smoke = parser.parse_args().smoke
    counts, alarms = {"start": 0, "trained": 0}, {"start": 0, "trained": 0}
    extreme = dict.fromkeys(RULES, (-np.inf, ""))
    for load in DATA[: 1 if smoke else None]:
        data = load()
        for shape in SHAPES[: 2 if smoke else None]:
            if isinstance(shape, Cnn) and data.features.ndim < 4:
                continue
            for how, weights in networks(data, shape):
                group = "start" if how == "start" else "trained"
                counts[group] += 1
                alarms[group] += bool(scan(weights))
                if group == "trained":
                    found = statistics(weights)
                    for rule, value in found.items():
                        extreme[rule] = max(extreme[rule], (value, f"{data.name}, {shape}, {how}"))
            print(f"{data.name}, {shape}: {alarms}", flush=True)
    for group in counts:
        print(f"{group}: {alarms[group]} alarms of {counts[group]} networks")
    for rule, (value, where) in extreme.items():
        print(f"{rule}: at most {value:.3g} (alarm from {RULES[rule]:g}), {where}")


if __name__ == "__main__":
    main()
