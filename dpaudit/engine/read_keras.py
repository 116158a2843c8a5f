"""A Keras model read into nodes, and what the stacked engine cannot run refused by name."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from dpaudit.engine.attention import append_attention
from dpaudit.engine.conv_layers import separated
from dpaudit.engine.conv_windows import Window
from dpaudit.engine.layers import READERS, BatchNormalization, WeightedLayer
from dpaudit.engine.recurrent_layers import Recurrent
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import keras

# Keras layers without weights that treat every example by itself: applied as they are.
PER_EXAMPLE = frozenset(
    (
        "Activation",
        "Add",
        "Average",
        "AveragePooling1D",
        "AveragePooling2D",
        "Concatenate",
        "Cropping2D",
        "ELU",
        "Flatten",
        "GlobalAveragePooling1D",
        "GlobalAveragePooling2D",
        "GlobalMaxPooling1D",
        "GlobalMaxPooling2D",
        "LeakyReLU",
        "MaxPooling1D",
        "MaxPooling2D",
        "Maximum",
        "Minimum",
        "Multiply",
        "Permute",
        "ReLU",
        "Rescaling",
        "Reshape",
        "Softmax",
        "Subtract",
        "ThresholdedReLU",
        "UpSampling2D",
        "ZeroPadding2D",
    )
)
REGULARIZED = (
    "kernel", "depthwise", "pointwise", "recurrent", "bias", "embeddings", "gamma", "beta",
)  # fmt: skip


@dataclass(frozen=True)
class Variable:
    """A weight of the Keras model.

    Args:
        name: Keras' own.
        shape: without the model axis.
        trainable: whether it has a gradient.
        moves: whether it is a running average, which changes with every batch of a training without one.
    """

    name: str
    shape: tuple[int, ...]
    trainable: bool
    moves: bool = False

    @property
    def is_own(self) -> bool:
        """Whether training changes it, so that every copy has its own."""
        return self.trainable or self.moves


@dataclass(frozen=True)
class Node:
    """One layer of the graph: which earlier nodes it reads and which variables it owns."""

    name: str
    inputs: tuple[int, ...]
    variables: tuple[int, ...]
    weighted: WeightedLayer | None
    trainable: bool
    plain: Any  # the Keras layer or activation applied after it, None for the identity
    dropout: float
    pooling: Window | None


class Graph(NamedTuple):
    """A model: its layers in the order they run, its variables in the order of ``model.weights``, its shapes."""

    nodes: tuple[Node, ...]
    variables: tuple[Variable, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


def read(model: Any, *, mixes_examples: bool) -> Graph:
    """Read a Sequential or acyclic Functional model with one input and one output; see `Network.from_keras`."""
    if not hasattr(model, "get_config") or type(model).__name__ not in ("Sequential", "Functional", "Model"):
        raise InputError(
            f"the stacked engine reads Sequential and Functional Keras models, got {type(model).__name__}."
        )
    if not model.built:
        raise InputError("the model has no input shape yet; start it with keras.Input(shape).")
    if not isinstance(model.input_shape, tuple) or not isinstance(model.output_shape, tuple):
        raise InputError("the stacked engine takes models with one input and one output.")
    if any(size is None for size in model.input_shape[1:]):
        raise InputError(f"the stacked engine needs a fixed input shape, got {model.input_shape[1:]}.")
    position = {id(variable): i for i, variable in enumerate(model.weights)}
    nodes: list[Node] = []
    output = _append(model, 0, nodes, position)
    if output != len(nodes):
        raise InputError("the model's output must be its last layer.")
    mixing = [node for node in nodes if isinstance(node.weighted, BatchNormalization) and node.weighted.moves]
    if mixing and not mixes_examples:
        raise InputError(
            f"layer {mixing[0].name!r} (BatchNormalization) mixes the examples of a batch, so an example has no "
            "gradient of its own to clip, and it keeps averages of the data that no noise covers; use "
            "GroupNormalization or LayerNormalization, freeze the layer, or train without DP by the trainer 'sgd'."
        )
    moving = {i for node in mixing for i in node.variables[-2:]}
    trained = {id(variable) for variable in model.trainable_weights}
    variables = tuple(
        Variable(variable.name, tuple(variable.shape), id(variable) in trained, i in moving)
        for i, variable in enumerate(model.weights)
    )
    if not any(variable.trainable for variable in variables):
        raise InputError("the model has no trainable weights; there is nothing to train.")
    return Graph(tuple(nodes), variables, tuple(model.input_shape[1:]), tuple(model.output_shape[1:]))


def _append(model: Any, source: int, nodes: list[Node], position: dict[int, int]) -> int:
    """Append a model's layers, reading from value ``source``; return the value that is its output."""
    config = model.get_config()
    if type(model).__name__ == "Sequential":
        value = source
        for layer in model.layers:
            value = _append_layer(layer, (value,), nodes, position)
        return value
    value_of: dict[str, int] = {}
    for entry in config["layers"]:
        layer, name = model.get_layer(entry["name"]), entry["name"]
        if entry["class_name"] == "InputLayer":
            value_of[name] = source
            continue
        if len(entry["inbound_nodes"]) != 1:
            raise InputError(f"layer {name!r} is used {len(entry['inbound_nodes'])} times; {_ELSEWHERE}")
        inbound = entry["inbound_nodes"][0]
        if entry["class_name"] == "MultiHeadAttention":
            append = partial(_append_node, nodes, position)
            value_of[name] = append_attention(layer, inbound[0], value_of, append)
            continue
        if any(len(call) > 3 and call[3] for call in inbound) or not all(isinstance(call, list) for call in inbound):
            raise InputError(f"layer {name!r} is called with extra arguments; {_ELSEWHERE}")
        value_of[name] = _append_layer(layer, tuple(value_of[call[0]] for call in inbound), nodes, position)
    (output,) = config["output_layers"] if isinstance(config["output_layers"][0], list) else [config["output_layers"]]
    return value_of[output[0]]


