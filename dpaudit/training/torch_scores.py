"""What an attacker who sees a step of PyTorch learns of some records, by the per-example gradients of Opacus."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dpaudit.data.dataset import Dataset
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError, one_line
from dpaudit.runtime.pytorch import opacus_module, torch_module
from dpaudit.scores.from_outputs import phi
from dpaudit.training.torch_module import module_outputs
from dpaudit.training.torch_network import targets_of
from dpaudit.training.watched import StepMeasure

HELD = 2**24  # numbers of per-example gradients that are held at once


def per_example_gradients(module: Any, criterion: Any, records: Dataset) -> list[Any]:
    """The gradient of each record's loss, dropout off: for each trained weight a tensor (records, ...).

    Args:
        module: a network, left as it was.
        criterion: a loss that averages over the batch.
        records: with features and labels.

    Raises:
        InputError: Opacus knows no per-example gradient of one of its layers.
    """
    torch, opacus = torch_module(), opacus_module()
    modes = [(part, part.training) for part in module.modules()]
    try:
        wrapped = opacus.GradSampleModule(module, loss_reduction="mean")
    except NotImplementedError as error:
        reason = one_line(error)
        raise InputError(f"Opacus has no per-example gradients of {type(module).__name__}: {reason}") from error
    try:
        for part in module.modules():  # Opacus looks at layers in training mode only, and dropout has no weights
            part.training = any(value.requires_grad for value in part.parameters(recurse=False))
        with torch.enable_grad():
            features = torch.as_tensor(np.ascontiguousarray(records.features))
            criterion(wrapped(features), targets_of(records)).backward()
        return [value.grad_sample.detach() for value in module.parameters() if value.requires_grad]
    finally:
        wrapped.to_standard_module()
        module.zero_grad(set_to_none=True)
        for part, training in modes:
            part.training = training


def along_gradients_of(
    module: Any, criterion: Any, records: Dataset, *, clip: float | None, per_layer: bool = False
) -> StepMeasure:
    """The product of a step, before minus after, with each record's gradient before it, clipped as in training.

    It is positive where the step went the way the record would have it, as in `dpaudit.engine.dot_products`.

    Args:
        module: the network; it is given the weights that are asked about.
        criterion: a loss that averages over the batch.
        records: whose gradients are taken.
        clip: L2 norm a gradient is clipped to; None leaves it as it is.
        per_layer: clip each weight's gradient to an equal share of ``clip``, instead of all together.
    """
    size = max(1, HELD // sum(int(value.numel()) for value in module.parameters()))
    parts = [records.take(np.arange(at, min(at + size, len(records)))) for at in range(0, len(records), size)]

    def measure(before: Sequence[Any], after: Sequence[Any]) -> FloatArray:
        set_trained(module, before)
        moved = [np.asarray(old[0], np.float64) - new[0] for old, new in zip(before, after, strict=True)]
        return np.concatenate([_products(module, criterion, part, moved, clip, per_layer) for part in parts])[None]

    return measure


def beliefs_after(module: Any, records: Dataset) -> StepMeasure:
    """φ of each record's own label after a step."""

    def measure(_: Sequence[Any], after: Sequence[Any]) -> FloatArray:
        set_trained(module, after)
        return phi(module_outputs(module.eval())(records.features), records.labels, task=records.task).values[None]

    return measure


def set_trained(module: Any, values: Sequence[Any]) -> None:
    """Give a module trained weights, each (1, ...), as a watched step shows them."""
    torch = torch_module()
    own = [value for value in module.parameters() if value.requires_grad]
    with torch.no_grad():
        for parameter, value in zip(own, values, strict=True):
            parameter.copy_(torch.as_tensor(value[0]))


def _products(
    module: Any, criterion: Any, records: Dataset, moved: list[FloatArray], clip: float | None, per_layer: bool
) -> FloatArray:
    rows = [
        np.asarray(value.numpy(), np.float64).reshape(len(records), -1)
        for value in per_example_gradients(module, criterion, records)
    ]
    products = np.stack([row @ step.ravel() for row, step in zip(rows, moved, strict=True)])
    if clip is None:
        return np.asarray(products.sum(axis=0))
    norms = np.stack([np.linalg.norm(row, axis=1) for row in rows])
    if per_layer:
        return np.asarray((products * _shrunk(norms, clip / math.sqrt(len(rows)))).sum(axis=0))
    return np.asarray(products.sum(axis=0) * _shrunk(np.sqrt((norms**2).sum(axis=0)), clip))


def _shrunk(norms: FloatArray, clip: float) -> FloatArray:
    return clip / np.maximum(norms, clip)
