"""Per-example gradients of a layer's weights, as norms and weighted sums, from its input and output gradient.

With input a and output gradient d of one example at positions p, the gradient of a kernel is Σ_p a_p d_pᵀ. Neither
its norm nor a weighted sum over the examples needs that matrix per example (`Goodfellow (2015)
<https://arxiv.org/abs/1510.01799>`_; for several positions `Li et al. (2021) <https://arxiv.org/abs/2110.05679>`_,
`Bu et al. (2022) <https://arxiv.org/abs/2205.10683>`_). All of it is exact.

Axes: m models (an input shared by the models has m = 1), b examples, p positions, k inputs, o outputs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from dpaudit.runtime.tensorflow import tf

# Writing and reading one number of a materialised per-example gradient costs about as much as this many
# multiply-adds of the Gram form (measured on float32, two cores: its small products are slow).
MEMORY_COST = 8


class Contribution(NamedTuple):
    """What one layer's weights add to the gradient.

    Args:
        squared_norms: squared L2 norm of each example's gradient, shape (models, examples).
        weighted_sum: weights (models, examples) -> Σ over examples of weight times gradient, one tensor per variable
            with a leading model axis.
    """

    squared_norms: Any
    weighted_sum: Callable[[Any], list[Any]]


def kernel(a: Any, d: Any, *, bias: bool) -> Contribution:
    """Of z = a W (+ bias) with a (m, b, p, k), d (m, b, p, o) and W (m, k, o)."""
    positions, inputs, outputs = a.shape[2], a.shape[3], d.shape[3]
    if positions == 1:
        norms = (_square(a) + float(bias)) * _square(d)
        return Contribution(norms, lambda weights: _product(a, d, weights, bias))
    if MEMORY_COST * inputs * outputs < positions**2 * (inputs + outputs):
        return _kernel_direct(a, d, bias)
    gram = tf.matmul(a, a, transpose_b=True) + float(bias)
    norms = tf.reduce_sum(gram * tf.matmul(d, d, transpose_b=True), axis=[2, 3])
    return Contribution(norms, lambda weights: _product(a, d, weights, bias))


def _kernel_direct(a: Any, d: Any, bias: bool) -> Contribution:
    per_example = [tf.matmul(d, a, transpose_a=True)]  # (m, b, o, k): half again as fast as its transpose
    if bias:
        per_example.append(position_sum(d))
    sums = materialised(per_example)

    def weighted_sum(weights: Any) -> list[Any]:
        first, *rest = sums.weighted_sum(weights)
        return [tf.linalg.matrix_transpose(first), *rest]

    return Contribution(sums.squared_norms, weighted_sum)


def _product(a: Any, d: Any, weights: Any, bias: bool) -> list[Any]:
    weighted = d * weights[:, :, None, None]
    rows = tf.reshape(a, [a.shape[0], -1, a.shape[3]])
    columns = tf.reshape(weighted, [d.shape[0], -1, d.shape[3]])
    sums = [tf.matmul(rows, columns, transpose_a=True)]
    if bias:
        sums.append(tf.reduce_sum(columns, axis=1))
    return sums


def materialised(per_example: list[Any]) -> Contribution:
    """Of variables whose per-example gradients (m, b, ...) are small enough to hold."""
    norms = tf.add_n([_square(gradient) for gradient in per_example])

    def weighted_sum(weights: Any) -> list[Any]:
        # Two rows make it a product of matrices: XLA would inline one row's weights and compute them once more for
        # every number of the gradient.
        rows = tf.stack([weights, tf.ones_like(weights)], axis=1)
        return [
            tf.reshape(tf.matmul(rows, _flat(gradient))[:, 0], [gradient.shape[0], *gradient.shape[2:]])
            for gradient in per_example
        ]

    return Contribution(norms, weighted_sum)


def lookup(ids: Any, d: Any, *, rows: int) -> Contribution:
    """Of an embedding table (m, rows, o) looked up at ids (m, b, p), with d (m, b, p, o).

    An id met twice in one example adds up before it is squared, hence the product over pairs of positions.
    """
    same = tf.cast(ids[:, :, :, None] == ids[:, :, None, :], d.dtype)
    norms = tf.reduce_sum(same * tf.matmul(d, d, transpose_b=True), axis=[2, 3])

    def weighted_sum(weights: Any) -> list[Any]:
        weighted = d * weights[:, :, None, None]
        models = d.shape[0]
        flat = tf.reshape(ids + rows * tf.range(models, dtype=ids.dtype)[:, None, None], [-1])
        sums = tf.math.unsorted_segment_sum(tf.reshape(weighted, [-1, d.shape[3]]), flat, models * rows)
        return [tf.reshape(sums, [models, rows, d.shape[3]])]

    return Contribution(norms, weighted_sum)


def position_sum(x: Any) -> Any:
    """Σ over positions of x (m, b, p, k), shape (m, b, k).

    It is a product with two rows of ones: a sum that XLA compiles adds up number after number, and computes its input
    anew for every sum that reads it.
    """
    models, examples, count = x.shape[0], tf.shape(x)[1], x.shape[2]
    return tf.matmul(tf.ones([models, examples, 2, count], x.dtype), x)[:, :, 0]


def _square(x: Any) -> Any:
    flat = _flat(x)
    return tf.linalg.matvec(flat * flat, tf.ones([1, flat.shape[2]], flat.dtype))


def _flat(x: Any) -> Any:
    return tf.reshape(x, [x.shape[0], tf.shape(x)[1], x.shape[2:].num_elements()])
