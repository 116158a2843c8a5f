"""The only place that imports JAX and jax-privacy, which are extras: ``pip install 'dpaudit[jax]'``."""

from importlib import import_module
from typing import Any

from dpaudit.runtime.errors import InputError, MissingDependency


def jax_module(path: str = "jax") -> Any:
    """JAX, jax-privacy, or a submodule of either.

    Raises:
        MissingDependency: it is not installed.
    """
    try:
        return import_module(path)
    except ImportError as error:
        raise MissingDependency(f"{path} is needed: pip install 'dpaudit[jax]' ({error})") from error


def refuse_unbound(model: object) -> None:
    """Refuse a module of Flax without parameters, which cannot predict; imports nothing.

    Raises:
        InputError: it is one.
    """
    of_flax = any(known.__module__.startswith("flax.linen") for known in type(model).__mro__)
    if of_flax and getattr(model, "scope", model) is None:
        raise InputError(
            f"the Flax module {type(model).__name__} has no parameters: give it bound to them, module.bind(variables), "
            "or its apply function, functools.partial(module.apply, variables)."
        )
