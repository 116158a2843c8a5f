"""One model trained by plain Keras or by TensorFlow Privacy 0.9. Prints one JSON line.

The data stays in memory as one tensor and the batches are drawn by ``tf.data`` as in TensorFlow Privacy's tutorial.
"""

import json
import sys
import time
from typing import Any

import numpy as np

from benchmarks.peers.networks import keras_network
from dpaudit.runtime.tensorflow import keras, tensorflow_privacy_module, tf


def compiled(kind: str, mode: str, batch: int) -> Any:
    model = keras_network(kind)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="auto" if mode == "keras" else "none")
    if mode == "keras":
        model.compile(keras.optimizers.SGD(0.1), loss)
    elif mode == "dp-sequential":
        registry = tensorflow_privacy_module("privacy.fast_gradient_clipping.layer_registry")
        private = tensorflow_privacy_module("privacy.keras_models.dp_keras_model").DPSequential
        model = private(1.0, 1.0, layer_registry=registry.make_default_layer_registry(), layers=[*model.layers])
        model.compile(keras.optimizers.SGD(0.1), loss)
    else:
        vectorized = mode == "vectorized"
        module = tensorflow_privacy_module(
            "privacy.optimizers.dp_optimizer_keras" + ("_vectorized" if vectorized else "")
        )
        made = module.VectorizedDPKerasSGDOptimizer if vectorized else module.DPKerasSGDOptimizer
        model.compile(made(1.0, 1.0, num_microbatches=batch, learning_rate=0.1), loss)
    return model


def main() -> None:
    kind, mode, path, batch, seconds = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5])
    data = np.load(path)
    count = len(data["labels"]) // batch
    pairs = tf.data.Dataset.from_tensor_slices((data["features"], data["labels"]))
    batches = pairs.shuffle(len(data["labels"])).repeat().batch(batch, drop_remainder=True).prefetch(2)
    model = compiled(kind, mode, batch)
    model.fit(batches, steps_per_epoch=2, epochs=1, verbose=0)
    steps = 1
    while True:  # an epoch long enough that the start of ``fit`` does not count
        begin, cpu = time.perf_counter(), time.process_time()
        model.fit(batches, steps_per_epoch=steps, epochs=1, verbose=0)
        spent, cpu = time.perf_counter() - begin, time.process_time() - cpu
        if spent >= seconds:
            break
        steps = min(count * 100, max(steps + 1, int(1.2 * steps * seconds / max(spent, seconds / 20))))
    done = steps * batch
    print(json.dumps({"examples_per_second": done / spent, "examples_per_cpu_second": done / cpu}))


main()
