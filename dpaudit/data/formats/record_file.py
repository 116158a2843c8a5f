"""Records in the format they came in: rows are taken and written again, and nothing in a record changes."""

from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from dpaudit.data.labels import canonical
from dpaudit.runtime.check import IntArray, nearest
from dpaudit.runtime.errors import InputError

RecordFileT = TypeVar("RecordFileT", bound="RecordFile")


class RecordFile(Protocol):
    """Records of one format."""

    @property
    def kind(self) -> str:
        """The format, in words."""

    @property
    def suffix(self) -> str:
        """Of the files it is written to; empty for a folder."""

    @property
    def id_name(self) -> str:
        """What the id of a record is called where nobody says otherwise."""

    @property
    def label_name(self) -> str:
        """The same of its label."""

    @property
    def where(self) -> str:
        """What it was read from."""

    def __len__(self) -> int: ...

    @property
    def names(self) -> list[str]:
        """Names of what there is one of for each record."""

    def values(self, name: str) -> npt.NDArray[Any]:
        """One value for each record, shape (records,)."""

    def with_values(self: RecordFileT, name: str, values: npt.NDArray[Any]) -> RecordFileT:
        """The same with one value for each record set, or added."""

    def take(self: RecordFileT, rows: IntArray) -> RecordFileT:
        """Some of the records, in the order of ``rows``."""

    def followed_by(self: RecordFileT, other: RecordFileT) -> RecordFileT:
        """These records and others of the same format and names."""

    def write(self, path: Path) -> None:
        """Write them."""


def require_name(records: RecordFile, name: str) -> None:
    """Refuse a name that the records have not."""
    if name not in records.names:
        listed = ", ".join(records.names) or "none"
        raise InputError(f"{records.where} has no column {name!r}; it has {listed}.{nearest(name, records.names)}")


def words_of(records: RecordFile, name: str, what: str) -> npt.NDArray[np.str_]:
    """One word for each record, in the one way of writing it (`canonical`).

    Args:
        records: of any format.
        name: of the column.
        what: it says, for messages.

    Raises:
        InputError: there is no such column, or a record has none.
    """
    require_name(records, name)
    return as_words(records.values(name), f"{records.where}: column {name!r}, {what},")


def as_words(values: object, where: str) -> npt.NDArray[np.str_]:
    """One word for each record, in the one way of writing it.

    Raises:
        InputError: a value is missing.

    >>> as_words([7.0, 12.0], "ids").tolist(), as_words(["007", " b "], "ids").tolist()
    (['7', '12'], ['7', 'b'])
    """
    import pandas as pd

    array: Any = np.asarray(values)
    if array.ndim != 1:
        raise InputError(f"{where} must have one value for each record, got shape {array.shape}.")
    different, place = np.unique(array.astype(str), return_inverse=True)
    written: npt.NDArray[np.str_] = np.array([canonical(value) for value in different], np.str_)
    lacking = np.asarray(pd.isna(array)) | (written[place.reshape(-1)] == "")
    if lacking.any():
        raise InputError(
            f"{where} lacks {int(lacking.sum())} of {len(array)} values, the first at row {int(lacking.argmax())}."
        )
    return np.asarray(written[place.reshape(-1)], np.str_)


def refuse_repeated(words: npt.NDArray[np.str_], where: str) -> None:
    """Refuse ids that stand for more than one record."""
    different, counts = np.unique(words, return_counts=True)
    if (counts > 1).any():
        first = different[counts.argmax()]
        raise InputError(
            f"{where} has {int((counts > 1).sum())} id(s) more than once, such as {str(first)!r} ({counts.max()} "
            "times): every record needs an id of its own."
        )
