"""A function of a plan, named as ``package.module:name``, and a hash of its code."""

import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from dpaudit.runtime.errors import InputError
from dpaudit.training.reference_models.code_fingerprint import code_digest


def find_function(given: str | Callable[..., Any], *, key: str) -> Callable[..., Any]:
    """The function itself, or the one that a name stands for.

    Args:
        given: the function, or its name.
        key: of the plan, for messages.

    Raises:
        InputError: it has another form, or cannot be imported.

    >>> find_function("math:sqrt", key="train")(4.0)
    2.0
    """
    if not isinstance(given, str):
        return given
    module, _, attribute = given.partition(":")
    if not module or not attribute:
        raise InputError(f"{key} must be given as 'package.module:name', got {given!r}.")
    try:
        found: Callable[..., Any] = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{key} {given!r} cannot be imported: {error}") from error
    return found


def name_function(given: str | Callable[..., Any]) -> str:
    """What messages call it."""
    return given if isinstance(given, str) else getattr(given, "__qualname__", repr(given))


def digest_function(given: str | Callable[..., Any], *, key: str) -> str:
    """A hash of the file of the function's module and of what that imports from the same folder or package.

    Raises:
        InputError: it was defined in no file, or holds variables of a function around it.
    """
    function = find_function(given, key=key)
    while isinstance(function, partial):
        function = function.func
    name = name_function(given)
    if getattr(function, "__closure__", None):
        raise InputError(
            f"{name} holds variables of the function that made it, and what is stored of it could be of others; "
            "define it at the top of a module."
        )
    module = given.partition(":")[0] if isinstance(given, str) else function.__module__
    source = getattr(sys.modules[module], "__file__", None)
    if source is None:
        raise InputError(f"the code of {name} cannot be found; define it in a file.")
    return code_digest(module, Path(source).resolve())
