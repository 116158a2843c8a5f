"""The only place that imports JAX and jax-privacy, which are extras: ``pip install 'dpaudit[jax]'``."""

from importlib import import_module
from typing import Any

from dpaudit.runtime.errors import MissingDependency


def jax_module(path: str = "jax") -> Any:
    """JAX, jax-privacy, or a submodule of either.

    Raises:
        MissingDependency: it is not installed.
    """
    try:
        return import_module(path)
    except ImportError as error:
        raise MissingDependency(f"{path} is needed: pip install 'dpaudit[jax]' ({error})") from error
