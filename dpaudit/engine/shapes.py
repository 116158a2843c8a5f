"""Stacked tensors (models, examples, ..., channels): their shapes, and the product with a kernel that layers share."""

from typing import Any

from dpaudit.runtime.errors import InputError
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


def affine(a: Any, weight: Any, bias: Any) -> Any:
    """Every position of ``a`` times a kernel (models, inputs, outputs), plus a bias (models, outputs) or None.

    A kernel that the models share (models = 1) meets the positions of all of them in one product.
    """
    folded = weight.shape[0] == 1 < a.shape[0]
    plain = a.shape.rank == 3 and not folded
    flat = a if plain else tf.reshape(a, [1 if folded else a.shape[0], -1, a.shape[-1]])
    z = tf.matmul(flat, weight)
    if bias is not None:
        z += bias[:, None, :]
    return z if plain else tf.reshape(z, [max(a.shape[0], z.shape[0]), *dynamic_shape(a)[1:-1], z.shape[-1]])


def require_settings(layer: Any, **settings: object) -> None:
    """Refuse a Keras layer with other settings than these."""
    for name, wanted in settings.items():
        if getattr(layer, name) != wanted:
            raise InputError(
                f"layer {layer.name!r} has {name}={getattr(layer, name)!r}; "
                f"the stacked engine supports {wanted!r} only."
            )
