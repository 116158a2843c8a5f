"""A small dense softmax network in numpy, many weight vectors at a time.

Attacks on a trace ask for the same few numbers at hundreds of weight vectors: clipped sums, norms and inner products
of per-record gradients. All follow from each layer's inputs a and output gradients d without forming a single
per-record gradient (`Goodfellow (2015) <https://arxiv.org/abs/1510.01799>`_): |∇|² = Σ (|a|² + 1)|d|².
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dpaudit.runtime import check
from dpaudit.runtime.check import IntArray
from dpaudit.runtime.errors import InputError

Floats = npt.NDArray[np.floating[Any]]


class LayerSignals(NamedTuple):
    """A layer's inputs and output gradients, records last so that sums over units run along contiguous records.

    Inputs have shape (stack, units, records), or (units, records) for the first layer, whose inputs the stack shares.
    """

    inputs: Floats
    outputs: Floats


@dataclass(frozen=True)
class DenseNetwork:
    """A multilayer perceptron with softmax cross-entropy; weights are one flat vector per model.

    Args:
        sizes: inputs, hidden widths, classes.
        activation: of the hidden layers.

    >>> DenseNetwork((784, 10, 10)).parameters
    7960
    """

    sizes: tuple[int, ...]
    activation: Literal["relu", "tanh"] = "relu"

    def __post_init__(self) -> None:
        if len(self.sizes) < 2:
            raise InputError(f"sizes must hold at least inputs and classes, got {self.sizes!r}.")
        for size in self.sizes:
            check.integer("sizes", size, at_least=1)
        check.one_of("activation", self.activation, ("relu", "tanh"))

    @property
    def parameters(self) -> int:
        """Length of a flat weight vector."""
        return sum((i + 1) * o for i, o in pairwise(self.sizes))

    def initial(self, *, seed: int) -> npt.NDArray[np.float32]:
        """Glorot-uniform kernels and zero biases, flat, shape (parameters,)."""
        rng = np.random.default_rng(seed)
        parts = []
        for i, o in pairwise(self.sizes):
            limit = np.sqrt(6 / (i + o))
            parts += [rng.uniform(-limit, limit, i * o), np.zeros(o)]
        flat: npt.NDArray[np.float32] = np.concatenate(parts).astype(np.float32)
        return flat

    def layers(self, flat: Floats) -> list[tuple[Floats, Floats]]:
        """Kernels (stack, inputs, outputs) and biases (stack, outputs) of flat weights (stack, parameters)."""
        if flat.ndim != 2 or flat.shape[1] != self.parameters:
            raise InputError(f"weights must have shape (stack, {self.parameters}), got {flat.shape}: another network?")
        layers, at = [], 0
        for i, o in pairwise(self.sizes):
            kernel = flat[:, at : at + i * o].reshape(-1, i, o)
            layers.append((kernel, flat[:, at + i * o : at + (i + 1) * o]))
            at += (i + 1) * o
        return layers

    def logits(self, flat: Floats, features: Floats) -> Floats:
        """Logits (stack, records, classes) of records (records, inputs)."""
        return self._forward(flat, features)[0].transpose(0, 2, 1)

    def signals(self, flat: Floats, features: Floats, labels: IntArray) -> list[LayerSignals]:
        """Each layer's inputs and output gradients for each record's own loss.

        Args:
            flat: shape (stack, parameters).
            features: shape (records, inputs).
            labels: shape (records,).
        """
        d, activations = self._forward(flat, features)
        d -= d.max(1, keepdims=True)
        np.exp(d, out=d)
        d /= d.sum(1, keepdims=True)
        d[:, labels, np.arange(len(labels))] -= 1
        outputs = [d]
        for (kernel, _), a in zip(self.layers(flat)[:0:-1], activations[:0:-1], strict=True):
            d = np.matmul(kernel, d)
            d *= (a > 0) if self.activation == "relu" else 1 - a**2
            outputs.append(d)
        return [LayerSignals(a, d) for a, d in zip(activations, reversed(outputs), strict=True)]

    def weighted_sums(
        self, flat: Floats, features: Floats, labels: IntArray, weight: Floats, *, clip: float | None = None
    ) -> Floats:
        """Σ over records of weight · ∇, each ∇ clipped first; see `candidate_attack.GradientModel`."""
        signals = self.signals(flat, features, labels)
        if clip is not None:
            norms = np.sqrt(np.maximum(squared_norms(signals), 1e-30))
            weight = np.minimum(1.0, clip / norms).astype(norms.dtype) * weight
        return weighted_sum(signals, weight)

    def products(self, flat: Floats, features: Floats, labels: IntArray, direction: Floats) -> tuple[Floats, Floats]:
        """Inner products ⟨∇, direction⟩ and |∇|², both (stack, records); see `candidate_attack.GradientModel`."""
        signals = self.signals(flat, features, labels)
        return inner_products(self, signals, direction), squared_norms(signals)

    def _forward(self, flat: Floats, features: Floats) -> tuple[Floats, list[Floats]]:
        if features.ndim != 2 or features.shape[1] != self.sizes[0]:
            raise InputError(f"features must have shape (records, {self.sizes[0]}), got {features.shape}.")
        a: Floats = features.astype(flat.dtype, copy=False).T
        activations: list[Floats] = []
        layers = self.layers(flat)
        for number, (kernel, bias) in enumerate(layers):
            activations.append(a)
            z = _times(a, kernel)
            z += bias[:, :, None]
            if number < len(layers) - 1:
                a = np.maximum(z, 0) if self.activation == "relu" else np.tanh(z)
        return z, activations


def squared_norms(signals: list[LayerSignals]) -> Floats:
    """|∇|² of each record's gradient, shape (stack, records)."""
    total: Floats = np.zeros_like(signals[0].outputs[:, 0])
    for a, d in signals:
        total += (np.einsum("...kn,...kn->...n", a, a) + 1) * np.einsum("skn,skn->sn", d, d)
    return total


