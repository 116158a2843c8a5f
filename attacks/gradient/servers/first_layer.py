"""The first layer of a model, where servers plant what reads the records themselves."""

from typing import Any

from dpaudit.runtime.errors import InputError


def require_relu_first(model: Any, server: str) -> None:
    """Refuse a model that does not start with a dense layer with a bias and a ReLU.

    Args:
        model: a Keras model.
        server: its name in the registry, for the message.
    """
    weighted = [number for number, layer in enumerate(model.layers) if layer.weights]
    first = model.layers[weighted[0]]
    after = model.layers[weighted[0] + 1 :][:1]
    kinds = [getattr(getattr(layer, "activation", None), "__name__", type(layer).__name__) for layer in (first, *after)]
    dense = type(first).__name__ == "Dense" and first.use_bias
    if not dense or not (kinds[0] == "relu" or (kinds[0] == "linear" and kinds[1:] in (["relu"], ["ReLU"]))):
        raise InputError(
            f"gradient.server: {server!r} needs an architecture that starts with a dense layer with a bias and a ReLU, "
            f"such as kind = 'mlp'; this one starts with {type(first).__name__} ({kinds[0]})."
        )
