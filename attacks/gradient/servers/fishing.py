"""A server that silences every class but one, so that a batch's gradient is that of the one class's records.

`Wen et al. (2022), "Fishing for user data in large-batch federated learning" <https://arxiv.org/abs/2202.00580>`_,
the attack on one class. The head's other columns are zero and their biases high: a record of another class is as
certain of not being the target as a number can say, and sends no gradient into the layers below.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dpaudit.attacks.gradient.linear_layer import dense_layers
from dpaudit.attacks.gradient.view import Arrays
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError


@dataclass(frozen=True)
class Fishing:
    """Silences every class but one in the head, so that only its records send a gradient, Wen et al. (2022).

    Args:
        target: the class that is fished for.
        bias: of every other class, in logits; the target's probability is about its negative exponential.
    """

    target: int = 0
    bias: float = 30.0

    def __post_init__(self) -> None:
        check.integer("target", self.target, at_least=0)
        check.positive("bias", self.bias)

    def __call__(self, model: Any, auxiliary: FloatArray) -> Arrays:
        """Weights with such a head."""
        weights, others = silenced_head(model, self.target, "fishing")
        weights[-1][others] = self.bias
        return tuple(weights)


def silenced_head(model: Any, target: int, server: str) -> tuple[list[FloatArray], BoolArray]:
    """A model's weights without the head's other columns, and which classes these are, (classes,).

    Args:
        model: a Keras model that ends in a dense layer with a bias.
        target: the class that keeps its column.
        server: its name in the registry, for the messages.
    """
    weights = [np.array(each) for each in model.get_weights()]
    layers = dense_layers(tuple(weights))
    if not layers or layers[-1].bias != len(weights) - 1:
        raise InputError(f"gradient.server: {server!r} needs an architecture that ends in a dense layer with a bias.")
    classes = weights[-1].size
    if not target < classes or classes < 2:
        raise InputError(f"gradient.server: target must be one of the {classes} classes, got {target}.")
    others = np.arange(classes) != target
    weights[-2][:, others] = 0.0
    return weights, others
