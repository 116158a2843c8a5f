"""The architecture an experiment names in a plan."""

from collections.abc import Mapping
from typing import Any

from dpaudit import registry
from dpaudit.errors import InputError


def architecture(table: Mapping[str, Any], *, where: str) -> Any:
    """From a table with ``kind`` and its parameters beside it; (input shape, classes) -> Keras model.

    Raises:
        InputError: no kind, an unknown one, or a parameter it does not take.

    >>> architecture({"kind": "mlp", "hidden": [8]}, where="gradient.architecture")
    Mlp(hidden=(8,), activation='relu')
    """
    parameters = dict(table)
    if "kind" not in parameters:
        raise InputError(f"{where}: the key 'kind' is missing.")
    return registry.build("architectures", parameters.pop("kind"), parameters, where=where)
