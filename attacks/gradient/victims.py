"""The gradients that many victims' batches would give, as one TensorFlow program that differentiates once more.

Victims (or restarts) lie along a leading axis. While they share the model's weights the forward pass is one pass of the
stacked engine over all their records, and each victim's gradient follows from its layers' inputs and output gradients;
after a local step the weights differ and run stacked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dpaudit._tensorflow import keras, tf
from dpaudit.attacks.gradient.view import Arrays
from dpaudit.errors import InputError
from dpaudit.stacked.network import Network, Parameters
from dpaudit.stacked.reading import Node
from dpaudit.stacked.windows import Window

# Logits (victims, records, classes) and class probabilities of the same shape -> loss (victims, records).
Loss = Callable[[Any, Any], Any]


def cross_entropy(logits: Any, targets: Any) -> Any:
    """Softmax cross-entropy with soft targets."""
    return -tf.reduce_sum(targets * tf.nn.log_softmax(logits), axis=-1)


@dataclass(frozen=True)
class Victims:
    """A Keras model in double precision, with the gradients of many batches at once.

    >>> from dpaudit._tensorflow import keras
    >>> victims = Victims.of(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]))
    >>> parameters = victims.at(victims.weights)
    >>> [g.shape.as_list() for g in victims.gradients(parameters, np.ones((5, 2, 4)), np.ones((5, 2, 3)) / 3)]
    [[5, 4, 3], [5, 3]]
    """

    network: Network
    loss: Loss

    @classmethod
    def of(cls, model: Any, *, loss: Loss = cross_entropy) -> "Victims":
        """From a Keras model whose last layer gives logits.

        Raises:
            InputError: a layer does not differentiate twice, or is not supported; it is named.
        """
        refuse_single_derivatives(model)
        network = Network.from_keras(in_double(model))
        return cls(replace(network, nodes=tuple(_with_library_patches(node) for node in network.nodes)), loss)

    @property
    def weights(self) -> Arrays:
        """The model's own weights."""
        return tuple(self.network.model.get_weights())

    def at(self, weights: Arrays) -> Parameters:
        """Weights of a view as parameters that all victims share.

        Raises:
            InputError: they are of another model.
        """
        shapes = [variable.shape for variable in self.network.variables]
        if [w.shape for w in weights] != shapes:
            raise InputError(f"the view's weights have shapes {[w.shape for w in weights]}, the model's {shapes}.")
        return tuple(tf.constant(w[None], tf.float64) for w in weights)

    @property
    def record_shape(self) -> tuple[int, ...]:
        """Shape of one record."""
        return self.network.input_shape

    @property
    def classes(self) -> int:
        """Number of logits."""
        return self.network.output_shape[-1]

    def gradients(self, parameters: Parameters, x: Any, targets: Any, *, clip: float | None = None) -> list[Any]:
        """Gradient of each victim's mean loss, one (victims, ...) tensor per weight array.

        Args:
            parameters: weights with a leading axis of 1 (shared) or one per victim.
            x: records, float64, shape (victims, records, ...).
            targets: class probabilities, shape (victims, records, classes).
            clip: norm each record's gradient is clipped to before the mean; None does not clip.
        """
        x, targets = tf.convert_to_tensor(x, tf.float64), tf.convert_to_tensor(targets, tf.float64)
        victims, records = x.shape[0], x.shape[1]
        shared = parameters[0].shape[0] == 1
        inputs = tf.reshape(x, [1, victims * records, *x.shape[2:]]) if shared else x
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            logits, taps = self.network.traced(parameters, inputs, None, tape.watch)
            total = tf.reduce_sum(self.loss(tf.reshape(logits, targets.shape), targets))
        slopes = tape.gradient(total, [tap.z for tap in taps], unconnected_gradients=tf.UnconnectedGradients.ZERO)
        layers = []
        for tap, slope in zip(taps, slopes, strict=True):
            weighted = tap.node.weighted
            assert weighted is not None  # only weighted layers are tapped
            a = tf.reshape(tap.a, [victims, records, *tap.a.shape[2:]])
            d = tf.reshape(slope, [victims, records, *slope.shape[2:]])
            layers.append((tap.node.variables, weighted.contribution(a, d)))
        share = tf.fill([victims, records], tf.constant(1 / records, tf.float64))
        if clip is not None:
            norms = tf.sqrt(tf.maximum(tf.add_n([layer.squared_norms for _, layer in layers]), 1e-300))
            share *= clip / tf.maximum(norms, clip)
        found: dict[int, Any] = {}
        for variables, layer in layers:
            found.update(zip(variables, layer.weighted_sum(share), strict=True))
        return [
            found[i] if i in found else tf.zeros([victims, *variable.shape], tf.float64)
            for i, variable in enumerate(self.network.variables)
        ]

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


@dataclass(frozen=True)
class LibraryWindow(Window):
    """TensorFlow's own patch extraction: slices suit compiled programs, and compiling outlasts an attack."""

    def patches(self, x: Any) -> Any:
        """Every window's values, (models, examples, rows, columns, size * channels)."""
        merged = tf.reshape(x, [-1, *x.shape[2:]])
        patches = tf.image.extract_patches(
            merged, [1, *self.size, 1], [1, *self.strides, 1], [1, *self.dilation, 1], self.padding.upper()
        )
        return tf.reshape(patches, [x.shape[0], -1, *patches.shape[1:]])

    @property
    def _in_blocks(self) -> bool:
        return False


def _with_library_patches(node: Node) -> Node:
    window = getattr(node.weighted, "window", None)
    if not isinstance(window, Window):
        return node
    library = LibraryWindow(window.size, window.strides, window.padding, window.dilation)
    return replace(node, weighted=replace(node.weighted, window=library))  # type: ignore[type-var]  # a frozen dataclass


def in_double(model: Any) -> Any:
    """A copy of a Keras model with every layer in float64 and the same weights."""
    if not model.built:
        raise InputError("the model has no input shape yet; start it with keras.Input(shape).")

    def doubled(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: "float64" if k == "dtype" and isinstance(v, str) else doubled(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(doubled(item) for item in value)
        return value

    copy = type(model).from_config(doubled(model.get_config()))
    if not copy.built:
        copy.build(model.input_shape)
    copy.set_weights([np.asarray(w, np.float64) for w in model.get_weights()])
    return copy


def refuse_single_derivatives(model: Any) -> None:
    """Raise for the first layer that does not differentiate twice, by name."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer) or isinstance(layer.input_shape, list):
            continue
        shape = [2, *(1 if size is None else size for size in layer.input_shape[1:])]
        x = tf.random.stateless_uniform(shape, [0, 0], dtype=layer.compute_dtype)
        try:
            with tf.GradientTape() as outer:
                outer.watch(x)
                with tf.GradientTape() as inner:
                    inner.watch(x)
                    y = tf.reduce_sum(tf.sin(layer(x)))
                slope = inner.gradient(y, x)
                if slope is not None:
                    slope = tf.reduce_sum(slope**2)
            second = None if slope is None else outer.gradient(slope, x)
        except LookupError as error:
            raise InputError(
                f"layer {layer.name!r} ({type(layer).__name__}) does not differentiate twice, so no attack can match "
                f"its gradients: {error}."
            ) from error
        if slope is not None and second is None:
            raise InputError(
                f"layer {layer.name!r} ({type(layer).__name__}) does not differentiate twice, so no attack can match "
                "its gradients."
            )
