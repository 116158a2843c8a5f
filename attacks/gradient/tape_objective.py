"""Gradients of any Keras model with its weights as tensors, so that they differentiate once more.

Slower than `by_layer`, one victim after another, and open to every layer that differentiates twice: recurrent layers,
attention, normalisation, layers used twice or called with more than one input, layers of one's own. Keras 2 has no
call that takes weights, so the layers' attributes are lent to tensors for the time of a call and given back.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dpaudit.attacks.gradient.losses import SoftLabelLoss
from dpaudit.engine.network import Parameters
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import keras, tf

Places = tuple[tuple[Any, str], ...]  # layers and the attributes of them that hold one variable


@dataclass(frozen=True)
class ByTape:
    """A Keras model in double precision; see `Victims` for what the methods give.

    It is called as at inference: dropout is off, and batch normalisation uses its moving averages.
    """

    model: Any
    loss: SoftLabelLoss
    places: tuple[Places, ...]

    @classmethod
    def of(cls, model: Any, loss: SoftLabelLoss) -> "ByTape":
        """From a float64 Keras model.

        Raises:
            InputError: a layer has a regulariser, or a weight that is none of its attributes; it is named.
        """
        for layer in model._flatten_layers():
            if layer is not model and layer._losses + layer._callable_losses:
                raise InputError(
                    f"layer {layer.name!r} has a regulariser, whose slope is no record's: subtract it from what was "
                    "sent, and attack a model without it."
                )
        return cls(model, loss, tuple(_places(model, variable) for variable in model.weights))

    def logits(self, parameters: Parameters, x: Any) -> Any:
        """Logits (victims, records, classes)."""
        stack = max(parameters[0].shape[0], x.shape[0])
        return tf.stack([self._logits(_of_victim(parameters, v), x[min(v, x.shape[0] - 1)]) for v in range(stack)])

    def gradients(self, parameters: Parameters, x: Any, targets: Any, clip: float | None) -> list[Any]:
        """Gradients of the victims' mean losses."""
        victims = [
            self._victim(_of_victim(parameters, v), x[v], targets[v], clip)
            for v in range(x.shape[0])
        ]  # fmt: skip
        return [tf.stack(column) for column in zip(*victims, strict=True)]

    def _victim(self, weights: Sequence[Any], x: Any, targets: Any, clip: float | None) -> list[Any]:
        if clip is None:
            return self._slopes(weights, x, targets)
        records = x.shape[0]
        each = [self._slopes(weights, x[r : r + 1], targets[r : r + 1]) for r in range(records)]
        total = [tf.zeros_like(weight) for weight in weights]
        for slopes in each:
            norm = tf.sqrt(tf.maximum(tf.add_n([tf.reduce_sum(s**2) for s in slopes]), 1e-300))
            share = clip / tf.maximum(norm, clip) / records
            total = [t + share * s for t, s in zip(total, slopes, strict=True)]
        return total

    def _slopes(self, weights: Sequence[Any], x: Any, targets: Any) -> list[Any]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for weight in weights:
                tape.watch(weight)
            mean = tf.reduce_mean(self.loss(self._logits(weights, x), targets))
        slopes = tape.gradient(mean, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        trained = {id(variable) for variable in self.model.trainable_weights}
        return [
            slope if id(variable) in trained else tf.zeros_like(slope)
            for slope, variable in zip(slopes, self.model.weights, strict=True)
        ]

    def _logits(self, weights: Sequence[Any], x: Any) -> Any:
        with self._lent(weights):
            return self.model(x, training=False)

    @contextmanager
    def _lent(self, weights: Sequence[Any]) -> Iterator[None]:
        variables = self.model.weights
        try:
            for places, weight in zip(self.places, weights, strict=True):
                for layer, name in places:
                    object.__setattr__(layer, name, weight)
            yield
        finally:
            for places, variable in zip(self.places, variables, strict=True):
                for layer, name in places:
                    object.__setattr__(layer, name, variable)


def _of_victim(parameters: Parameters, victim: int) -> list[Any]:
    return [p[min(victim, p.shape[0] - 1)] for p in parameters]


def _places(model: Any, variable: Any) -> Places:
    layers = list(model._flatten_layers())
    found = tuple((layer, name) for layer in layers for name, value in vars(layer).items() if value is variable)
    if not found:
        owner = next((layer for layer in layers if any(variable is w for w in _own(layer))), model)
        raise InputError(
            f"layer {owner.name!r} ({type(owner).__name__}) does not hold its weight {variable.name!r} as an "
            "attribute, so it cannot be run with other weights: assign it in build, as self.kernel = "
            "self.add_weight(...)."
        )
    return found


def _own(layer: Any) -> list[Any]:
    return [] if isinstance(layer, keras.Model) else layer.weights
