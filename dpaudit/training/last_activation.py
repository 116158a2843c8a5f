"""The softmax or sigmoid that ends a Keras model, found through inner models and taken off where that can be proved.

Works on the models of Keras 2 and of Keras 3.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.special import expit, softmax

from dpaudit.runtime.check import FloatArray

# What passes probabilities on as they are, in another shape at most.
_PASSES = frozenset(
    ("ActivityRegularization", "AlphaDropout", "Dropout", "Flatten", "Identity", "InputLayer", "Reshape")
)
_INVERSE: dict[str, Callable[[FloatArray], FloatArray]] = {"softmax": lambda x: softmax(x, axis=-1), "sigmoid": expit}


def ending(model: Any) -> tuple[Any, str] | None:
    """The layer or operation that makes the outputs, and its activation: ``softmax``, ``sigmoid`` or ``linear``.

    None where the outputs come from something else.
    """
    for layer in _backwards(model):
        kind = type(layer).__name__
        if kind in ("Sequential", "Functional", "Model"):
            return ending(layer)
        if kind in ("Softmax", "Sigmoid"):
            return layer, kind.lower()
        if kind in _PASSES:
            continue
        name = getattr(getattr(layer, "activation", None), "__name__", None)
        if kind == "Activation" and name == "linear":
            continue
        return (layer, name) if name in ("softmax", "sigmoid", "linear") else None
    return None


def without_ending(model: Any, records: Any, forward: Callable[[Any], FloatArray]) -> bool:
    """Take the last softmax or sigmoid off, in place, and say whether the outputs are logits now.

    Proved on ``records``: the activation of the new outputs must be the old outputs. Otherwise it is put back.

    Args:
        model: changed in place.
        records: as ``forward`` takes them.
        forward: from records to outputs, by the model as it is at that moment.
    """
    found = ending(model)
    if found is None or found[1] == "linear":
        return False
    before = forward(records)
    put_back = take_off(model)
    after = forward(records)
    tolerance = 2e-3 if after.dtype == np.float16 else 1e-4
    if before.ndim == 2 and np.allclose(_INVERSE[found[1]](after.astype(np.float64)), before, atol=tolerance):
        return True
    put_back()
    return False


def take_off(model: Any) -> Callable[[], None]:
    """Take the last activation off, in place; what is returned puts it back."""
    found = ending(model)
    assert found is not None
    layer, _ = found
    if hasattr(layer, "activation"):
        activation = layer.activation
        layer.activation = _unchanged

        def put_back() -> None:
            layer.activation = activation

        return put_back
    call = layer.call
    layer.call = _unchanged

    def call_back() -> None:
        layer.call = call

    return call_back


def _unchanged(inputs: Any, *rest: object, **named: object) -> Any:
    return inputs


def _backwards(model: Any) -> Iterator[Any]:
    """Layers and operations from the output on, as long as each has one input."""
    if type(model).__name__ == "Sequential":
        yield from reversed(model.layers)
        return
    if not getattr(model, "outputs", None):  # a subclass of Model has no graph
        return
    tensor = model.outputs[0]
    while True:
        layer = tensor._keras_history[0]
        yield layer
        if type(layer).__name__ == "InputLayer":
            return
        tensor = layer.input
        if not hasattr(tensor, "_keras_history"):
            return
