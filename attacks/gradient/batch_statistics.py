"""Means and variances that batch normalisation meets: the moving averages of a model as a prior on a batch.

A model in use normalises by averages over its training data. A batch's own means and variances are near them, so an
attack prefers guesses whose statistics are: `Yin et al. (2021), "See through gradients"
<https://arxiv.org/abs/2104.07586>`_.
"""

from typing import Any

from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import keras, tf


def normalising_layers(model: Any, needed_by: str) -> list[Any]:
    """The batch normalisations of a Keras model, in order.

    Raises:
        InputError: it has none, or one over another axis than the last.
    """
    found = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not found:
        raise InputError(
            f"{needed_by} needs an architecture with BatchNormalization (kind = 'keras-json'), and this has none."
        )
    for layer in found:
        if list(tf.nest.flatten(layer.axis)) not in ([-1], [len(layer.input.shape) - 1]):
            raise InputError(f"{needed_by}: layer {layer.name!r} normalises over another axis than the last.")
    return found


def batch_moments(model: Any, layer: Any, x: Any) -> tuple[Any, Any]:
    """Mean and variance of what a layer is given of each batch, both (batches, channels).

    Args:
        model: the Keras model, at inference.
        layer: of the model.
        x: records, shape (batches, records, ...).
    """
    flat = tf.reshape(x, [-1, *x.shape[2:]])
    given = keras.Model(model.input, layer.input)(flat, training=False)
    each = tf.reshape(given, [x.shape[0], -1, given.shape[-1]])
    mean = tf.reduce_mean(each, axis=1)
    return mean, tf.reduce_mean((each - mean[:, None]) ** 2, axis=1)


def away_from_averages(model: Any, x: Any) -> Any:
    """Distance of each batch's statistics to the model's moving averages, summed over the layers, (batches,)."""
    total: Any = 0.0
    for layer in normalising_layers(model, "the prior from batch statistics"):
        mean, variance = batch_moments(model, layer, x)
        for own, average in ((mean, layer.moving_mean), (variance, layer.moving_variance)):
            # The root of a sum of squares has no slope at 0.
            total += tf.sqrt(tf.reduce_sum((own - average) ** 2, axis=1) + 1e-12)
    return total


def fit_averages(model: Any, records: FloatArray) -> None:
    """Set the moving averages of a model to the statistics of records, layer by layer from the front."""
    for layer in normalising_layers(model, "gradient.server: 'batch-norm'"):
        mean, variance = batch_moments(model, layer, tf.constant(records[None]))
        layer.moving_mean.assign(mean[0])
        layer.moving_variance.assign(variance[0])
