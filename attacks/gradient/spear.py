"""SPEAR: exact inversion of a whole batch through a ReLU dense layer.

`Dimitrov et al. (2024) <https://arxiv.org/abs/2403.03945>`_. The kernel gradient of B records has rank B, so it factors
as L R; the true output gradients are L Q with as many zeros as there are inactive ReLUs, and directions that sparse
are found from small random sets of rows of L. No approximation: what is returned satisfies the layer's own ReLU
pattern, and otherwise nothing is returned.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dpaudit.attacks.gradient.linear_layer import dense_gradient, dense_layers, require_dense_first
from dpaudit.attacks.gradient.view import Arrays, GradientView, Reconstruction, gradient_of, require_known
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import AuditFailed


@dataclass(frozen=True)
class Spear:
    """Exact records of a batch from the gradient of a ReLU dense layer. The work grows like 2^batch.

    Args:
        layer: which dense layer with a bias; a ReLU follows it.
        samples: random row sets tried before giving up.
        tolerance: relative size below which an output gradient counts as zero; 1e-9 suits float64 gradients, 1e-4
            float32.
        zeros: share of a layer's neurons that must be inactive for a record's direction to be believed.
        seed: seed of the row sets.

    Raises:
        AuditFailed: no batch reproduces the gradient: noise, another layer, or too few samples. Never garbage.
    """

    layer: int = 0
    samples: int = 400_000
    tolerance: float = 1e-9
    zeros: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        check.integer("samples", self.samples, at_least=1)
        check.positive("tolerance", self.tolerance)
        check.open_unit("zeros", self.zeros)

    def together(self, views: Sequence[GradientView]) -> list[Reconstruction]:
        """The batch of each of many victims."""
        return [self(view) for view in views]

    def require(self, weights: Arrays) -> None:
        """Refuse a model whose layer's inputs are not the records themselves."""
        require_dense_first(weights, "spear")

    def __call__(self, view: GradientView) -> Reconstruction:
        """The whole batch, in no particular order."""
        gradient = gradient_of(view, "SPEAR")
        batch = require_known("batch_size", gradient.batch_size, "SPEAR")
        kernel, bias = dense_gradient(gradient, self.layer, "SPEAR")
        at = dense_layers(gradient.weights)[self.layer]
        left, values, right = np.linalg.svd(kernel.T, full_matrices=False)  # (outputs, r), (r,), (r, inputs)
        rank = int((values > self.tolerance * values[0]).sum())
        if rank != batch:
            raise AuditFailed(
                f"SPEAR: the kernel gradient has rank {rank}, but the batch has {batch} records: "
                + ("it carries noise, or is not exact." if rank > batch else "some record is inactive or repeated.")
            )
        left, right = left[:, :batch], values[:batch, None] * right[:batch]
        proposals = 0
        for directions in self._directions(left):
            proposals += 1
            scale, *_ = np.linalg.lstsq(left @ directions, bias, rcond=None)
            mixing = directions * scale
            if np.linalg.matrix_rank(mixing) < batch:
                continue
            records = np.linalg.solve(mixing, right)
            outputs = np.abs(left @ mixing)
            silent = outputs <= 1e3 * self.tolerance * outputs.max(0)
            inactive = (records @ gradient.weights[at.kernel] + gradient.weights[at.bias]).T <= 0
            if (silent == inactive).mean() > 0.999:
                return Reconstruction(records)
        raise AuditFailed(
            f"SPEAR: none of {proposals} sets of directions in {self.samples} samples reproduces the layer's ReLU "
            f"pattern; the samples needed double with every record of the batch ({batch})."
        )

    def _directions(self, left: FloatArray) -> Iterator[FloatArray]:
        """Ever better sets of the sparsest independent directions q of ``left @ q``, (batch, batch), unit columns."""
        batch = left.shape[1]
        if batch == 1:
            yield np.ones((1, 1))
            return
        norms = np.linalg.norm(left, axis=1)
        left = left[norms > self.tolerance * norms.max()]  # a neuron inactive for all records says nothing
        neurons = left.shape[0]
        if neurons < batch:
            return
        rng = np.random.default_rng(self.seed)
        needed = max(batch, int(self.zeros * neurons))
        found, counts = np.empty((batch, 0)), np.empty(0, int)
        chunk = min(2000, self.samples)
        for _ in range(self.samples // chunk):
            rows = np.argpartition(rng.random((chunk, neurons)), batch - 2, axis=1)[:, : batch - 1]
            null = _null_vectors(left[rows])  # (chunk, batch)
            zero = (np.abs(null @ left.T) < self.tolerance).sum(1)
            before = counts.size
            for i in np.flatnonzero(zero >= needed):
                if (np.abs(null[i] @ found) < 1 - 1e-7).all():
                    found, counts = np.column_stack([found, null[i]]), np.append(counts, zero[i])
            if counts.size >= batch and counts.size > before:
                # Mixtures of two true directions are sparse as well, but about half as sparse: they come last.
                chosen = _independent(found[:, np.argsort(-counts, kind="stable")])
                if chosen.shape[1] == batch:
                    yield chosen


def _null_vectors(rows: FloatArray) -> FloatArray:
    """Unit vector orthogonal to each set of rows: (sets, k, k+1) -> (sets, k+1).

    Solved with one coordinate fixed (the last right singular vector costs ten times as much).
    """
    k = rows.shape[1]
    last = rows[:, :, k]
    try:
        head = np.linalg.solve(rows[:, :, :k], -last[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:  # an inactive neuron or a repeated row makes a set singular
        return np.asarray(np.linalg.svd(rows)[2][:, -1])
    vector = np.concatenate([head, np.ones((rows.shape[0], 1))], axis=1)
    return np.asarray(vector / np.linalg.norm(vector, axis=1, keepdims=True))


def _independent(columns: FloatArray) -> FloatArray:
    """Greedy: the first columns that are linearly independent."""
    chosen = columns[:, :1]
    for i in range(1, columns.shape[1]):
        wider = np.column_stack([chosen, columns[:, i]])
        if np.linalg.svd(wider, compute_uv=False)[-1] > 1e-6:
            chosen = wider
        if chosen.shape[1] == columns.shape[0]:
            break
    return chosen
