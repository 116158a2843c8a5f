"""Exact inversion of a dense layer: its weight gradient is made of its inputs.

For z = xW + b the gradients are ∂L/∂W = Σ xᵢᵀδᵢ and ∂L/∂b = Σ δᵢ, so with one record every column of ∂L/∂W is the input
times one number, and that number is in ∂L/∂b: `Phong et al. (2017) <https://doi.org/10.1007/978-3-319-67786-6_5>`_,
`Geiping et al. (2020), proposition 3.1 <https://arxiv.org/abs/2003.14053>`_.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from dpaudit.attacks.gradient.view import (
    Arrays,
    BatchGradient,
    GradientView,
    Reconstruction,
    gradient_of,
    require_known,
)
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import InputError


class DenseLayer(NamedTuple):
    """Position of a dense layer's kernel and bias among a model's arrays."""

    kernel: int
    bias: int


def dense_layers(weights: Arrays) -> list[DenseLayer]:
    """Dense layers with a bias, found by shape: an (inputs, outputs) array followed by an (outputs,) array.

    >>> dense_layers((np.ones((4, 3)), np.ones(3), np.ones((3, 2)), np.ones(2)))
    [DenseLayer(kernel=0, bias=1), DenseLayer(kernel=2, bias=3)]
    """
    pairs = pairwise(weights)
    return [DenseLayer(i, i + 1) for i, (w, b) in enumerate(pairs) if w.ndim == 2 and b.shape == w.shape[1:]]


def dense_gradient(view: BatchGradient, layer: int, attack: str) -> tuple[FloatArray, FloatArray]:
    """Kernel gradient (inputs, outputs) and bias gradient (outputs,) of the ``layer``-th dense layer with a bias."""
    layers = dense_layers(view.weights)
    if not layers:
        raise InputError(
            f"{attack} needs a dense layer with a bias; the model's arrays have shapes "
            f"{[w.shape for w in view.weights]} and hold none."
        )
    if not -len(layers) <= layer < len(layers):
        raise InputError(f"layer must be one of the {len(layers)} dense layers with a bias, got {layer}.")
    kernel, bias = layers[layer]
    return view.gradient[kernel], view.gradient[bias]


@dataclass(frozen=True)
class DenseInversion:
    """The input of a dense layer, in closed form.

    With one record the answer is exact without noise; ``least-squares`` weighs the layer's neurons by their signal
    and ``total-least-squares`` also allows for noise in the bias gradient. With more records it returns the inputs
    that two or more neurons saw alone (they agree on them); the others are mixtures and are left out.

    Args:
        fit: how neurons are combined for one record.
        layer: which dense layer with a bias; 0 is the first, whose input is the record itself in an MLP.
        agreement: relative distance below which two neurons' inputs are the same, for more than one record.

    >>> x, delta = np.array([0.2, 0.8]), np.array([1.0, -2.0, 0.5])
    >>> view = BatchGradient((np.ones((2, 3)), np.ones(3)), (np.outer(x, delta), delta), batch_size=1)
    >>> DenseInversion()(view).records
    array([[0.2, 0.8]])
    """

    fit: Literal["least-squares", "total-least-squares"] = "least-squares"
    layer: int = 0
    agreement: float = 1e-6

    def __post_init__(self) -> None:
        check.one_of("fit", self.fit, ("least-squares", "total-least-squares"))
        check.positive("agreement", self.agreement)

    def __call__(self, view: GradientView) -> Reconstruction:
        """The layer's inputs, shape (inputs found, features); may be empty for a batch of more than one."""
        gradient = gradient_of(view, "dense inversion")
        kernel, bias = dense_gradient(gradient, self.layer, "dense inversion")
        if not bias.any():
            raise InputError("dense inversion needs a bias gradient that is not zero: the layer was inactive.")
        if require_known("batch_size", gradient.batch_size, "dense inversion") == 1:
            records = self._single(kernel, bias)[None]
        else:
            records = seen_alone(kernel, bias, self.agreement)
        return Reconstruction(records if gradient.box is None else np.clip(records, *gradient.box))

    def together(self, views: Sequence[GradientView]) -> list[Reconstruction]:
        """The inputs of each of many victims."""
        return [self(view) for view in views]

    def require(self, weights: Arrays) -> None:
        """Refuse a model whose layer's inputs are not the records themselves."""
        require_dense_first(weights, "dense")

    def _single(self, kernel: FloatArray, bias: FloatArray) -> FloatArray:
        if self.fit == "least-squares":
            return np.asarray(kernel @ bias / (bias @ bias))
        # [∂L/∂W; ∂L/∂b] is (x, 1) times δ: the leading left singular vector is (x, 1) up to scale.
        direction = np.linalg.svd(np.vstack([kernel, bias]), full_matrices=False)[0][:, 0]
        if direction[-1] == 0:
            raise InputError("total least squares found no component along the bias; use least-squares.")
        return np.asarray(direction[:-1] / direction[-1])


def require_dense_first(weights: Arrays, name: str) -> None:
    """Refuse weights that do not begin with a dense layer with a bias."""
    layers = dense_layers(weights)
    if not layers or layers[0].kernel != 0:
        raise InputError(f"gradient.attacks: {name!r} needs an architecture that starts with a dense layer.")


def seen_alone(kernel: FloatArray, bias: FloatArray, agreement: float) -> FloatArray:
    """Inputs on which two or more neurons agree, shape (inputs found, features); may be empty.

    A neuron that is active for one record only gives that record exactly; a neuron active for several gives their
    mixture, and two mixtures agree only by accident.
    """
    active = np.flatnonzero(np.abs(bias) > 1e-12 * np.abs(bias).max())
    inputs = (kernel[:, active] / bias[active]).T
    squared = (inputs**2).sum(1)
    distance = np.maximum(squared[:, None] + squared - 2 * inputs @ inputs.T, 0.0)
    # The Gram form cancels: near pairs are measured again from the difference itself.
    near = np.argwhere(np.triu(distance < 1e-6 * np.maximum(squared[:, None], 1e-300), 1))
    group: IntArray = np.arange(active.size)
    for i, j in near:
        if np.linalg.norm(inputs[i] - inputs[j]) <= agreement * np.linalg.norm(inputs[i]):
            group[j] = group[i]
    found = [inputs[members[0]] for g in np.unique(group) if (members := np.flatnonzero(group == g)).size > 1]
    return np.array(found).reshape(-1, kernel.shape[0])
