"""What a caller has of members and non-members: data sets, files or arrays, checked and put side by side."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.data.csv_file import file_kind
from dpaudit.data.dataset import Dataset, Task
from dpaudit.data.duplicates import copies
from dpaudit.data.labels import Labels, recoded, shared_names
from dpaudit.data.load import load
from dpaudit.data.table_columns import FEW_ROWS, named, problems, refuse_other_columns, without_index
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError, one_line

Given = Dataset | str | Path | tuple[object, object]


def as_dataset(
    data: Given,
    what: str,
    task: Task,
    groups: Sequence[str] = (),
    user: str | None = None,
    *,
    label: str | Sequence[str] = "label",
    drop: Sequence[str] = (),
) -> Dataset:
    """A data set from what a caller has, with columns to slice it by when it has them, and the one of its users.

    ``label`` and ``drop`` are of files.

    Raises:
        InputError: it has no such column.
    """
    if isinstance(data, str | Path):
        beside = {} if file_kind(Path(data)) not in (".csv", ".parquet") else {"label": label, "drop": drop}
        return load(str(data), task=task, groups=groups, user=user, **beside)  # type: ignore[arg-type]  # by keyword
    if user is not None:
        raise InputError(f"{what} have no column {user!r}: give files, or the users themselves.")
    if isinstance(data, Dataset) and set(groups) <= set(data.groups):
        return data
    if groups:
        raise InputError(f"{what} have no column {groups[0]!r}: give files, or the columns themselves.")
    if isinstance(data, Dataset):
        return data
    features, labels = data
    if hasattr(features, "columns") and hasattr(features, "iloc"):
        plain = without_index(features, what)
        names = [str(name) for name in plain.table.columns]
        wrong = problems(plain.table, plain.table.columns)
        if wrong:
            raise InputError(f"features of {what} must be numbers: {'; '.join(wrong)}.")
        values = plain.table.to_numpy(np.float64)
        return Dataset(what, values, np.asarray(labels), task, columns=tuple(names), notes=plain.notes)
    return Dataset(what, np.asarray(features), np.asarray(labels), task)


def aligned(datasets: Sequence[Dataset]) -> list[Dataset]:
    """Data sets with their columns in the order of the first, the same classes, and as many classes.

    Raises:
        InputError: they have different columns, named ones beside unnamed ones, or a column that numbers the records of
            all of them.

    >>> one = Dataset("in", [[1.0, 2.0]], ["dog"], columns=("a", "b"))
    >>> two = Dataset("out", [[3.0, 4.0]], ["cat"], columns=("b", "a"))
    >>> [(data.features.tolist(), data.labels.tolist()) for data in aligned([one, two])]
    [([[1.0, 2.0]], [1]), ([[4.0, 3.0]], [0])]
    """
    first = datasets[0]
    if first.task in ("multiclass", "binary"):
        parts = [Labels(data.classes, data.class_names) for data in datasets]
        names = shared_names(parts)
        if names:
            if first.task == "binary" and len(names) > 2:
                raise InputError(f"a binary task has 2 classes, and the labels are {named(names)}.")
            shared = [recoded(part, names) for part in parts]
            datasets = [
                replace(data, labels=part.codes, class_names=names, class_count=None)
                for data, part in zip(datasets, shared, strict=True)
            ]
    if first.task == "multiclass":
        most = max(data.outputs for data in datasets)
        datasets = [replace(data, class_count=most) for data in datasets]
    found = [_in_order(first, data) for data in datasets]
    _refuse_common_index(found)
    return found


def _in_order(first: Dataset, data: Dataset) -> Dataset:
    if data.columns == first.columns:
        return data
    if not data.columns or not first.columns:
        one, other = (first, data) if first.columns else (data, first)
        raise InputError(
            f"the columns of {one.name} have names and those of {other.name} have none: give both with names."
        )
    refuse_other_columns(first.columns, data.columns, first.name, data.name)
    places = [data.columns.index(name) for name in first.columns]
    return replace(data, features=data.features[:, places], columns=first.columns)


def _refuse_common_index(datasets: Sequence[Dataset]) -> None:
    """Refuse a column whose whole numbers, over all data sets, are each record's own from 0 or 1 on."""
    records = sum(len(data) for data in datasets)
    if not datasets[0].columns or len(datasets) < 2 or not FEW_ROWS <= records < 2**24:  # float32 counts no further
        return
    for place, name in enumerate(datasets[0].columns):
        values = [data.features[:, place] for data in datasets]
        if min(float(part.min()) for part in values) in (0.0, 1.0):
            numbers = np.sort(np.concatenate(values))
            if (numbers == numbers[0] + np.arange(records)).all():
                raise InputError(
                    f"column {name!r} numbers the records of {' and '.join(data.name for data in datasets)}: it is no "
                    "feature; leave it out (--drop)."
                )


