"""What a layer's weight gradient says of the layer's inputs: they lie in its column space.

For z = xW + b the gradients are ∂L/∂W = Σ xᵢᵀδᵢ and ∂L/∂b = Σ δᵢ, so every column of both on top of each other is a sum
of the vectors (xᵢ, 1). With fewer inputs than dimensions a vector that is none of them lies outside, almost surely
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
        ratio: of the singular values below and above the widest gap: how exact the gradient is.
    """

    basis: FloatArray
    ratio: float

    @classmethod
    def of(cls, kernels: Sequence[FloatArray], biases: Sequence[FloatArray]) -> "Span":
        """Of layers with the same inputs; kernels (inputs, outputs) and biases (outputs,).

        The rank is the number of singular values above the widest gap between two of them.

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
        return cls(left[:, :rank], float(ratios[rank - 1]))

    @property
    def rank(self) -> int:
        """Dimensions of the space: the number of different inputs, as long as there are fewer than dimensions."""
        return int(self.basis.shape[1])

    @property
    def threshold(self) -> float:
        """Distance from the space up to which a unit vector counts as inside.

        An error as large as the singular value below the gap turns the space by at most the gap's ratio (Wedin 1972).
        That times the number of dimensions, as the rounding error of a product grows with them; the root of the ratio
        where there is hardly a gap.
        """
        return min(len(self.basis) * self.ratio, float(np.sqrt(self.ratio)))

    def distances(self, inputs: FloatArray) -> FloatArray:
        """Distance of (x, 1) from the space for inputs (..., inputs), over its length; shape (...)."""
        vectors = np.concatenate([inputs, np.ones((*inputs.shape[:-1], 1))], axis=-1)
        vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
        return np.asarray(np.linalg.norm(vectors - (vectors @ self.basis) @ self.basis.T, axis=-1))

    def contains(self, inputs: FloatArray) -> BoolArray:
        """Whether each of the inputs (..., inputs) lies in the space."""
        return np.asarray(self.distances(inputs) <= self.threshold)