def weighted_sum(signals: list[LayerSignals], weight: Floats) -> Floats:
    """Σ weight · ∇ over the records, flat, shape (stack, parameters); ``weight`` has shape (stack, records)."""
    parts = []
    for a, d in signals:
        scaled = d * weight[:, None].astype(d.dtype, copy=False)
        parts += [_outer_sum(a, scaled).reshape(len(d), -1), scaled.sum(2)]
    return np.concatenate(parts, axis=1)


def inner_products(network: DenseNetwork, signals: list[LayerSignals], direction: Floats) -> Floats:
    """⟨∇, direction⟩ of each record, shape (stack, records), for directions (stack, parameters)."""
    total: Floats = np.zeros_like(signals[0].outputs[:, 0])
    for (a, d), (kernel, bias) in zip(signals, network.layers(direction), strict=True):
        total += np.einsum("skn,skn->sn", _times(a, kernel) + bias[:, :, None], d)
    return total


def _times(a: Floats, kernel: Floats) -> Floats:
    """Inputs through stacked kernels -> (stack, outputs, records); shared inputs make it one wide product."""
    transposed = kernel.transpose(0, 2, 1)
    if a.ndim == 3:
        return np.asarray(np.matmul(transposed, a))
    stack, outputs, inputs = transposed.shape
    return np.asarray((transposed.reshape(stack * outputs, inputs) @ a).reshape(stack, outputs, -1))


def _outer_sum(a: Floats, d: Floats) -> Floats:
    """Σ over records of a ⊗ d -> (stack, inputs, outputs)."""
    if a.ndim == 3:
        return np.asarray(np.matmul(a, d.transpose(0, 2, 1)))
    stack, outputs, records = d.shape
    wide = d.reshape(stack * outputs, records) @ a.T
    return np.asarray(wide.reshape(stack, outputs, -1).transpose(0, 2, 1))
