"""SPEAR: exact inversion of a whole batch through a ReLU dense layer.

`Dimitrov et al. (2024) <https://arxiv.org/abs/2403.03945>`_. The kernel gradient of B records has rank B, so it factors
as Y V with B columns in Y; the true output gradients are Y P with as many zeros as there are inactive ReLUs. Their
sampling of row sets doubles its work with every record. Here a smoothed 1-norm descends on the sphere, as in dictionary
learning (`Sun, Qu and Wright (2015) <https://arxiv.org/abs/1504.06785>`_, for SPEAR++ `Bakarsky et al. (2025)
<https://arxiv.org/abs/2510.24200>`_). On the neurons that are silent for records already found those records vanish,
so the next search has as many dimensions less. Every record that is returned agrees with the layer's own
ReLU pattern; otherwise nothing is returned.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dpaudit.attacks.gradient.linear_layer import dense_gradient, dense_layers, require_dense_first
from dpaudit.attacks.gradient.view import Arrays, GradientView, Reconstruction, gradient_of, require_known
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray
from dpaudit.runtime.errors import AuditFailed

TOGETHER = 200  # starts that descend as one array
STEPS = 60  # of the descent at each smoothing
SMOOTHINGS = (0.03, 0.01)  # of the 1-norm; an output gradient is about 1
SAMPLED = 12  # dimensions up to which random sets of rows are tried as well: narrow layers need them
SAME = 3  # turns without a better set of directions after which a search under noise ends
KNOWN = 3  # found records that a search leaves out at most: each halves the neurons


@dataclass(frozen=True)
class Spear:
    """Exact records of a batch from the gradient of a ReLU dense layer; approximate ones under noise that is stated.

    Args:
        layer: which dense layer with a bias; a ReLU follows it.
        starts: random starts of the search for sparse directions before giving up.
        tolerance: relative size below which an output gradient counts as zero; 1e-9 suits float64 gradients, 1e-4
            float32.
        zeros: share of a layer's neurons that must be inactive for a record's direction to be believed.
        seed: seed of the starts.

    Raises:
        AuditFailed: no batch reproduces the gradient: too much noise, another layer, too large a batch for the layer's
            width, or too few starts. Under stated noise a record may agree with the ReLU pattern and still be far off.
    """

    layer: int = 0
    starts: int = 40_000
    tolerance: float = 1e-9
    zeros: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        check.integer("starts", self.starts, at_least=1)
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
        batch, noise = require_known("batch_size", gradient.batch_size, "SPEAR"), gradient.noise
        kernel, bias = dense_gradient(gradient, self.layer, "SPEAR")
        at = dense_layers(gradient.weights)[self.layer]
        _, values, right = np.linalg.svd(kernel.T, full_matrices=False)  # (r,), (r, inputs)
        floor = self.tolerance * values[0] + noise * np.sqrt(kernel.shape).sum()  # the largest that noise alone gives
        rank = int((values > floor).sum())
        if rank != batch:
            lost = "noise hides some record" if noise else "some record is inactive or repeated"
            raise AuditFailed(
                f"SPEAR: the kernel gradient has rank {rank}{' above its noise' if noise else ''}, but the batch has "
                f"{batch} records: {lost if rank < batch else 'it carries noise that is not stated, or is not exact'}."
            )
        weakest = values[batch - 1] / floor if noise else np.inf
        if weakest < batch:
            raise AuditFailed(
                f"SPEAR: too much noise: the weakest singular value of the batch is {weakest:.1f} times that of noise, "
                f"and below {batch} times a mixture of {batch} records is silent on as many neurons as a record."
            )
        factor = kernel.T @ right[:batch].T  # (outputs, batch)
        sparse = _SparseColumns(factor, self.tolerance, noise, self.zeros)
        proposals, most = 0, 0
        for directions in sparse.search(self.starts, np.random.default_rng(self.seed)):
            most = max(most, directions.shape[1])
            if directions.shape[1] < batch:
                continue
            proposals += 1
            outputs = factor @ directions
            scale, *_ = np.linalg.lstsq(outputs, bias, rcond=None)
            if (scale == 0).any():
                continue
            records = np.linalg.solve(directions * scale, right[:batch])
            inactive = (records @ gradient.weights[at.kernel] + gradient.weights[at.bias]).T <= 0
            agreement = (sparse.silent(outputs) == inactive).mean(axis=0)  # (batch,)
            if agreement.min() > (0.9 if noise else 0.98):
                return Reconstruction(records)
        if most < batch:
            raise AuditFailed(
                f"SPEAR: {most} of {batch} sparse directions were found: "
                f"{'noise, or ' if noise else ''}the batch is too large for {len(factor)} neurons."
            )
        raise AuditFailed(
            f"SPEAR: none of {proposals} sets of directions reproduces the layer's ReLU pattern: another "
            f"layer{', noise' if noise else ''}, or a batch of {batch} is too large for {len(factor)} neurons."
        )


class _SparseColumns:
    """The sparsest independent columns ``factor @ p``, for unit vectors p of shape (batch,)."""

    def __init__(self, factor: FloatArray, tolerance: float, noise: float, zeros: float) -> None:
        norms = np.linalg.norm(factor, axis=1)
        self.batch = factor.shape[1]
        # A neuron inactive for all records says nothing.
        self.rows = factor[norms > tolerance * norms.max() + noise * (np.sqrt(self.batch) + 3)]
        self.tolerance, self.noise = tolerance, noise
        self.needed = max(self.batch, int(zeros * len(self.rows)))

    def silent(self, outputs: FloatArray) -> BoolArray:
        """Which output gradients along unit directions are zero but for rounding and noise, the shape of outputs."""
        return np.asarray(np.abs(outputs) <= self.tolerance * np.abs(outputs).max(0) + 3 * self.noise)

    def search(self, starts: int, rng: np.random.Generator) -> Iterator[FloatArray]:
        """Ever better sets of independent directions, (batch, found); under noise until they stop improving."""
        if self.batch == 1:
            yield np.ones((1, 1))
            return
        if len(self.rows) < self.batch:
            return
        found, counts = np.empty((self.batch, 0)), np.empty(0, int)
        together, same = min(TOGETHER, starts), 0
        for turn in range(starts // together):
            chosen: list[int] = []
            within = np.ones(len(self.rows), bool)
            for k in rng.permutation(counts.size)[: turn % (KNOWN + 1)].tolist():
                narrower = within & self.silent(self.rows @ found[:, k])
                if narrower.sum() > 4 * self.batch:
                    chosen, within = [*chosen, k], narrower
            proposals = [
                self._settled(self._lifted(direction, found[:, chosen]))
                for direction in self._on_silent_rows(np.flatnonzero(within), found[:, chosen], together, rng)
            ]
            before = counts
            found, counts = self._sparsest(np.column_stack([found, *proposals]))
            same = same + 1 if np.array_equal(before, counts) else 0
            if self.noise and same == SAME:
                return
            if same:
                continue
            yield found
            if counts.size < self.batch:
                continue
            # What is not one record is most often a mixture of two, of which one has been found.
            mixtures = [
                self._settled(self._cleared(found[:, i], found[:, k], np.ones(len(self.rows), bool)))
                for i in np.argsort(counts)[:3]
                for k in range(self.batch)
                if i != k
            ]
            before, (found, counts) = counts, self._sparsest(np.column_stack([found, *mixtures]))
            if not np.array_equal(before, counts):
                yield found

    def _on_silent_rows(
        self, at: IntArray, known: FloatArray, starts: int, rng: np.random.Generator
    ) -> Iterator[FloatArray]:
        """Directions with many zeros on rows where the known ones have zeros only, orthogonal to the known ones."""
        dimension = self.batch - known.shape[1]
        rows = self.rows[at]
        for _ in range(3):  # an orthonormal basis in which no neuron counts more than another
            rows = np.linalg.svd(rows, full_matrices=False)[0][:, :dimension]
            rows /= np.linalg.norm(rows, axis=1)[:, None]
        rows = np.linalg.svd(rows, full_matrices=False)[0] * np.sqrt(len(rows))
        # In one dimension no neuron is silent, and there is nothing to choose.
        wanted = max(dimension, self.needed // 2 ** known.shape[1]) if dimension > 1 else 0
        orthogonal = 1e3 * np.linalg.norm(self.rows) * known.T
        start = rng.normal(size=(dimension, starts)).astype(np.float32)
        ends = [(_descended(rows.astype(np.float32), start).astype(np.float64), 0.05)]
        if 1 < dimension <= SAMPLED:
            sets = np.argpartition(rng.random((10 * starts, len(rows))), dimension - 2, axis=1)[:, : dimension - 1]
            ends.append((_null_vectors(rows[sets]).T, 0.05 if self.noise else 1e-6))
        for vectors, level in ends:
            outputs = np.abs(rows @ vectors)
            near = (outputs < level).sum(0)
            kept: list[int] = []
            for i in np.argsort(-near, kind="stable")[: int((near >= wanted).sum())].tolist():
                if self.noise and len(kept) == 4 * dimension:  # noise makes most look sparse; these are the sparsest
                    break
                if (np.abs(vectors[:, i] @ vectors[:, kept]) < 0.98).all():
                    kept.append(i)
                    lowest = np.argsort(outputs[:, i])[: min(2 * dimension, wanted)]
                    yield _null_vector(np.vstack([self.rows[at[lowest]], orthogonal]))

    def _lifted(self, direction: FloatArray, known: FloatArray) -> FloatArray:
        """The direction plus multiples of the known ones, each found where the later ones are silent."""
        silent = self.silent(self.rows @ known)
        for k in range(known.shape[1]):
            direction = self._cleared(direction, known[:, k], silent[:, k + 1 :].all(1))
        return direction

    def _cleared(self, direction: FloatArray, known: FloatArray, within: BoolArray) -> FloatArray:
        """The unit vector of direction + α known with the most zeros within some rows: α is the commonest ratio."""
        theirs = self.rows @ known
        at = within & ~self.silent(theirs)
        if not at.any():
            return direction
        ratios = np.sort(-(self.rows[at] @ direction) / theirs[at])
        span = max(1, len(ratios) // 8)
        first = (ratios[span:] - ratios[:-span]).argmin() if len(ratios) > span else 0
        cleared = direction + np.median(ratios[first : first + span + 1]) * known
        return np.asarray(cleared / np.linalg.norm(cleared))

    def _settled(self, direction: FloatArray) -> FloatArray:
        """The direction that its own silent rows determine."""
        for _ in range(3):
            silent = self.silent(self.rows @ direction)
            if silent.sum() < self.needed:
                break
            direction = _null_vector(self.rows[silent])
        return direction

    def _sparsest(self, columns: FloatArray) -> tuple[FloatArray, IntArray]:
        """The independent directions with the most zeros, and their zeros; greedy is best, as in a matroid."""
        outputs = self.rows @ columns
        counts = self.silent(outputs).sum(0)
        outputs /= np.linalg.norm(outputs, axis=0)
        basis, kept = np.empty((len(self.rows), 0)), []
        for i in np.argsort(-counts, kind="stable")[: int((counts >= self.needed).sum())]:
            rest = outputs[:, i]
            for _ in range(2):  # twice is enough against rounding
                rest = rest - basis @ (basis.T @ rest)
            length = np.linalg.norm(rest)
            if length > (0.03 if self.noise else 1e-6):
                kept.append(i)
                basis = np.column_stack([basis, rest / length])
        return columns[:, kept], counts[kept]


def _descended(rows: npt.NDArray[np.float32], q: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Unit vectors (dimension, starts) at which the smoothed 1-norm of ``rows @ q`` has stopped falling.

    Single precision is enough: what is zero is decided afterwards.
    """
    for smoothing in SMOOTHINGS:
        for step in np.linspace(2 * np.sqrt(smoothing), 0, STEPS, dtype=np.float32):
            q /= np.linalg.norm(q, axis=0)
            outputs = rows @ q
            slope = rows.T @ (outputs / np.sqrt(outputs**2 + np.float32(smoothing**2))) / len(rows)
            q -= step * (slope - q * (q * slope).sum(0))
    return np.asarray(q / np.linalg.norm(q, axis=0))


def _null_vector(rows: FloatArray) -> FloatArray:
    """The unit vector whose products with the rows are least."""
    return np.asarray(np.linalg.svd(rows, full_matrices=len(rows) < rows.shape[1])[2][-1])


def _null_vectors(rows: FloatArray) -> FloatArray:
    """Unit vector orthogonal to each set of rows: (sets, k, k+1) -> (sets, k+1).

    Solved with one coordinate fixed (the last right singular vector costs ten times as much).
    """
    k = rows.shape[1]
    try:
        head = np.linalg.solve(rows[:, :, :k], -rows[:, :, k:])[:, :, 0]
    except np.linalg.LinAlgError:  # a repeated row makes a set singular
        return np.asarray(np.linalg.svd(rows)[2][:, -1])
    vector = np.concatenate([head, np.ones((len(rows), 1))], axis=1)
    return np.asarray(vector / np.linalg.norm(vector, axis=1, keepdims=True))