_ELSEWHERE = "the trainer 'tf-privacy' (with DP) or 'sgd' (without) trains any Keras model, 'function' anything else."


def _append_layer(layer: Any, inputs: tuple[int, ...], nodes: list[Node], position: dict[int, int]) -> int:
    kind = type(layer).__name__
    if kind in ("Sequential", "Functional"):
        return _append(layer, inputs[0], nodes, position)
    if kind in ("SeparableConv1D", "SeparableConv2D"):
        _require_per_example(layer)
        first, second = separated(layer)
        activation = None if layer.activation is keras.activations.linear else layer.activation
        middle = _append_node(nodes, position, _HalfLayer(layer, first[1]), inputs, first[0], None)
        return _append_node(nodes, position, _HalfLayer(layer, second[1]), (middle,), second[0], activation)
    weighted, plain, rate, pooling = None, None, 0.0, None
    if kind in READERS:
        weighted = READERS[kind](layer)
        activation = None if isinstance(weighted, Recurrent) else getattr(layer, "activation", None)
        plain = None if activation is keras.activations.linear else activation
    elif kind == "Dropout":
        if layer.noise_shape is not None:
            raise InputError(f"layer {layer.name!r} has a noise_shape, which the stacked engine does not support.")
        rate = float(layer.rate)
    elif kind == "MaxPooling2D" and layer.data_format == "channels_last":
        pooling = Window(layer.pool_size, layer.strides, layer.padding)
    elif kind in PER_EXAMPLE:
        plain = layer
    elif kind != "InputLayer":
        raise InputError(f"layer {layer.name!r} ({kind}) is not supported by the stacked engine; {_ELSEWHERE}")
    else:
        return inputs[0]
    return _append_node(nodes, position, layer, inputs, weighted, plain, rate, pooling)


def _append_node(
    nodes: list[Node],
    position: dict[int, int],
    layer: Any,
    inputs: tuple[int, ...],
    weighted: WeightedLayer | None,
    plain: Any,
    rate: float = 0.0,
    pooling: Window | None = None,
) -> int:
    """Append one node; ``layer`` owns its variables. What has no weights may have no layer."""
    if layer is not None:
        _require_per_example(layer)
    weights = [] if layer is None else layer.weights
    variables = tuple(position[id(variable)] for variable in weights)
    trainable = bool(weights) and bool(layer.trainable_weights)
    name = "attention" if layer is None else layer.name
    nodes.append(Node(name, inputs, variables, weighted, trainable, plain, rate, pooling))
    return len(nodes)


class _HalfLayer:
    """Some variables of a Keras layer, as a layer of its own."""

    def __init__(self, layer: Any, weights: list[Any]) -> None:
        self.name, self.weights = layer.name, weights
        self.trainable_weights = weights if layer.trainable else []


def _require_per_example(layer: Any) -> None:
    """Refuse a regulariser, whose loss belongs to no example, and a constraint."""
    for name in (*(f"{weight}_regularizer" for weight in REGULARIZED), "activity_regularizer"):
        if getattr(layer, name, None) is not None:
            raise InputError(
                f"layer {layer.name!r} has a {name}: that loss is not per example; use the trainer's weight_decay."
            )
    for name in (f"{weight}_constraint" for weight in REGULARIZED):
        if getattr(layer, name, None) is not None:
            raise InputError(
                f"layer {layer.name!r} has a {name}, which the stacked engine does not apply; {_ELSEWHERE}"
            )
