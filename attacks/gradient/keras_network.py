"""Gradients of single records at many weight vectors of a Keras model, for attacks on a trace.

The same few numbers as `dense_network` gives, for every model the stacked engine reads: clipped sums by its backward
pass, inner products with a direction by forward differentiation (one pass gives all records').
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.attacks.gradient.dense_network import Floats
from dpaudit.engine.gradients import clipped_sum, per_example_norms, plain_sum
from dpaudit.engine.losses import per_example_loss
from dpaudit.engine.network import Network, Parameters
from dpaudit.runtime import check
from dpaudit.runtime.check import IntArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import tf

AT_ONCE = 1 << 24  # numbers of activations and gradients held by one program, 64 MB


@dataclass(frozen=True)
class KerasNetwork:
    """A Keras classifier with logits out; its trained weights are one flat vector, in the model's order, float32.

    Frozen weights keep the model's own values.

    >>> from dpaudit.runtime.tensorflow import keras
    >>> network = KerasNetwork.of(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]))
    >>> network.parameters, network.initial(seed=0).shape
    (15, (15,))
    """

    network: Network

    @classmethod
    def of(cls, model: Any) -> "KerasNetwork":
        """From a Keras model.

        Raises:
            InputError: a layer that the stacked engine does not read or that mixes examples; it is named.
        """
        return cls(Network.from_keras(model))

    @property
    def parameters(self) -> int:
        """Length of a flat weight vector."""
        return sum(math.prod(self.network.variables[i].shape) for i in self.network.trainable)

    def initial(self, *, seed: int) -> npt.NDArray[np.float32]:
        """Freshly initialised weights, flat, shape (parameters,)."""
        values = self.network.initial(seed=seed, models=[0])
        flat: npt.NDArray[np.float32] = np.concatenate([values[i].numpy().ravel() for i in self.network.trainable])
        return flat

    def weighted_sums(
        self, flat: Floats, features: Floats, labels: IntArray, weight: Floats, *, clip: float | None = None
    ) -> Floats:
        """Σ over records of weight · ∇, each ∇ clipped first; see `candidate_attack.GradientModel`."""
        x, y = self._records(flat, features, labels)
        parts = [
            self._sums(tf.constant(flat[rows], tf.float32), x, y, tf.constant(weight[rows], tf.float32), clip).numpy()
            for rows in self._portions(flat, len(y))
        ]
        return np.asarray(np.concatenate(parts), flat.dtype)

    def products(self, flat: Floats, features: Floats, labels: IntArray, direction: Floats) -> tuple[Floats, Floats]:
        """Inner products ⟨∇, direction⟩ and |∇|², both (stack, records); see `candidate_attack.GradientModel`."""
        x, y = self._records(flat, features, labels)
        parts = [
            self._products(tf.constant(flat[rows], tf.float32), x, y, tf.constant(direction[rows], tf.float32))
            for rows in self._portions(flat, len(y))
        ]
        inner, squared = zip(*parts, strict=True)
        return np.concatenate(inner), np.concatenate(squared)

    def _records(self, flat: Floats, features: Floats, labels: IntArray) -> tuple[Any, Any]:
        shape = self.network.input_shape
        if features.shape[1:] != shape:
            raise InputError(f"features must have shape (records, *{shape}), got {features.shape}.")
        if flat.ndim != 2 or flat.shape[1] != self.parameters:
            raise InputError(f"weights must have shape (stack, {self.parameters}), got {flat.shape}: another network?")
        classes = self.network.output_shape[-1]
        clean = check.labels("labels", labels, classes=classes, length=len(features))
        return tf.constant(features, tf.float32), tf.constant(clean, tf.int32)

    def _portions(self, flat: Floats, records: int) -> list[slice]:
        """As many weight vectors at a time as fit."""
        held = 3 * records * self._activations + 6 * self.parameters
        size = max(1, min(len(flat), AT_ONCE // held))
        return [slice(start, start + size) for start in range(0, len(flat), size)]

    @cached_property
    def _activations(self) -> int:
        parameters = self._split(tf.zeros([1, self.parameters]))
        taps = self.network.traced(parameters, tf.zeros([1, 1, *self.network.input_shape]), None, lambda _: None).taps
        return sum(int(tf.size(tap.a)) + int(tf.size(tap.z)) for tap in taps)

    def _split(self, flat: Any) -> Parameters:
        """Flat weights (stack, parameters) as the engine's parameters."""
        stack, at, values = flat.shape[0], 0, []
        for i, variable in enumerate(self.network.variables):
            if not variable.trainable:
                own = tf.convert_to_tensor(self.network.model.weights[i])
                values.append(tf.repeat(own[None], stack, axis=0))
                continue
            size = math.prod(variable.shape)
            values.append(tf.reshape(flat[:, at : at + size], [stack, *variable.shape]))
            at += size
        return tuple(values)

    @cached_property
    def _sums(self) -> Any:
        @tf.function(autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
        def program(flat: Any, x: Any, y: Any, weight: Any, clip: float | None) -> Any:
            parameters, targets = self._split(flat), _for_all(y, flat)
            if clip is None:
                sums = plain_sum(self.network, parameters, x, targets, loss=_loss, present=weight).gradients
            else:
                sums = clipped_sum(
                    self.network, parameters, x, targets, loss=_loss, clip=clip, present=weight
                ).gradients  # fmt: skip
            return tf.concat([tf.reshape(each, [flat.shape[0], -1]) for each in sums], axis=1)

        return program

    @cached_property
    def _products(self) -> Any:
        @tf.function(autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
        def program(flat: Any, x: Any, y: Any, direction: Any) -> Any:
            targets = _for_all(y, flat)
            with tf.autodiff.ForwardAccumulator(flat, direction) as forward:
                losses = _loss(self.network.forward(self._split(flat), x), targets)
            norms = per_example_norms(self.network, self._split(flat), x, targets, loss=_loss)
            return forward.jvp(losses), norms**2

        return program


def _for_all(y: Any, flat: Any) -> Any:
    return tf.repeat(y[None], flat.shape[0], axis=0)


def _loss(logits: Any, targets: Any) -> Any:
    return per_example_loss("multiclass", logits, targets)
