"""What a table holds, before anything is planned: types, gaps, classes, copies, whose the records are."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dpaudit.data.dataset import Task
from dpaudit.data.dates import dates, either_way
from dpaudit.data.encode import column_kinds
from dpaudit.data.labels import Labels, class_labels
from dpaudit.data.load import ColumnRoles, column, labels_of, read_table
from dpaudit.data.table_columns import either, named, without_index
from dpaudit.runtime.errors import InputError

PERSON = re.compile(
    r"(user|customer|client|patient|person|subject|member|employee|account|household)s?"
    r"([_ -]?(id|no|nr|number|key|uuid))?",
    re.IGNORECASE,
)
IDENTIFIER = re.compile(r"(.*[_ -])?(id|uuid|guid|key|nr)|.*Id|.*ID")
RARE = 10  # records of a class, fewer than which an attack can say little
MOST_CLASSES = 20  # more different whole numbers, each in few records, are taken for numbers
MOST_OF_ONE = 1000  # records on average of one value, above which it is a kind of person and not a person
SLICES = 3  # columns suggested to slice by
SMALLEST = 0.02  # share of the records that each value of such a column has at least


@dataclass(frozen=True)
class TableLook:
    """A table as it was found.

    Args:
        records: how many there are.
        task: ``multiclass``, ``regression`` where the labels are numbers, ``multilabel`` where they are several.
        labels: class numbers and names, of classes.
        counts: records of each class.
        target: the labels in words.
        columns: what each feature column is, in words, by name.
        user: column that seems to say whose record it is; None without one.
        drop: columns that are no features, each with the reason.
        slices: columns to report separately.
        encode: whether the features need encoding.
        notes: everything else that was found, in sentences.
    """

    records: int
    task: Task
    labels: Labels | None
    counts: tuple[int, ...]
    target: str
    columns: dict[str, str]
    user: str | None
    drop: dict[str, str]
    slices: tuple[str, ...]
    encode: bool
    notes: tuple[str, ...]


def look(path: Path, label: str | Sequence[str], user: str | None = None, task: Task | None = None) -> TableLook:
    """Look at a CSV or Parquet file.

    Args:
        path: of the file.
        label: column of the labels, which are classes or numbers; several columns of 0 and 1.
        user: column that says whose record it is; None guesses it from the names.
        task: ``multiclass`` or ``regression``; None takes numbers that are no classes for a regression, and several
            columns for ``multilabel``.

    Raises:
        InputError: no such file or column, labels that are neither, a single class, or no features.
    """
    roles = ColumnRoles(label)
    plain = without_index(read_table(path), path, (*roles.labels, user))
    table: Any = plain.table.set_axis([str(name) for name in plain.table.columns], axis=1)
    for name in roles.labels:
        column(table, name, path)
    if not isinstance(label, str):
        task, labels, target = "multilabel", None, _several_described(table, path, roles)
    else:
        task = task or ("regression" if _numbers(table[label]) else "multiclass")
        labels = _classes(table, label, path) if task == "multiclass" else None
        target = _numbers_described(table, label, path) if labels is None else _classes_described(labels)
    counts = np.empty(0, np.int64) if labels is None else np.bincount(labels.codes)
    if user is not None:
        column(table, user, path)
    rest = table.drop(columns=list(roles.labels))
    kinds = column_kinds(rest)
    owner = user or _owner(rest)
    drop: dict[str, str] = {}
    for name, what in kinds.items():
        if name == owner:
            continue
        if what == "blank":
            drop[name] = "blank in all records"
        elif what == "unclear":
            drop[name] = either(either_way(rest[name]))
        elif rest[name].is_unique and PERSON.fullmatch(name):
            drop[name] = "an identifier: every record has a value of its own"
        elif what == "text":
            drop[name] = f"text or an identifier: {rest[name].nunique():,} different values in {len(rest):,} records"
        elif rest[name].is_unique and rest[name].dtype.kind in "iu" and IDENTIFIER.fullmatch(name):
            drop[name] = "an identifier: every record has a value of its own"
    used = {name: what for name, what in kinds.items() if name != owner and name not in drop}
    if not used:
        raise InputError(f"{path} has no feature columns beside {named(roles.labels)}.")
    gaps = any(rest[name].isna().any() for name in used)
    needed = gaps or not set(used.values()) <= {"number", "flag"} or _wide(rest, used)
    return TableLook(
        records=len(table),
        task=task,
        labels=labels,
        counts=tuple(int(count) for count in counts),
        target=target,
        columns={name: _described(rest[name], what) for name, what in used.items()},
        user=owner,
        drop=drop,
        slices=tuple(name for name, what in used.items() if _sliceable(rest[name], what))[:SLICES],
        encode=needed or task == "regression",  # which scales the target as well
        notes=(*plain.notes, *_notes(table, rest, owner, labels, counts)),
    )


def _numbers(values: Any) -> bool:
    """Whether labels are numbers that cannot be classes: fractions, or whole numbers too many and too large for it."""
    if values.dtype.kind not in "fiu" or values.isna().any():
        return False
    whole = bool((values % 1 == 0).all())
    return not whole or (values.nunique() > MOST_CLASSES and values.nunique() > len(values) / 20)


def _classes(table: Any, label: str, path: Path) -> Labels:
    labels = class_labels(f"labels of {path.stem}", table[label].to_numpy())
    if np.unique(labels.codes).size < 2:
        raise InputError(f"column {label!r} of {path} holds one class only; there is nothing to learn.")
    return labels


def _several_described(table: Any, path: Path, roles: ColumnRoles) -> str:
    values = labels_of(table, path, "multilabel", roles)
    if not np.isin(values, (0, 1)).all():
        raise InputError(f"{path}: several labels of a record ({named(roles.labels)}) must be 0 or 1 each.")
    shares = ", ".join(
        f"{name} {share:.1%}" for name, share in zip(roles.labels[:8], values.mean(axis=0), strict=False)
    )
    return f"{len(roles.labels)} labels of 0 and 1: {shares}{', ...' if len(roles.labels) > 8 else ''}"


def _classes_described(labels: Labels) -> str:
    counts = np.bincount(labels.codes)
    names = labels.names or tuple(map(str, range(len(counts))))
    listed = [f"{name} {count / counts.sum():.1%}" for name, count in zip(names, counts, strict=True) if count]
    numbers = "" if labels.names or len(listed) <= 20 else "; if these are no classes: dpaudit init --task regression"
    return f"{len(listed)} classes: {', '.join(listed[:8])}{', ...' if len(listed) > 8 else ''}{numbers}"


def _numbers_described(table: Any, label: str, path: Path) -> str:
    values = table[label]
    if values.dtype.kind not in "fiub":
        raise InputError(f"column {label!r} of {path} holds {values.dtype}; a regression predicts numbers.")
    if values.isna().any() or not np.isfinite(values.astype(float)).all():
        raise InputError(
            f"column {label!r} of {path}, the label, lacks values in some records: leave these records out."
        )
    if values.nunique() < 2:
        raise InputError(f"column {label!r} of {path} holds one value only; there is nothing to learn.")
    return f"numbers, {float(values.min()):g} to {float(values.max()):g}"


def _owner(table: Any) -> str | None:
    for name in table.columns:
        values = table[name]
        several = max(RARE, len(values) / MOST_OF_ONE) < values.nunique() < len(values)
        if PERSON.fullmatch(name) and values.notna().all() and several and values.dtype.kind != "f":
            return str(name)
    return None


def _wide(table: Any, used: dict[str, str]) -> bool:
    """Whether some number is so large that a network would not train on it as it is."""
    return any(float(table[name].abs().max()) > 10 for name, what in used.items() if what == "number")


def _sliceable(values: Any, what: str) -> bool:
    if what not in ("words", "codes", "flag"):
        return False
    shares = values.value_counts(normalize=True)
    return 2 <= len(shares) <= 10 and float(shares.min()) >= SMALLEST


def _described(values: Any, what: str) -> str:
    gaps = int(values.isna().sum())
    lacking = f"; lacks {gaps:,} of {len(values):,} values" if gaps else ""
    if what == "dates":
        days = np.asarray(dates(values).dropna(), np.float64)
        first, last = (np.datetime64(int(np.floor(day)), "D") for day in (days.min(), days.max()))
        return f"dates, {first} to {last}{lacking}"
    if what in ("number", "flag"):
        return f"{what}, {float(values.min()):g} to {float(values.max()):g}{lacking}"
    common = [str(value) for value in values.value_counts().index[:4]]
    more = ", ..." if values.nunique() > len(common) else ""
    return f"{what}, {values.nunique()} different: {', '.join(common)}{more}{lacking}"


def _notes(table: Any, rest: Any, owner: str | None, labels: Labels | None, counts: Any) -> list[str]:
    notes = []
    rare = [code for code, count in enumerate(counts) if 0 < count < RARE]
    if rare and labels is not None:
        names = ", ".join(f"{labels.names[code] if labels.names else code} ({counts[code]})" for code in rare[:8])
        notes.append(f"Classes with fewer than {RARE} records: {names}. An attack says little about them.")
    twice = int(table.duplicated(keep=False).sum())
    if twice:
        notes.append(
            f"{twice:,} records have an equal among the others: whether one of them was a member says nothing about it "
            "alone."
        )
    if owner is not None:
        users = int(rest[owner].nunique())
        notes.append(
            f"Column {owner!r} says whose record it is: {users:,} users with {len(rest) / users:.1f} records each on "
            "average. This plan is about single records; all records of a user together reveal more."
        )
    return notes
