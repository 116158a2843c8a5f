"""What a caller has of members and non-members: data sets, files or arrays, checked and put side by side."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.data.dataset import Dataset, Task
from dpaudit.data.load import load
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError

Given = Dataset | str | Path | tuple[object, object]


def as_dataset(data: Given, what: str, task: Task, groups: Sequence[str] = (), user: str | None = None) -> Dataset:
    """A data set from what a caller has, with columns to slice it by when it has them, and the one of its users.

    Raises:
        InputError: it has no such column.
    """
    if isinstance(data, str | Path):
        return load(str(data), task=task, groups=groups, user=user)
    if user is not None and (not isinstance(data, Dataset) or data.users is None):
        raise InputError(f"{what} have no column {user!r}: give files, or the users themselves.")
    if isinstance(data, Dataset) and set(groups) <= set(data.groups):
        return data
    if groups:
        raise InputError(f"{what} have no column {groups[0]!r}: give files, or the columns themselves.")
    if isinstance(data, Dataset):
        return data
    features, labels = data
    return Dataset(what, np.asarray(features), np.asarray(labels), task)


def concatenate_datasets(first: Dataset, second: Dataset, name: str) -> Dataset:
    """Both data sets in one, the first one's records first.

    Raises:
        InputError: their records have different shapes.
    """
    if first.features.shape[1:] != second.features.shape[1:] or first.labels.shape[1:] != second.labels.shape[1:]:
        raise InputError(
            f"{first.name} and {second.name} must hold records of the same shape, got {first.features.shape[1:]} and "
            f"{second.features.shape[1:]}."
        )
    return Dataset(
        name,
        np.concatenate([first.features, second.features]),
        np.concatenate([first.labels, second.labels]),
        first.task,
        licence=first.licence,
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
            f"the model does not take records of shape {data.features.shape[1:]}: {str(error).strip().splitlines()[0]}"
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
    a population, or when most are equal, they make every number wrong.
    """
    inside, outside = _rows_of(members), _rows_of(nonmembers)
    both = inside & outside
    if len(both) > allowed * min(len(inside), len(outside)):
        raise InputError(f"{nonmembers.name} and {members.name} must be disjoint, but share {len(both)} record(s).")


def _rows_of(data: Dataset) -> set[bytes]:
    labels = data.labels.reshape(len(data), -1).astype(np.float64)
    return {row.tobytes() + label.tobytes() for row, label in zip(data.features, labels, strict=True)}
