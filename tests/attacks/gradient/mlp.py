"""A small float64 MLP and its gradients, written out on their own: what the attacks are given in the tests."""

from itertools import pairwise

import numpy as np

from dpaudit.attacks.gradient.view import Arrays, BatchGradient
from dpaudit.runtime.check import FloatArray, IntArray

Images = tuple[FloatArray, IntArray]


def weights(sizes: tuple[int, ...], *, seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    arrays = []
    for i, o in pairwise(sizes):
        limit = np.sqrt(6 / (i + o))
        arrays += [rng.uniform(-limit, limit, (i, o)), rng.uniform(-0.05, 0.05, o)]
    return tuple(arrays)


def probabilities(arrays: Arrays, x: FloatArray) -> FloatArray:
    a = x
    for kernel, bias in zip(arrays[:-2:2], arrays[1:-2:2], strict=True):
        a = np.maximum(a @ kernel + bias, 0)
    z = a @ arrays[-2] + arrays[-1]
    e = np.exp(z - z.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True))


def gradient(arrays: Arrays, x: FloatArray, y: IntArray) -> Arrays:
    """Gradient of the mean softmax cross-entropy, one array per weight array."""
    activations = [x]
    for kernel, bias in zip(arrays[:-2:2], arrays[1:-2:2], strict=True):
        activations.append(np.maximum(activations[-1] @ kernel + bias, 0))
    d = (probabilities(arrays, x) - np.eye(arrays[-1].size)[y]) / len(x)
    found: list[FloatArray] = []
    for layer in range(len(activations) - 1, -1, -1):
        a = activations[layer]
        found = [a.T @ d, d.sum(0), *found]
        d = (d @ arrays[2 * layer].T) * (a > 0)
    return tuple(found)


def observed(
    arrays: Arrays, x: FloatArray, y: IntArray, *, noise: float = 0.0, seed: int = 0, knows: tuple[str, ...] = ()
) -> BatchGradient:
    """A view of a batch's gradient; ``knows`` may hold "labels"."""
    rng = np.random.default_rng(seed)
    noisy = tuple(g + rng.normal(0, noise, g.shape) if noise else g for g in gradient(arrays, x, y))
    return BatchGradient(arrays, noisy, len(x), y if "labels" in knows else None, noise=noise)
