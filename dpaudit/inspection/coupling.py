"""Rung 1 for Keras models: does one example reach another's output, or a variable that nobody adds noise to?

Clipping per example protects nothing when the examples of a batch see each other, as under batch normalisation, and
moving averages are released with the model.
"""

import math
from typing import Any

import numpy as np

from dpaudit.bounds.lower_bound import Finding
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import tf

ROUNDING = 1e-5


def inspect_model(model: Any, features: object, *, seed: int) -> tuple[Finding, ...]:
    """Change one example and look at the others, in training mode and under equal randomness.

    Args:
        model: a built Keras model.
        features: an ordinary batch (batch, ...), at least two examples.
        seed: TensorFlow's global seed, for dropout.

    Raises:
        InputError: there is only one example.
    """
    batch = check.finite("features", features).astype(np.float32)
    if len(batch) < 2:
        raise InputError(f"features must hold at least 2 examples, got shape {batch.shape}.")
    changed = batch.copy()
    changed[0] = batch[0] + 10 * (np.abs(batch).max() + 1)
    start = [np.array(variable) for variable in model.non_trainable_variables]
    first, first_state = _answer(model, batch, start, seed)
    second, second_state = _answer(model, changed, start, seed)
    _restore(model, start)
    findings = []
    gap = float(np.abs(first[1:] - second[1:]).max())
    if gap > ROUNDING * max(1.0, float(np.abs(first).max())):
        findings.append(
            Finding(
                check="coupled examples",
                severity="violation",
                fed="one example of a batch is changed",
                observed=f"outputs of other examples change by up to {gap:.3g}: their gradients carry it past the clip",
                expected="outputs that depend on their own example alone",
                remedy="replace batch normalisation by layer or group normalisation, and drop cross-example layers",
                rung=1,
            )
        )
    for variable, before, after in zip(model.non_trainable_variables, first_state, second_state, strict=True):
        if not np.array_equal(before, after):
            findings.append(
                Finding(
                    check="released state",
                    severity="violation",
                    fed="one example of a batch is changed",
                    observed=f"{variable.name} changes with it and is released without noise",
                    expected="nothing published but what follows from the private gradient",
                    remedy="remove layers that keep moving averages of the data, or freeze them",
                    rung=1,
                    true_epsilon=math.inf,
                )
            )
            break
    return tuple(findings)


def _answer(model: Any, batch: Any, start: list[Any], seed: int) -> tuple[FloatArray, list[Any]]:
    _restore(model, start)
    tf.random.set_seed(seed)
    outputs = np.asarray(model(batch, training=True), np.float64)
    return outputs, [np.array(variable) for variable in model.non_trainable_variables]


def _restore(model: Any, start: list[Any]) -> None:
    for variable, value in zip(model.non_trainable_variables, start, strict=True):
        variable.assign(value)
