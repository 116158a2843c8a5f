"""What an ONNX model takes: inputs of numbers and of words, by name, from tables, NPZ files and Python."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.data.dataset import Dataset, Task
from dpaudit.data.given import Given, as_dataset
from dpaudit.data.load import ColumnRoles, column, labels_of, read_table, table_kind
from dpaudit.data.table_columns import named, problems, without_index
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import read_npz
from dpaudit.training.model_inputs import Inputs

Shape = tuple[int | None, ...]
MOST = 2**24  # float32, which records are held in, counts no further
NUMBERS = {
    "float": np.float32,
    "double": np.float64,
    "float16": np.float16,
    "int64": np.int64,
    "int32": np.int32,
    "int16": np.int16,
    "int8": np.int8,
    "uint64": np.uint64,
    "uint32": np.uint32,
    "uint16": np.uint16,
    "uint8": np.uint8,
    "bool": np.bool_,
}


@dataclass(frozen=True)
class OnnxInputs:
    """Names, shapes and types of a model's inputs, and the numbers that stand for words.

    Args:
        plain: names and shapes, without the axis of records.
        kinds: element type of each: ``float``, ``int64``, ``string``, ...
        batch: how many records the model takes at a time; None: any number.
        words: number of each word that was read; it grows while records are read.
    """

    plain: Inputs
    kinds: tuple[str, ...]
    batch: int | None = None
    words: dict[str, int] = field(default_factory=dict)

    def dataset(
        self,
        data: Given,
        what: str,
        task: Task,
        groups: Sequence[str] = (),
        user: str | None = None,
        *,
        label: str | Sequence[str] = "label",
        drop: Sequence[str] = (),
    ) -> Dataset:
        """Records for this model: those of one input of numbers as of every model, others input by input.

        Args:
            data: as for `as_dataset`, or in Python (table of one column or array for each input, labels). A table has a
                column named like each input (other signs than letters and digits count as ``_``, which exporters
                write for them).
            what: the records are, for messages.
            task: what is predicted.
            groups: columns to slice by; so is ``user`` the column of users, for files.
            label: column of the labels in tables; so are ``drop`` those that are no features.

        Raises:
            InputError: an input has no column, words where numbers are taken, another shape.
        """
        if isinstance(data, Dataset) or (len(self.kinds) == 1 and "string" not in self.kinds):
            read = as_dataset(data, what, task, groups, user, label=label, drop=drop)
        else:
            read = self._read(
                data,
                what,
                task,
                ColumnRoles(label, user, tuple(groups), tuple(drop)),
            )
        shape, wanted = read.features.shape[1:], self.plain.shapes
        flat = len(wanted) > 1 or (wanted[0] == () and shape == (1,))
        if not flat and not _fits(shape, wanted[0]):
            raise InputError(f"the model takes records of shape {_shown(wanted[0])}, and {what} have {_shown(shape)}.")
        if self.batch is None or self.batch == 1:
            return read
        note = f"The model takes {self.batch} records at a time; the last such batch was filled up with its last record"
        return replace(read, notes=(*read.notes, f"{note}."))

    def arrays(self, features: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """The model's inputs from records (records, ...), by name.

        Raises:
            InputError: fractions for an input of whole numbers.
        """
        given = {}
        words = np.array([*self.words], object)
        for name, shape, kind, part in zip(
            self.plain.names, self.plain.shapes, self.kinds, self.plain.parts(features), strict=True
        ):
            one = part.reshape(len(part)) if shape == () and part.shape[1:] == (1,) else part
            if kind == "string":
                one = words[one.astype(np.int64)]
            elif kind not in ("float", "double", "float16", "bool"):
                if (one != np.floor(one)).any():
                    raise InputError(f"input {name!r} of the model takes whole numbers, got fractions.")
                if np.abs(one).max(initial=0) >= MOST:
                    raise InputError(
                        f"input {name!r} of the model got whole numbers of 2^24 and more, which are rounded."
                    )
            given[name] = one if kind == "string" else one.astype(NUMBERS[kind])
        return given

    def readable(self, features: npt.NDArray[Any]) -> Any:
        """Records as they were before words became numbers: the array itself, texts, or a data frame."""
        if "string" not in self.kinds:
            return features
        import pandas as pd

        arrays = self.arrays(features)
        columns = {
            f"{name} {at}": flat[:, at]
            for name, array in arrays.items()
            for flat in [array.reshape(len(array), -1)]
            for at in range(flat.shape[1])
        }
        if len(columns) == 1:
            return [str(text) for text in next(iter(columns.values()))]
        return pd.DataFrame(columns)

    def _read(self, data: Given, what: str, task: Task, roles: ColumnRoles) -> Dataset:
        beside = [*roles.groups, *([] if roles.user is None else [roles.user])]
        notes: tuple[str, ...] = ()
        source: Any
        if isinstance(data, str | Path):
            path, what = Path(data), Path(data).stem
            table: Any
            if table_kind(path) == ".npz":
                table = read_npz(path)
                for name in ("labels", *beside):
                    if name not in table:
                        raise InputError(f"{data} has no array {name!r}; it has {', '.join(sorted(table)) or 'none'}.")
                labels = table["labels"]
                source = {name: array for name, array in table.items() if name not in ("labels", roles.user)}
                if set(source) == {"features"}:
                    source = source["features"]
            else:
                plain = without_index(read_table(path), path, (*roles.labels, *beside, *self.plain.names))
                table, notes = plain.table, plain.notes
                for name in (*roles.labels, *beside, *roles.drop):
                    column(table, name, path)
                labels = labels_of(table, path, task, roles)
                source = table.drop(
                    columns=list({*roles.labels, *roles.drop, *([] if roles.user is None else [roles.user])})
                )
            users = None if roles.user is None else np.asarray(table[roles.user])
            sliced = {by: np.asarray(table[by]) for by in roles.groups}
        else:
            if beside:
                raise InputError(f"{what} have no column {beside[0]!r}: give files, or the columns themselves.")
            assert isinstance(data, tuple)
            source, labels = data[0], np.asarray(data[1])
            users, sliced = None, {}
        features, unused = self._packed(source, what)
        unused = [name for name in unused if name not in roles.groups]
        if unused:
            notes = (*notes, f"{what}: {named(unused)} are named like no input of the model and are left out.")
        return Dataset(what, features, labels, task, users, groups=sliced, notes=notes)

    def _packed(self, source: Any, what: str) -> tuple[npt.NDArray[np.float32], list[str]]:
        """Inputs side by side, shape (records, numbers), one input in its own shape; columns that none took."""
        inputs = self.plain
        if not isinstance(source, Mapping) and not hasattr(source, "columns"):
            if len(self.kinds) > 1:
                raise InputError(
                    f"the model has {len(self.kinds)} inputs ({', '.join(inputs.names)}); give {what} as a table with "
                    "a column for each, or as an NPZ file or a dict in Python with an array for each, under its name."
                )
            array = np.asarray(source)
            return self._numbers(array if array.ndim > 1 else array[:, None], self.kinds[0], inputs.names[0], what), []
        if len(self.kinds) == 1 and hasattr(source, "columns"):  # a table of as many columns as the input is wide
            return self._numbers(source.to_numpy(object), self.kinds[0], inputs.names[0], what), []
        keys = {_plain(str(name)): name for name in (source.columns if hasattr(source, "columns") else source)}
        packed: dict[str, npt.NDArray[Any]] = {}
        for name, kind in zip(inputs.names, self.kinds, strict=True):
            if _plain(name) not in keys:
                known = [str(key) for key in keys.values()]
                raise InputError(
                    f"{what} have nothing named like input {name!r} of the model; they have {named(known)}."
                    f"{check.nearest(name, known)}"
                )
            values = source[keys[_plain(name)]]
            if hasattr(values, "dtype") and hasattr(values, "isna") and kind != "string":
                wrong = [one for one in problems({name: values}, [name]) if "counts the rows" not in one]
                if wrong:
                    raise InputError(f"{what}: an input of {kind} must be numbers: {wrong[0]}.")
            packed[name] = self._numbers(np.asarray(values), kind, name, what)
        taken = {_plain(name) for name in inputs.names}
        return inputs.packed(packed, what), [str(name) for key, name in keys.items() if key not in taken]

    def _numbers(self, array: npt.NDArray[Any], kind: str, name: str, what: str) -> npt.NDArray[np.float32]:
        if kind != "string":
            if array.dtype.kind not in "fiub":
                raise InputError(f"input {name!r} of the model takes {kind}, and {what} hold {array.dtype}.")
            return array.astype(np.float32)
        import pandas as pd

        if np.asarray(pd.isna(array)).any():
            raise InputError(f"{name!r} of {what} lacks values; the model takes words there: write one for a gap.")
        different, place = np.unique(array.astype(str), return_inverse=True)
        codes = np.array([self.words.setdefault(str(word), len(self.words)) for word in different], np.float32)
        if len(self.words) > MOST:
            raise InputError(f"{what} hold more than 2^24 different words.")
        return np.asarray(codes[place.reshape(array.shape)])


def _plain(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _fits(shape: Shape, wanted: Shape) -> bool:
    return len(shape) == len(wanted) and all(b is None or a == b for a, b in zip(shape, wanted, strict=True))


def _shown(shape: Shape) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in shape)})"