def concatenate_datasets(first: Dataset, second: Dataset, name: str) -> Dataset:
    """Both data sets in one, the first one's records first, with their columns and classes aligned by name.

    Raises:
        InputError: their records have different shapes or columns.
    """
    if first.features.shape[1:] != second.features.shape[1:] or first.labels.shape[1:] != second.labels.shape[1:]:
        if first.columns and second.columns:
            refuse_other_columns(first.columns, second.columns, first.name, second.name)
        raise InputError(
            f"{first.name} and {second.name} must hold records of the same shape, got {first.features.shape[1:]} and "
            f"{second.features.shape[1:]}."
        )
    one, other = aligned([first, second])
    return replace(
        one,
        name=name,
        features=np.concatenate([one.features, other.features]),
        labels=np.concatenate([one.labels, other.labels]),
        users=None,
        groups={},
        rows=None,
        notes=tuple(dict.fromkeys((*one.notes, *other.notes))),
    )


def predict_outputs(predict: Callable[[Any], object], data: Dataset) -> FloatArray:
    """Outputs of a model on records, one row each.

    Raises:
        InputError: the model does not take these records, or returns something else than one row per record.
    """
    try:
        raw = predict(data.features)
    except (ValueError, TypeError, IndexError) as error:
        raise InputError(
            f"the model does not take records of shape {data.features.shape[1:]}: {one_line(error)}"
        ) from error
    outputs = check.finite("outputs of the model", np.asarray(raw))
    if outputs.shape[:1] != (len(data),):
        raise InputError(f"the model must return one row for each of {len(data)} records, got shape {outputs.shape}.")
    return outputs


def side_by_side(members: Dataset, nonmembers: Dataset, columns: Sequence[str]) -> dict[str, object]:
    """Columns of both data sets by name, members first."""
    return {by: np.concatenate([members.groups[by], nonmembers.groups[by]]) for by in columns}


def both_users(members: Dataset, nonmembers: Dataset) -> npt.NDArray[np.generic]:
    """Whose record it is, members first; both have users. A number and a word are different users."""
    assert members.users is not None
    assert nonmembers.users is not None
    return np.concatenate([members.users, nonmembers.users])


def refuse_overlap(members: Dataset, nonmembers: Dataset, *, allowed: float = 0.0) -> None:
    """Refuse two data sets that share more than a share ``allowed`` of the smaller one's records.

    A few equal members and non-members are people who look alike: they weaken an attack, and are counted elsewhere. In
    a population, or when most are equal, they make every number wrong. What counts as equal is said at `copies`: 0.0
    and -0.0 are, and so are values that differ in their last digits.
    """
    if members.features.shape[1:] != nonmembers.features.shape[1:]:
        return  # other records; what is done with them says so
    one, other = aligned([members, nonmembers])
    inside = np.arange(len(one) + len(other)) < len(one)
    labels = [data.labels.reshape(len(data), -1).astype(np.float64) for data in (one, other)]
    number = copies(np.concatenate([one.features, other.features]), np.concatenate(labels))
    mine, theirs = np.unique(number[inside]), np.unique(number[~inside])
    both = np.intersect1d(mine, theirs, assume_unique=True).size
    if both > allowed * min(mine.size, theirs.size):
        raise InputError(f"{nonmembers.name} and {members.name} must be disjoint, but share {both} record(s).")
