"""NPZ files as files of records: arrays that have one entry for each record, and others that go along."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.runtime.check import IntArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import read_npz, write_npz


@dataclass(frozen=True)
class ArrayFile:
    """Arrays of an NPZ file.

    Args:
        where: it was read from.
        arrays: with one entry for each record, by name.
        beside: arrays of another length, which every part gets whole.

    >>> file = ArrayFile("a.npz", {"features": np.zeros((3, 2)), "labels": np.array([0, 1, 2])}, {})
    >>> file.take(np.array([2])).values("labels")
    array([2])
    """

    where: str
    arrays: Mapping[str, npt.NDArray[Any]]
    beside: Mapping[str, npt.NDArray[Any]]
    kind: str = "NPZ"
    suffix: str = ".npz"
    id_name: str = "id"
    label_name: str = "labels"

    @classmethod
    def read(cls, path: Path) -> "ArrayFile":
        """The arrays of a file; how many records there are is what ``labels`` or ``features`` say.

        Raises:
            InputError: as for `read_npz`; it has neither of the two.
        """
        arrays = read_npz(path)
        told = next((arrays[name] for name in ("labels", "features") if name in arrays), None)
        if told is None or told.ndim == 0:
            listed = ", ".join(sorted(arrays)) or "none"
            raise InputError(f"{path} needs an array 'features' or 'labels' with one entry a record; it has {listed}.")
        inside = {name: array for name, array in arrays.items() if array.shape[:1] == told.shape[:1]}
        return cls(str(path), inside, {name: array for name, array in arrays.items() if name not in inside})

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    @property
    def names(self) -> list[str]:
        """The arrays with an entry for each record."""
        return list(self.arrays)

    def values(self, name: str) -> npt.NDArray[Any]:
        """An array of one value for each record; one-hot labels and (records, 1) stay as they are."""
        return self.arrays[name]

    def with_values(self, name: str, values: npt.NDArray[Any]) -> "ArrayFile":
        """The same with an array set, in its type unless these are words, or added."""
        old = self.arrays.get(name)
        made = values if old is None or values.dtype.kind == "U" else values.astype(old.dtype)
        return replace(self, arrays={**self.arrays, name: made})

    def take(self, rows: IntArray) -> "ArrayFile":
        """Some of the records."""
        return replace(self, arrays={name: array[rows] for name, array in self.arrays.items()})

    def followed_by(self, other: "ArrayFile") -> "ArrayFile":
        """Both, one after the other."""
        both = {name: np.concatenate([array, other.arrays[name]]) for name, array in self.arrays.items()}
        return replace(self, arrays=both)

    def write(self, path: Path) -> None:
        """Write an NPZ file."""
        write_npz(path, {**self.arrays, **self.beside})
