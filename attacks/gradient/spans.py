"""What a layer's weight gradient says of the layer's inputs: they lie in its column space.

For z = xW + b the gradients are ∂L/∂W = Σ xᵢᵀδᵢ and ∂L/∂b = Σ δᵢ, so every column of both on top of each other is a sum of
the vectors (xᵢ, 1). With fewer inputs than dimensions a vector that is none of them lies outside, almost surely
(`Petrov et al. (2024) <https://arxiv.org/abs/2405.15586>`_).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpaudit.runtime.check import BoolArray, FloatArray


@dataclass(frozen=True)
class Span:
    """The space of a layer's inputs.

    Args:
        basis: orthonormal, shape (1 + inputs, rank).
        threshold: distance of a unit vector from the space up to which it counts as inside.
    """

    basis: FloatArray
    threshold: float

    @classmethod
    def of(cls, kernels: Sequence[FloatArray], biases: Sequence[FloatArray]) -> "Span":
        """Of layers with the same inputs; kernels (inputs, outputs) and biases (outputs,).

        Rank and threshold are those of the widest gap between two singular values: the rank is the number above it, and
        the threshold is the square root of the gap's ratio, halfway (by ratio) between what rounding moves a true input
        by (at most the ratio) and the length of the vector itself.

        >>> x = np.array([[1.0, 2.0, 3.0], [0.5, -1.0, 2.0]])
        >>> space = Span.of([x.T @ np.array([[1.0, 2.0], [3.0, -1.0]])], [np.array([4.0, 1.0])])
        >>> space.rank, space.contains(x).tolist(), space.contains(x + [[0.1, 0, 0]]).tolist()
        (2, [True, True], [False, False])
        """
        columns = np.concatenate([np.vstack([k, b]) for k, b in zip(kernels, biases, strict=True)], axis=1)
        left, values, _ = np.linalg.svd(columns, full_matrices=True)
        # What is below the rounding error of the decomposition itself is as good as zero.
        floor = np.finfo(np.float64).eps * max(columns.shape) * values[0]
        padded = np.maximum(np.append(values, np.zeros(max(1, len(left) - len(values)))), floor)[: len(left)]
        ratios = padded[1:] / padded[:-1]
        rank = int(ratios.argmin()) + 1
        return cls(left[:, :rank], float(np.sqrt(ratios[rank - 1])))

    @property
    def rank(self) -> int:
        """Dimensions of the space: the number of different inputs, as long as there are fewer than dimensions."""
        return int(self.basis.shape[1])

    def distances(self, inputs: FloatArray) -> FloatArray:
        """Distance of (x, 1) from the space for inputs (..., inputs), over its length; shape (...)."""
        vectors = np.concatenate([inputs, np.ones((*inputs.shape[:-1], 1))], axis=-1)
        vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
        return np.asarray(np.linalg.norm(vectors - (vectors @ self.basis) @ self.basis.T, axis=-1))

    def contains(self, inputs: FloatArray) -> BoolArray:
        """Whether each of the inputs (..., inputs) lies in the space."""
        return np.asarray(self.distances(inputs) <= self.threshold)
