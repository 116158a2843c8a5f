"""Initial weights of many copies, each by the layers' own initialisers and from (seed, model) alone."""

from collections.abc import Callable
from typing import Any

from dpaudit.engine.keys import generator
from dpaudit.runtime.tensorflow import tf

Draw = Callable[[tuple[int, ...], int, int, int], Any]


def initializers(model: Any) -> list[Draw]:
    """For each variable: (shape, seed, model, position) -> its initial value under the layer's own initialiser."""
    by_variable: dict[int, Draw] = {}
    for layer in model._flatten_layers(include_self=False, recursive=True):
        for variable, name in _initialised_by(layer):
            by_variable[id(variable)] = _draw(getattr(layer, name))
        if getattr(layer, "unit_forget_bias", False) and getattr(layer, "bias", None) is not None:
            by_variable[id(layer.bias)] = _remembering(by_variable[id(layer.bias)])
    return [by_variable[id(variable)] for variable in model.weights]


def _initialised_by(layer: Any) -> list[tuple[Any, str]]:
    names = {
        "kernel": "kernel_initializer",
        "depthwise_kernel": "depthwise_initializer",
        "bias": "bias_initializer",
        "embeddings": "embeddings_initializer",
        "pointwise_kernel": "pointwise_initializer",
        "recurrent_kernel": "recurrent_initializer",
        "gamma": "gamma_initializer",
        "beta": "beta_initializer",
        "moving_mean": "moving_mean_initializer",
        "moving_variance": "moving_variance_initializer",
        "position_embeddings": "initializer",
    }
    pairs = [(getattr(layer, variable, None), name) for variable, name in names.items()]
    return [(variable, name) for variable, name in pairs if variable is not None and hasattr(layer, name)]


def _remembering(bias: Draw) -> Draw:
    """The bias of an LSTM, with ones for the forget gate, which is the second of four."""

    def draw(shape: tuple[int, ...], seed: int, model: int, position: int) -> Any:
        entry, forget, *rest = tf.split(bias(shape, seed, model, position), 4)
        return tf.concat([entry, tf.ones_like(forget), *rest], axis=0)

    return draw


def _draw(initializer: Any) -> Draw:
    def draw(shape: tuple[int, ...], seed: int, model: int, position: int) -> Any:
        config = initializer.get_config()
        if "seed" in config:
            config["seed"] = int(generator(seed, model, "initial", position).integers(2**31 - 1))
        return initializer.from_config(config)(shape)

    return draw
