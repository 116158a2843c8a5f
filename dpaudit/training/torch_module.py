"""A trained module of PyTorch as a function from features to outputs, in inference mode."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError, one_line
from dpaudit.runtime.pytorch import checked_parameters, torch_module
from dpaudit.training.trainer import Predict

BATCH = 2048
COMPARED = 16  # records that are predicted twice


def module_outputs(module: Any) -> Predict:
    """What predicts with a ``torch.nn.Module``: features (records, ...) -> outputs (records, outputs).

    The module is asked in inference mode and left in the mode it was in.

    Args:
        module: trained; on one device, in single or double precision.

    Raises:
        InputError: dropout or batch normalisation is in training mode, its layers are lazy or in half precision, it
            lies on several devices, it answers differently when it is asked again, or returns no tensor.
    """
    torch = torch_module()
    if not isinstance(module, torch.nn.Module):
        raise InputError(f"the model is a {type(module).__name__}; give the torch.nn.Module that predicts.")
    name = f"the model {type(module).__name__}"
    checked_parameters(module, name=name)
    _refuse_training_mode(module, name)
    tensors = [*module.parameters(), *module.buffers()]
    devices = sorted({str(tensor.device) for tensor in tensors})
    if len(devices) > 1:
        raise InputError(f"{name} lies on {' and '.join(devices)}: move it to one device with .to(...) first.")
    like = {"device": devices[0] if devices else "cpu"}
    dtype = next((tensor.dtype for tensor in module.parameters()), torch.float32)

    def ask(features: npt.NDArray[np.float32]) -> FloatArray:
        batch = torch.as_tensor(np.ascontiguousarray(features), dtype=dtype, **like)
        try:
            answer = module(batch)
        except RuntimeError as error:
            reason = one_line(error)
            raise InputError(f"{name} does not take records of shape {tuple(features.shape[1:])}: {reason}") from error
        answer = getattr(answer, "logits", answer)
        if not isinstance(answer, torch.Tensor):
            raise InputError(f"{name} must return a tensor (records, outputs), got {type(answer).__name__}.")
        return np.asarray(answer.cpu().numpy(), np.float64)

    def predict(features: npt.NDArray[np.float32]) -> FloatArray:
        with torch.no_grad(), in_inference_mode(module):
            found = [ask(features[start : start + BATCH]) for start in range(0, max(len(features), 1), BATCH)]
            again = ask(features[:COMPARED])
        if not np.allclose(found[0][:COMPARED], again, rtol=1e-4, atol=1e-5, equal_nan=True):
            raise InputError(f"{name} answers differently when it is asked again: it predicts with random numbers.")
        return np.concatenate(found)

    return predict


def _refuse_training_mode(module: Any, name: str) -> None:
    torch = torch_module()
    # The base classes have no public name.
    dropout, normalisation = torch.nn.modules.dropout._DropoutNd, torch.nn.modules.batchnorm._NormBase
    for where, part in module.named_modules():
        kind = type(part).__name__
        if isinstance(part, dropout | normalisation) and part.training:
            raise InputError(f"{name} is in training mode ({kind} {where!r}): call .eval() before the attack.")
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm) and part.running_mean is None:
            raise InputError(
                f"{name} normalises over the batch ({kind} {where!r} keeps no running statistics), so its answer for "
                "a record depends on the others; attack a function that predicts one record at a time."
            )


@contextmanager
def in_inference_mode(module: Any) -> Iterator[None]:
    """All parts in inference mode, and each back in its own mode afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
