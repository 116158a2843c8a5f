"""The gradients that many victims' batches would give, as one TensorFlow program that differentiates once more."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dpaudit.attacks.gradient.dense_objective import ByLayer
from dpaudit.attacks.gradient.differentiable import in_double, refuse_single_derivatives
from dpaudit.attacks.gradient.losses import SoftLabelLoss, cross_entropy
from dpaudit.attacks.gradient.tape_objective import ByTape
from dpaudit.attacks.gradient.view import Arrays
from dpaudit.engine.network import Parameters
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import tf


@dataclass(frozen=True)
class Victims:
    """A Keras model in double precision, with the gradients of many batches at once.

    Victims (or restarts) lie along a leading axis. Models whose layers the stacked engine reads run stacked
    (`by_layer`); every other model that differentiates twice runs victim by victim (`by_tape`).

    >>> import numpy as np
    >>> from dpaudit.runtime.tensorflow import keras
    >>> victims = Victims.of(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]))
    >>> parameters = victims.at(victims.weights)
    >>> [g.shape.as_list() for g in victims.gradients(parameters, np.ones((5, 2, 4)), np.ones((5, 2, 3)) / 3)]
    [[5, 4, 3], [5, 3]]
    """

    program: ByLayer | ByTape

    @classmethod
    def of(cls, model: Any, *, loss: SoftLabelLoss = cross_entropy) -> "Victims":
        """From a Keras model whose last layer gives logits.

        Raises:
            InputError: the model does not differentiate twice, or cannot be run with weights of a view; the layer is
                named.
        """
        double = in_double(model)
        refuse_single_derivatives(double)
        try:
            return cls(ByLayer.of(double, loss))
        except InputError:  # the engine does not read a layer
            return cls(ByTape.of(double, loss))

    @property
    def model(self) -> Any:
        """The Keras model in double precision."""
        return self.program.model

    @property
    def weights(self) -> Arrays:
        """The model's own weights."""
        return tuple(self.model.get_weights())

    def at(self, weights: Arrays) -> Parameters:
        """Weights of a view as parameters that all victims share.

        Raises:
            InputError: they are of another model.
        """
        shapes = [tuple(variable.shape) for variable in self.model.weights]
        if [w.shape for w in weights] != shapes:
            raise InputError(f"the view's weights have shapes {[w.shape for w in weights]}, the model's {shapes}.")
        return tuple(tf.constant(w[None], tf.float64) for w in weights)

    @property
    def runs_keras(self) -> bool:
        """Whether the model's own Keras code runs, which may need AutoGraph; ours does not, and tracing is slower."""
        return isinstance(self.program, ByTape)

    @property
    def record_shape(self) -> tuple[int, ...]:
        """Shape of one record."""
        return tuple(self.model.input_shape[1:])

    @property
    def classes(self) -> int:
        """Number of logits."""
        return int(self.model.output_shape[-1])

    def logits(self, parameters: Parameters, x: Any) -> Any:
        """Logits (victims, records, classes) of records (victims or 1, records, ...)."""
        return self.program.logits(parameters, tf.convert_to_tensor(x, tf.float64))

    def gradients(self, parameters: Parameters, x: Any, targets: Any, *, clip: float | None = None) -> list[Any]:
        """Gradient of each victim's mean loss, one (victims, ...) tensor per weight array; 0 where none is trained.

        Args:
            parameters: weights with a leading axis of 1 (shared) or one per victim.
            x: records, float64, shape (victims, records, ...).
            targets: class probabilities, shape (victims, records, classes).
            clip: norm each record's gradient is clipped to before the mean; None does not clip.
        """
        x, targets = tf.convert_to_tensor(x, tf.float64), tf.convert_to_tensor(targets, tf.float64)
        return self.program.gradients(parameters, x, targets, clip)

    def updates(self, parameters: Parameters, batches: Sequence[tuple[Any, Any]], learning_rate: Any) -> list[Any]:
        """Change of each victim's weights under plain SGD through some batches in order, one tensor per weight array.

        Args:
            parameters: weights the clients were given, with a leading axis of 1.
            batches: (records, targets) of each local step, as for `gradients`.
            learning_rate: of the clients.
        """
        local = parameters
        for x, targets in batches:
            slopes = self.gradients(local, x, targets)
            local = tuple(p - learning_rate * g for p, g in zip(local, slopes, strict=True))
        return [after - before for after, before in zip(local, parameters, strict=True)]
