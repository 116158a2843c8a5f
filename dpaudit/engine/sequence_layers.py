"""Layers of sequence models with weights, as in `dpaudit.engine.layers`: embeddings, and products over several axes."""

import math
from dataclasses import dataclass
from typing import Any

from dpaudit.engine.per_example_clipping import Contribution, kernel, lookup, materialised
from dpaudit.engine.shapes import affine, dynamic_shape, for_models, positions, require_settings
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import tf


@dataclass(frozen=True)
class Embedding:
    """A table looked up by whole numbers."""

    rows: int

    @classmethod
    def read(cls, layer: Any) -> "Embedding":
        """From ``keras.layers.Embedding``."""
        require_settings(layer, mask_zero=False)
        return cls(layer.input_dim)

    def prepare(self, x: Any) -> Any:
        """The ids."""
        return tf.cast(x, tf.int32)

    def apply(self, weights: list[Any], a: Any) -> Any:
        """Rows of the table."""
        if weights[0].shape[0] == 1:  # one table for all models
            return tf.gather(weights[0][0], a)
        return tf.gather(weights[0], for_models(a, weights[0].shape[0]), batch_dims=1)

    def contribution(self, a: Any, d: Any) -> Contribution:
        """A sum over equal ids."""
        ids = for_models(a, d.shape[0])
        return lookup(tf.reshape(ids, [*dynamic_shape(ids)[:2], -1]), positions(d), rows=self.rows)


@dataclass(frozen=True)
class PositionTable:
    """A table with one row for each position, whatever the input holds."""

    @classmethod
    def read(cls, layer: Any) -> "PositionTable":
        """From a layer that returns its table ``position_embeddings`` for every example."""
        return cls()

    def prepare(self, x: Any) -> Any:
        """The input, of which only the shape counts."""
        return x

    def apply(self, weights: list[Any], a: Any) -> Any:
        """The table for every example."""
        (table,) = weights
        return tf.broadcast_to(table[:, None], [table.shape[0], tf.shape(a)[1], *table.shape[1:]])

    def contribution(self, a: Any, d: Any) -> Contribution:
        """An example's gradient is that of its output."""
        return materialised([d])


@dataclass(frozen=True)
class EinsumDense:
    """A product that contracts the last axes of its input; those between the examples and them are positions.

    Args:
        contracted: sizes of the axes that are contracted.
        bias: whether one number for each output is added.
    """

    contracted: tuple[int, ...]
    bias: bool

    @classmethod
    def read(cls, layer: Any) -> "EinsumDense":
        """From ``keras.layers.EinsumDense``."""
        given, _, result = layer.equation.replace("...", ".").partition("->")
        inputs, weight = given.split(",")
        shared = [axis for axis in weight if axis in inputs]
        kept, made = inputs[: len(inputs) - len(shared)], weight[len(shared) :]
        fits = inputs.endswith("".join(shared)) and weight.startswith("".join(shared)) and result == kept + made
        if not fits or not shared or not kept or (layer.bias_axes or made) != made:
            raise InputError(
                f"layer {layer.name!r} has the equation {layer.equation!r}; the stacked engine takes those that "
                "contract the last axes of the input with the first of the kernel and have all other axes in the bias."
            )
        return cls(tuple(layer.kernel.shape[: len(shared)]), layer.bias_axes is not None)

    def prepare(self, x: Any) -> Any:
        """The input with one axis in the place of the contracted ones."""
        return tf.reshape(x, [*dynamic_shape(x)[: -len(self.contracted)], math.prod(self.contracted)])

    def apply(self, weights: list[Any], a: Any) -> Any:
        """Input times kernel, plus bias."""
        models, made = weights[0].shape[0], weights[0].shape[1 + len(self.contracted) :]
        weight = tf.reshape(weights[0], [models, a.shape[-1], made.num_elements()])
        z = affine(a, weight, tf.reshape(weights[1], [models, -1]) if self.bias else None)
        return tf.reshape(z, [*dynamic_shape(z)[:-1], *made])

    def contribution(self, a: Any, d: Any) -> Contribution:
        """One position for each entry of the middle axes."""
        made = d.shape[a.shape.rank - 1 :]
        rows = positions(a)
        columns = tf.reshape(d, [d.shape[0], tf.shape(d)[1], rows.shape[2], made.num_elements()])
        sums = kernel(rows, columns, bias=self.bias)

        def weighted_sum(weights: Any) -> list[Any]:
            first, *rest = sums.weighted_sum(weights)
            shape = [d.shape[0], *self.contracted, *made]
            return [tf.reshape(first, shape), *(tf.reshape(bias, [-1, *made]) for bias in rest)]

        return Contribution(sums.squared_norms, weighted_sum)
