"""Keras models in double precision, and what of them does not differentiate twice."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import keras, tf

TRIES, STEP = 3, 1e-5  # of finite differences, in units of the box


def in_double(model: Any, *, twice: bool = True) -> Any:
    """A copy of a Keras model with every layer in float64 and the same weights.

    Args:
        model: a Keras model.
        twice: whether layers that do not differentiate twice are replaced by those that do.

    Raises:
        InputError: the model has no input shape yet, no configuration to copy it from, or fails in double precision.
    """
    if not model.built:
        raise InputError("the model has no input shape yet; start it with keras.Input(shape).")
    if not getattr(model, "_is_graph_network", False):
        raise InputError(
            f"gradient attacks take Sequential and Functional models, got {type(model).__name__}; wrap it: "
            "keras.Model(inputs, model(inputs))."
        )

    if not isinstance(model.input_shape, tuple) or not isinstance(model.output_shape, tuple):
        raise InputError("gradient attacks take models with one input and one output.")
    if any(size is None for size in model.input_shape[1:]):
        raise InputError(f"gradient attacks need a fixed input shape, got {model.input_shape[1:]}.")
    own = {type(layer).__name__: type(layer) for layer in model._flatten_layers()}
    try:
        with keras.utils.custom_object_scope(own):
            copy = _doubled_model(model)
    except (NotImplementedError, TypeError, ValueError) as error:
        _refuse_layers(model)  # what does not run in float64 often has no second derivative either
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"the model {model.name!r} cannot be copied to double precision: {reason}") from error
    weights = model.get_weights()
    shapes, copied = [w.shape for w in weights], [tuple(w.shape) for w in copy.weights]
    if shapes != copied:
        raise InputError(
            f"a copy of the model {model.name!r} from its configuration has weights of shapes {copied}, not {shapes}: "
            "a layer of its own builds its weights twice (end build with super().build) or lacks get_config."
        )
    copy.set_weights([np.asarray(w, np.float64) for w in weights])
    for layer in copy._flatten_layers():
        if layer.compute_dtype != "float64" and not getattr(layer, "_is_graph_network", False):
            raise InputError(
                f"layer {layer.name!r} ({type(layer).__name__}) stays in {layer.compute_dtype}: it must take dtype "
                "from its configuration, as def __init__(self, **kwargs): super().__init__(**kwargs) does."
            )
        if twice and type(layer) is keras.layers.LayerNormalization:
            layer.__class__ = TwiceLayerNormalization
    return copy


def _doubled_model(model: Any) -> Any:
    inputs = [keras.Input(batch_shape=each.shape, dtype="float64") for each in model.inputs]
    return keras.models.clone_model(model, input_tensors=inputs, clone_function=_doubled_layer)


def _doubled_layer(layer: Any) -> Any:
    if getattr(layer, "_is_graph_network", False):
        return _doubled_model(layer)
    if type(layer) is keras.layers.Lambda:  # a function has no configuration
        return keras.layers.Lambda(layer.function, arguments=layer.arguments, name=layer.name, dtype="float64")
    return type(layer).from_config(_doubled(layer.get_config()))


def _doubled(config: Any) -> Any:
    if isinstance(config, dict):
        return {k: "float64" if k == "dtype" and v is not None else _doubled(v) for k, v in config.items()}
    if isinstance(config, tuple):
        return tuple(_doubled(item) for item in config)
    return [_doubled(item) for item in config] if isinstance(config, list) else config


class TwiceLayerNormalization(keras.layers.LayerNormalization):  # type: ignore[misc]  # Keras has no types
    """Keras' own stops the gradient at the mean inside the variance: right once, wrong twice."""

    def call(self, inputs: Any) -> Any:
        """Normalised over the layer's axes, scaled and shifted."""
        centred = inputs - tf.reduce_mean(inputs, self.axis, keepdims=True)
        variance = tf.reduce_mean(centred**2, self.axis, keepdims=True)
        normal = centred / tf.sqrt(variance + self.epsilon)
        shape = [size if axis in self.axis else 1 for axis, size in enumerate(inputs.shape)]
        if self.scale:
            normal *= tf.reshape(self.gamma, shape)
        return normal + tf.reshape(self.beta, shape) if self.center else normal


