"""What the columns of a table are: features, an index that nobody named, blanks, words, dates."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dpaudit.data.dates import dates, either_way
from dpaudit.runtime.errors import InputError

UNNAMED = re.compile(r"(Unnamed: \d+(_level_\d+)?(\.\d+)?|__index_level_\d+__|\s*)")
INDEX = re.compile(r"index|level_\d+", re.IGNORECASE)
FEW_ROWS = 10  # fewer rows than these may count up by chance
ENCODE = 'encode = "auto" in [data] of a plan encodes words, dates and gaps'
SHOWN = 8


def named(names: Iterable[object]) -> str:
    """Names of columns in a sentence.

    >>> named(["a", "b"])
    "'a', 'b'"
    """
    listed = [repr(str(name)) for name in names]
    return ", ".join(listed[:SHOWN]) + (f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else "")


def counts_rows(values: Any) -> bool:
    """Whether whole numbers count the rows, from 0 or from 1.

    >>> counts_rows(np.arange(1, 31)), counts_rows(np.arange(30)[::-1]), counts_rows(np.arange(3))
    (True, False, False)
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or array.size < FEW_ROWS or array[0] not in (0, 1):
        return False
    return bool((array == array[0] + np.arange(array.size)).all())


@dataclass(frozen=True)
class Plain:
    """A table without the columns that cannot be anything, and what was left out, in sentences."""

    table: Any
    notes: tuple[str, ...] = field(default=())


def without_index(table: Any, where: object, keep: Sequence[str | None] = ()) -> Plain:
    """A data frame without blank columns and without an index that nobody named, which pandas writes by default.

    Columns of ``keep`` stay, whatever they are.

    Raises:
        InputError: a column without a name that is no index.

    >>> import pandas as pd
    >>> plain = without_index(pd.DataFrame({"Unnamed: 0": [5, 3], "x": [0.5, 0.1]}), "t.csv")
    >>> list(plain.table.columns), plain.notes
    (['x'], ("t.csv: column 'Unnamed: 0' has no name and numbers the rows; it is left out.",))
    """
    left_out, notes = [], list(getattr(table, "attrs", {}).get("reading", ()))
    for name in table.columns:
        if str(name) in keep:
            continue
        values = table[name]
        nameless = UNNAMED.fullmatch(str(name)) is not None
        if nameless and values.isna().all():
            left_out.append(name)
            notes.append(f"{where}: column {str(name)!r} is blank; it is left out.")
        elif (nameless or INDEX.fullmatch(str(name))) and values.dtype.kind in "iu" and values.is_unique:
            left_out.append(name)
            said = "has no name and numbers the rows" if nameless else "numbers the rows"
            notes.append(f"{where}: column {str(name)!r} {said}; it is left out.")
        elif nameless:
            raise InputError(f"{where}: column {str(name)!r} has no name and is no index: name it, or leave it out.")
    return Plain(table.drop(columns=left_out) if left_out else table, tuple(notes))


def same_columns(tables: Sequence[Any], wheres: Sequence[object]) -> list[Any]:
    """Tables with their columns in the order of the first.

    Raises:
        InputError: they have different columns; the message names them.
    """
    first = [str(name) for name in tables[0].columns]
    aligned = [tables[0]]
    for table, where in zip(tables[1:], wheres[1:], strict=True):
        refuse_other_columns(first, [str(name) for name in table.columns], wheres[0], where)
        aligned.append(table[list(tables[0].columns)])
    return aligned


def refuse_other_columns(first: Sequence[str], second: Sequence[str], one: object, other: object) -> None:
    """Refuse two sets of column names that differ, whatever their order.

    >>> refuse_other_columns(["a", "b"], ["b", "c"], "in.csv", "out.csv")
    Traceback (most recent call last):
    ...
    dpaudit.runtime.errors.InputError: in.csv and out.csv must have the same columns: 'a' only in in.csv; 'c' only in \
out.csv.
    """
    only = [name for name in first if name not in set(second)], [name for name in second if name not in set(first)]
    if not any(only):
        return
    said = [f"{named(names)} only in {where}" for names, where in zip(only, (one, other), strict=True) if names]
    raise InputError(f"{one} and {other} must have the same columns: {'; '.join(said)}.")


def problems(table: Any, names: Sequence[Any]) -> list[str]:
    """What keeps columns from being numbers, one phrase for each kind, with the columns' names and counts.

    >>> import pandas as pd
    >>> problems(pd.DataFrame({"town": ["a", "b"], "x": [1.0, None]}), ["town", "x"])
    ["'town' holds words (2 different)", "'x' lacks 1 of 2 values"]
    """
    found = []
    for name in names:
        values = table[name]
        what = kind(values)
        lacking = int(values.isna().sum())
        said = []
        if what == "words":
            date = either_way(values)
            percent = not date and values.dropna().astype(str).str.fullmatch(r"\s*[\d.]+\s*%\s*").all()
            said.append(
                either(date)
                if date
                else f"holds percentages ({values.dropna().iloc[0]}): write them as 0.123"
                if percent
                else f"holds words ({values.nunique()} different)"
            )
        elif what == "dates":
            said.append("holds dates")
        elif what == "other":
            said.append(f"holds {values.dtype}")
        elif values.dtype.kind == "f" and np.isinf(values.to_numpy()).any():
            said.append(f"holds {int(np.isinf(values.to_numpy()).sum())} infinite values")
        if lacking:
            said.append("is blank" if lacking == len(values) else f"lacks {lacking} of {len(values)} values")
        elif what == "numbers" and counts_rows(values):
            said.append("counts the rows, as an index does")
        if said:
            found.append(f"{str(name)!r} {' and '.join(said)}")
    return found


def either(date: str) -> str:
    """What is said of a column whose dates can be read in two ways."""
    return f"holds dates whose day and month could be either ({date}); write them as 2024-12-31"


def kind(values: Any) -> str:
    """Of a column: ``numbers``, ``dates``, ``words`` or ``other``."""
    from pandas.api import types

    dtype = values.dtype
    if types.is_datetime64_any_dtype(dtype):
        return "dates"
    if types.is_bool_dtype(dtype) or (types.is_numeric_dtype(dtype) and not types.is_complex_dtype(dtype)):
        return "numbers"
    if isinstance(dtype, _categorical()) or types.is_string_dtype(dtype):
        return "dates" if dates(values) is not None else "words"
    if types.is_object_dtype(dtype):
        # Python's dates, and True beside a gap, come as objects.
        return "dates" if dates(values) is not None else "words"
    return "other"


def _categorical() -> Any:
    import pandas as pd

    return pd.CategoricalDtype
