"""What a client of PyTorch sends, as an attacker sees it: arrays in parameter order, in the layout of Keras.

A `torch.nn.Linear` holds its weight as (outputs, inputs) and a convolution as (outputs, inputs, \\*window); the attacks
read (inputs, outputs) and (\\*window, inputs, outputs).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dpaudit.attacks.gradient.view import Arrays, BatchGradient, ClientUpdate
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.pytorch import checked_parameters, torch_module

Sent = Sequence[Any] | Mapping[str, Any]


def parameter_names(module: Any) -> tuple[str, ...]:
    """Names of a module's trainable parameters, in the order in which every array of a view stands."""
    return tuple(name for name, parameter in module.named_parameters() if parameter.requires_grad)


def torch_gradient(
    module: Any,
    gradients: Sent | None = None,
    *,
    batch_size: int | None = None,
    labels: IntArray | None = None,
    box: tuple[float, float] | None = None,
) -> BatchGradient:
    """The gradient of a batch's mean loss at a module's weights.

    Args:
        module: with the weights at which the gradient was computed.
        gradients: by parameter name, or in parameter order; None takes each parameter's ``grad``.
        batch_size: records in the batch, where the attacker knows.
        labels: their classes, where the attacker knows.
        box: smallest and largest value a feature can take.

    Raises:
        InputError: a parameter has no gradient, one of another shape, or there are too many or too few.
    """
    weights = _arrays(module, [parameter for _, parameter in _trainable(module)], "weights")
    given = [parameter.grad for _, parameter in _trainable(module)] if gradients is None else gradients
    return BatchGradient(weights, _arrays(module, given, "gradients"), batch_size, labels, box)


def torch_update(module: Any, after: Sent, **known: Any) -> ClientUpdate:
    """What a federated client sends back, from the weights it had after its local training.

    Args:
        module: with the weights that the client was given.
        after: its weights afterwards, by parameter name (a ``state_dict``) or in parameter order.
        known: what the attacker knows, as `ClientUpdate` names it: ``learning_rate``, ``epochs`` and so on.

    Raises:
        InputError: as `torch_gradient`.
    """
    before = _arrays(module, [parameter for _, parameter in _trainable(module)], "weights")
    trained = _arrays(module, after, "weights afterwards")
    return ClientUpdate(before, tuple(new - old for new, old in zip(trained, before, strict=True)), **known)


def _trainable(module: Any) -> list[tuple[str, Any]]:
    checked_parameters(module, name=f"the module {type(module).__name__}")
    return [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]


def _arrays(module: Any, given: Sent, what: str) -> Arrays:
    """In parameter order and in the layout of Keras."""
    parameters = _trainable(module)
    if isinstance(given, Mapping):
        missing = [name for name, _ in parameters if name not in given]
        if missing:
            raise InputError(f"{what} hold no parameter {missing[0]!r}.")
        values = [given[name] for name, _ in parameters]
    else:
        values = list(given)
    if len(values) != len(parameters):
        raise InputError(f"{what} must hold {len(parameters)} arrays, one for each parameter, got {len(values)}.")
    turned = _turned(module)
    found = []
    for (name, parameter), value in zip(parameters, values, strict=True):
        if value is None:
            raise InputError(f"parameter {name!r} has no gradient: call backward() first, or freeze it.")
        array = np.asarray(_dense(value) if hasattr(value, "detach") else value, np.float64)
        if array.shape != tuple(parameter.shape):
            raise InputError(
                f"{what}: {name!r} must have shape {tuple(parameter.shape)}, got {array.shape}: another module?"
            )
        found.append(_as_keras(array) if name in turned else array)
    return tuple(found)


def _dense(tensor: Any) -> Any:
    """As NumPy; the gradient of an embedding may be sparse."""
    return (tensor.to_dense() if tensor.is_sparse else tensor).detach().cpu().numpy()


def _turned(module: Any) -> set[str]:
    """Names of the weights whose first two axes are outputs and inputs."""
    nn = torch_module("torch.nn")
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return {
        f"{where}.weight" if where else "weight" for where, part in module.named_modules() if isinstance(part, kinds)
    }


def _as_keras(array: FloatArray) -> FloatArray:
    """(outputs, inputs, \\*window) -> (\\*window, inputs, outputs)."""
    return np.ascontiguousarray(np.moveaxis(array, (1, 0), (-2, -1)))