def refuse_single_derivatives(model: Any) -> None:
    """Raise for a float64 model without a right second derivative with respect to its records; the layer is named.

    Raises:
        InputError: a layer has no second derivative or a wrong one, or the records enter as whole numbers.
    """
    _refuse_layers(model)
    shape = [2, *model.input_shape[1:]]

    def loss(x: Any) -> Any:
        return tf.reduce_sum(tf.nn.log_softmax(model(x, training=False))[:, 0])

    x = _point(shape, 0, "float64")
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(x)
    if tape.gradient(value, x) is None:
        kinds = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Embedding)]
        where = f"layer {kinds[0].name!r} (Embedding) looks them up" if kinds else "some layer rounds or cuts them"
        raise InputError(
            f"the model does not differentiate with respect to its records: {where}; attack what comes after it."
        )
    flaw = _flaw(loss, shape)
    if flaw is not None:
        raise InputError(f"the model does not differentiate twice, so no attack can match its gradients{flaw}.")


def _refuse_layers(model: Any) -> None:
    for layer, shape in _single_inputs(model):
        flaw = _flaw(lambda x, layer=layer: tf.reduce_sum(tf.sin(layer(x))), shape, layer.compute_dtype)
        if flaw is not None:
            raise InputError(
                f"layer {layer.name!r} ({type(layer).__name__}) does not differentiate twice, so no attack can match "
                f"its gradients{flaw}."
            )


def _flaw(value: Any, shape: list[int], dtype: str = "float64") -> str | None:
    """What is wrong with the second derivative, "" when TensorFlow does not say; None when it is right.

    Some operations have one that is silently wrong (`tf.nn.moments`), so it is compared with finite differences. A
    kink can come between the two points of a difference, hence three tries.
    """

    weights = _point(shape, 2 * TRIES, dtype)  # not alike, so that errors do not cancel

    def slope(x: Any) -> Any:
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = value(x)
        found = inner.gradient(y, x)
        return None if found is None else tf.reduce_sum(weights * found)

    for attempt in range(TRIES):
        x = _point(shape, attempt, dtype)
        step = STEP * tf.math.l2_normalize(_point(shape, TRIES + attempt, dtype) - 0.5)
        try:
            with tf.GradientTape() as outer:
                outer.watch(x)
                first = slope(x)
            if first is None:  # rounds or looks up: nothing flows through it at all
                return None
            second = outer.gradient(first, x)
        except LookupError as error:
            return f": {error}"
        if second is None:
            return ""
        if dtype != "float64":  # differences would be rounding
            return None
        analytic = float(tf.reduce_sum(second * step))
        numeric = float(slope(x + step) - slope(x - step)) / 2
        if abs(analytic - numeric) <= 1e-3 * max(abs(analytic), abs(numeric)) + 1e-4 * STEP * abs(float(first)):
            return None
    return ": its second derivative is not that of its first"


def _point(shape: list[int], seed: int, dtype: str) -> Any:
    return tf.random.stateless_uniform(shape, [seed, 0], dtype=dtype)


def _single_inputs(model: Any) -> Iterator[tuple[Any, list[int]]]:
    """Layers that are called with one tensor and nothing else, and a shape they take."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer) or not isinstance(getattr(layer, "input_shape", None), tuple):
            continue
        calls = [node for node in layer.inbound_nodes if node.call_args]
        if all(len(node.call_args) == 1 and not set(node.call_kwargs) - {"training", "mask"} for node in calls):
            yield layer, [2, *(1 if size is None else size for size in layer.input_shape[1:])]
