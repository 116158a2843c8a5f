"""Multi-head attention of Keras as nodes of the stacked engine: projections with weights, and a product without any."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dpaudit.engine.sequence_layers import EinsumDense
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import tf

MASKED = -1e9  # added to a score that must not count, as in Keras
# Layer, inputs, activation or product -> the value that is its output.
Append = Callable[[Any, tuple[int, ...], EinsumDense | None, Any], int]


@dataclass(frozen=True)
class Attention:
    """Softmax of scaled products of queries and keys, times the values; each (examples, positions, heads, size)."""

    causal: bool

    def __call__(self, inputs: Sequence[Any]) -> Any:
        """Shape (examples, positions, heads, size)."""
        query, key, value = (tf.transpose(each, [0, 2, 1, 3]) for each in inputs)
        scores = tf.matmul(query * (1 / math.sqrt(query.shape[-1])), key, transpose_b=True)
        if self.causal:
            seen = tf.linalg.band_part(tf.ones(scores.shape[-2:], scores.dtype), -1, 0)
            scores += (1.0 - seen) * MASKED
        return tf.transpose(tf.matmul(tf.nn.softmax(scores), value), [0, 2, 1, 3])


def append_attention(layer: Any, call: Sequence[Any], value_of: Mapping[str, int], append: Append) -> int:
    """Read one call of ``keras.layers.MultiHeadAttention``; return the value that is its output.

    Args:
        layer: the Keras layer.
        call: how it is called, from the model's configuration: its query and its other arguments.
        value_of: the value of each layer that was read before.
        append: adds a node.

    Raises:
        InputError: dropout inside, a mask other than the causal one, or attention over other axes.
    """
    name, _, _, arguments = call
    given = {key: value for key, value in arguments.items() if value is not None}
    causal = bool(given.pop("use_causal_mask", False))
    if not isinstance(given.get("value"), list) or set(given) - {"value", "key"}:
        raise InputError(
            f"layer {layer.name!r} is called with {', '.join(sorted(set(given) - {'value', 'key'})) or 'no value'}; "
            "the stacked engine knows attention over all positions and use_causal_mask."
        )
    if layer._dropout or len(layer._query_shape) != 3:
        raise InputError(
            f"layer {layer.name!r} has dropout inside or more than one axis of positions; the stacked engine takes "
            "attention without dropout over (examples, positions, channels)."
        )
    value = value_of[given["value"][0]]
    key = value_of[given["key"][0]] if "key" in given else value
    sources = ((layer._query_dense, value_of[name]), (layer._key_dense, key), (layer._value_dense, value))
    projected = tuple(append(part, (source,), EinsumDense.read(part), None) for part, source in sources)
    mixed = append(None, projected, None, Attention(causal))
    return append(layer._output_dense, (mixed,), EinsumDense.read(layer._output_dense), None)
