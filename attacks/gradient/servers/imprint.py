"""A server that plants an imprint module, whose gradient holds single records.

Every neuron measures the same thing of the input and switches on above its own threshold, so the difference of two
neighbours is the sum over the records between them: `Fowl et al. (2022), "Robbing the Fed"
<https://arxiv.org/abs/2110.13057>`_.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dpaudit.attacks.gradient.linear_layer import dense_layers
from dpaudit.attacks.gradient.servers.first_layer import require_relu_first
from dpaudit.attacks.gradient.view import Arrays
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError


def plant_imprint(weights: Arrays, auxiliary: FloatArray) -> Arrays:
    """Turn the first dense layer (followed by a ReLU and a dense layer) into an imprint module.

    Args:
        weights: of a model that starts dense, ReLU, dense.
        auxiliary: records of the same population; the thresholds are quantiles of their mean brightness, shape
            (records, ...).
    """
    layers = dense_layers(weights)
    if len(layers) < 2 or layers[0].kernel != 0:
        raise InputError("an imprint module replaces the first of two dense layers at the start of a model.")
    inputs, bins = weights[0].shape
    brightness = check.finite("auxiliary records", auxiliary).reshape(len(auxiliary), -1).mean(1)
    planted = list(weights)
    planted[0] = np.full((inputs, bins), 1 / inputs)
    planted[1] = -np.quantile(brightness, np.arange(bins) / bins)
    planted[1][0] = -(brightness.min() - 1.0)  # the first bin starts below every record
    # All bins pass the same gradient back when they go on to the next layer with equal weights.
    nxt = layers[1].kernel
    planted[nxt] = np.broadcast_to(weights[nxt].mean(0), weights[nxt].shape).copy()
    return tuple(planted)


@dataclass(frozen=True)
class Imprint:
    """Plants an imprint module in the first dense layer, Fowl et al. (2022); the attack `imprint` reads it."""

    def __call__(self, model: Any, auxiliary: FloatArray) -> Arrays:
        """Weights with the module, its thresholds fitted to the server's records."""
        require_relu_first(model, "imprint")
        return plant_imprint(tuple(model.get_weights()), auxiliary)
