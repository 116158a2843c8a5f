"""The only place that imports PyTorch and Opacus, which are extras: ``pip install 'dpaudit[torch]'``."""

import warnings
from importlib import import_module
from typing import Any

from dpaudit.runtime.errors import InputError, MissingDependency


def torch_module(path: str = "torch") -> Any:
    """PyTorch, or a submodule of it.

    Raises:
        MissingDependency: it is not installed.
    """
    return _imported(path, "PyTorch")


def opacus_module(path: str = "opacus") -> Any:
    """Opacus, or a submodule of it.

    Raises:
        MissingDependency: it is not installed.
        InputError: it is so old that it lacks the submodule.
    """
    whole = _imported("opacus", "Opacus")
    if path == "opacus":
        return whole
    try:
        return _imported(path, "Opacus")
    except MissingDependency as error:
        raise InputError(f"Opacus {whole.__version__} has no {path}; install 1.5 or later.") from error


def is_of_torch(value: object) -> bool:
    """Whether something is of a class of PyTorch or Opacus, or of one derived from theirs; imports neither.

    >>> is_of_torch(3)
    False
    """
    return any(known.__module__.partition(".")[0] in ("torch", "opacus") for known in type(value).__mro__)


def checked_parameters(module_or_parameters: Any, *, name: str) -> list[Any]:
    """The trainable parameters, all of them made and in single or double precision.

    Raises:
        InputError: lazy modules that have not seen a batch, half precision, or the meta device, which holds no numbers.
    """
    torch = torch_module()
    owned = module_or_parameters
    given = list(owned.parameters() if isinstance(owned, torch.nn.Module) else owned)
    lazy = torch.nn.parameter.UninitializedTensorMixin
    if any(isinstance(parameter, lazy) for parameter in given):
        raise InputError(f"{name} has lazy layers without weights: call it on one batch first.")
    if given and all(parameter.is_meta for parameter in given):
        raise InputError(f"{name} lies on the meta device, where there are no numbers: give it with its weights.")
    found = [parameter for parameter in given if parameter.requires_grad]
    precise = (torch.float32, torch.float64)
    other = next((p.dtype for p in given if p.is_floating_point() and p.dtype not in precise), None)
    if other is not None:
        raise InputError(f"{name} holds {str(other).removeprefix('torch.')}; convert it with .float() first.")
    return found


def _imported(path: str, name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the packages
        try:
            return import_module(path)
        except ImportError as error:
            raise MissingDependency(f"{name} is needed: pip install 'dpaudit[torch]' ({error})") from error
