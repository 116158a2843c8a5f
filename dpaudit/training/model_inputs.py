"""What a model takes: one array, or several, which travel as one array with a row for each record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.data.csv_file import file_kind
from dpaudit.data.dataset import Dataset
from dpaudit.data.given import Given
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import read_npz


@dataclass(frozen=True)
class Inputs:
    """Names and shapes of a model's inputs.

    Args:
        names: of the inputs, in the model's order.
        shapes: of one record of each.
        by_name: whether the model is called with a table of them.

    >>> two = Inputs(("a", "b"), ((2,), (1, 2)))
    >>> packed = two.packed({"a": np.ones((3, 2)), "b": np.zeros((3, 1, 2))}, "members")
    >>> packed.shape, [part.shape for part in two.parts(packed)]
    ((3, 4), [(3, 2), (3, 1, 2)])
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    by_name: bool = False

    @classmethod
    def of(cls, model: Any, config: Mapping[str, Any]) -> "Inputs":
        """Of a Keras model, of either version; of a subclassed model the shape that its file says it was built for."""
        if not getattr(model, "inputs", None):
            built = (config.get("build_config") or {}).get("input_shape") or [None]
            return cls(("features",), (tuple(built[1:]),))
        names = tuple(str(tensor.name) for tensor in model.inputs)
        shapes = tuple(tuple(tensor.shape[1:]) for tensor in model.inputs)
        by_name = type(model).__name__ != "Sequential" and isinstance(model.input, dict)
        return cls(names, shapes, by_name)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one record, as a data set holds it."""
        return self.shapes[0] if len(self.names) == 1 else (sum(prod(shape) for shape in self.shapes),)

    def packed(self, features: Mapping[str, object], what: str) -> npt.NDArray[np.float32]:
        """Several inputs side by side, shape (records, numbers).

        Raises:
            InputError: an input is missing, or has another shape.
        """
        columns = []
        for name, shape in zip(self.names, self.shapes, strict=True):
            if name not in features:
                raise InputError(
                    f"{what} have no array {name!r}: the model's inputs are {', '.join(self.names)}; give an array "
                    "for each, under its name, and 'labels'."
                )
            if None in shape:
                raise InputError(
                    f"input {name!r} of the model has no fixed shape, and models with several inputs need one: hand a "
                    "predict function to dpaudit.attack_model in Python."
                )
            array = np.asarray(features[name])
            if array.shape[1:] != shape and array[..., None].shape[1:] != shape:
                raise InputError(f"{name!r} of {what} must have shape (records, {shape}), got {array.shape}.")
            columns.append(array.reshape(len(array), -1).astype(np.float32))
        if len({len(column) for column in columns}) > 1:
            raise InputError(f"the inputs of {what} must have as many records each.")
        return np.concatenate(columns, axis=1)

    def parts(self, features: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """The inputs again from what `packed` made of them."""
        if len(self.names) == 1:
            return [features]
        ends = np.cumsum([prod(shape) for shape in self.shapes])[:-1]
        parts = np.split(features.reshape(len(features), -1), ends, axis=1)
        return [part.reshape(len(features), *shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def arranged(self, parts: Sequence[Any]) -> Any:
        """As the model is called with them."""
        if self.by_name:
            return dict(zip(self.names, parts, strict=True))
        return parts[0] if len(self.names) == 1 else list(parts)


def one_array(data: Given, inputs: Inputs, what: str) -> Given:
    """What a caller has of records, several inputs of a model side by side in one array.

    Args:
        data: as for `dpaudit.data.given.as_dataset`; with several inputs (table of arrays, labels), or an NPZ file with
        an     array for each input, under its name, and ``labels``.
        inputs: of the model.
        what: the records are, for messages.

    Raises:
        InputError: an input is missing or has another shape.
    """
    if len(inputs.names) == 1:
        return data
    if isinstance(data, str | Path) and file_kind(Path(data)) == ".npz":
        arrays = read_npz(Path(data))
        if "labels" not in arrays:
            raise InputError(f"{data} has no array 'labels'; it has {', '.join(sorted(arrays)) or 'none'}.")
        return inputs.packed(arrays, str(data)), arrays["labels"]
    if isinstance(data, tuple) and isinstance(data[0], Mapping):
        return inputs.packed(data[0], what), data[1]
    if isinstance(data, Dataset) and data.features.shape[1:] == inputs.shape:
        return data
    raise InputError(
        f"the model has {len(inputs.names)} inputs ({', '.join(inputs.names)}); give {what} as an NPZ file with an "
        "array for each, under its name, and 'labels', or in Python as (a dict of arrays, labels)."
    )
