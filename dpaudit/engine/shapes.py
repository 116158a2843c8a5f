"""Shapes of stacked tensors (models, examples, ..., channels)."""

from typing import Any

from dpaudit.runtime.tensorflow import tf


def dynamic_shape(x: Any) -> list[Any]:
    """Sizes of every axis: numbers where they are known, tensors where not."""
    sizes = tf.shape(x)
    return [size if size is not None else sizes[i] for i, size in enumerate(x.shape)]


def positions(x: Any) -> Any:
    """(models, examples, ..., channels) -> (models, examples, positions, channels)."""
    count = x.shape[2:-1].num_elements()
    return tf.reshape(x, [x.shape[0], tf.shape(x)[1], count, x.shape[-1]])


def for_models(x: Any, models: int) -> Any:
    """Shared values (1, ...) repeated for every model; others as they are."""
    return x if x.shape[0] == models else tf.broadcast_to(x, [models, *dynamic_shape(x)[1:]])
