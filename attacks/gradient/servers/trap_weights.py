"""A server whose first neurons are so negative that few records switch them on, and each of those is seen alone.

`Boenisch et al. (2023), "When the curious abandon honesty" <https://arxiv.org/abs/2112.02918>`_.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dpaudit.attacks.gradient.linear_layer import dense_layers
from dpaudit.attacks.gradient.servers.first_layer import require_relu_first
from dpaudit.attacks.gradient.view import Arrays
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError

SCALES = (0.99, 0.98, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6)  # tried on the server's own records
TRIED = 20  # batches of the server's own records


def plant_traps(weights: Arrays, *, scale: float = 0.95, seed: int) -> Arrays:
    """Set the first dense layer's kernel to trap weights: half negative, half positive and ``scale`` times as large."""
    check.open_unit("scale", scale)
    layers = dense_layers(weights)
    if not layers:
        raise InputError("trap weights need a dense layer with a bias.")
    kernel, bias = layers[0]
    inputs, neurons = weights[kernel].shape
    rng = np.random.default_rng(seed)
    half = inputs // 2
    negative = -np.abs(rng.normal(0, 1 / np.sqrt(inputs), (half, neurons)))
    trap = np.concatenate([negative, -scale * negative, np.zeros((inputs - 2 * half, neurons))])
    planted = list(weights)
    planted[kernel] = rng.permuted(trap, axis=0)
    planted[bias] = np.zeros(neurons)
    return tuple(planted)


@dataclass(frozen=True)
class TrapWeights:
    """Makes the first neurons so negative that few records switch them on, Boenisch et al. (2023).

    Args:
        scale: of the positive weights over the negative ones; where none is given, the one with which most of the
            server's own records are alone in two neurons.
        batch: records per batch of that search.
        seed: of the weights.
    """

    scale: float | None = None
    batch: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        check.integer("batch", self.batch, at_least=1)
        if self.scale is not None:
            check.open_unit("scale", self.scale)

    def __call__(self, model: Any, auxiliary: FloatArray) -> Arrays:
        """Weights with the traps."""
        require_relu_first(model, "trap-weights")
        weights = tuple(model.get_weights())
        if self.scale is not None:
            return plant_traps(weights, scale=self.scale, seed=self.seed)
        flat = check.finite("auxiliary records", auxiliary).reshape(len(auxiliary), -1)
        rng = np.random.default_rng(self.seed)
        batches = [rng.choice(len(flat), min(self.batch, len(flat)), replace=False) for _ in range(TRIED)]
        planted = [plant_traps(weights, scale=scale, seed=self.seed) for scale in SCALES]
        return max(planted, key=lambda each: sum(alone_twice(each[0], flat[rows]).sum() for rows in batches))


def alone_twice(kernel: FloatArray, records: FloatArray) -> FloatArray:
    """1 for each record of a batch that alone switches on two or more neurons without a bias, else 0, (records,).

    Args:
        kernel: shape (inputs, neurons).
        records: shape (records, inputs).

    >>> alone_twice(np.array([[1.0, 2.0, -1.0]]), np.array([[1.0], [-1.0]]))
    array([1., 0.])
    """
    active = records @ kernel > 0
    return np.asarray((active[:, active.sum(0) == 1].sum(1) >= 2).astype(np.float64))
