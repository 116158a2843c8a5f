"""A data set by name or from a file: NPZ, CSV or Parquet."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dpaudit.data.csv_file import column_names, file_kind, read_csv
from dpaudit.data.dataset import Dataset, Task
from dpaudit.data.encode import encoded
from dpaudit.data.labels import Labels, class_labels
from dpaudit.data.table_columns import ENCODE, INDEX, UNNAMED, kind, named, problems, without_index
from dpaudit.runtime import check
from dpaudit.runtime import plugins as registry
from dpaudit.runtime.errors import InputError, one_line
from dpaudit.runtime.files import read_npz

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".npz", ".parquet")
LABEL = "label"  # column of the labels where none is named; an NPZ file has "labels" then
Encode = Literal["none", "auto"]


@dataclass(frozen=True)
class ColumnRoles:
    """What the columns of a table are for.

    Args:
        label: the labels; several columns for task ``multilabel``, of 0 and 1, or ``regression``.
        user: says whose record it is; of an NPZ file the array.
        groups: the records are to be sliced by these; of an NPZ file arrays. A column of numbers stays a feature as
            well; one of words is none, unless it is encoded.
        drop: columns that are no features.
        features: the features; empty for every other column.
        encode: ``auto`` makes numbers of words, dates and gaps (`encoded`), and scales the label of a regression to
            mean 0 and deviation 1; ``none`` leaves them, and refuses what is no number.
    """

    label: str | Sequence[str] = LABEL
    user: str | None = None
    groups: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    encode: Encode = "none"

    @property
    def labels(self) -> tuple[str, ...]:
        """Columns of the labels."""
        return (self.label,) if isinstance(self.label, str) else tuple(self.label)


def load(
    source: str,
    *,
    task: Task = "multiclass",
    label: str | Sequence[str] = LABEL,
    user: str | None = None,
    groups: Sequence[str] = (),
    drop: Sequence[str] = (),
    features: Sequence[str] = (),
    encode: Encode = "none",
) -> Dataset:
    """A data set.

    Args:
        source: a registered name such as ``digits``, or a path. NPZ files hold ``features``, ``labels`` and perhaps
            ``users``; tables hold one column per feature. An index without a name is left out.
        task: what is predicted, for files.
        label: column of the labels, columns where each record has several; of an NPZ file an array, ``labels`` where it
            is not stated.
        user: column (of an NPZ file: array) that says whose record it is.
        groups: as in `ColumnRoles`; so are ``drop``, ``features`` and ``encode``, which are for tables.

    Raises:
        InputError: unknown name, missing or unreadable file, a missing column, values that are not numbers: all that
            is wrong with the columns of a file in one message.

    >>> load("digits").name
    'digits'
    """
    path = Path(source)
    what = ColumnRoles(
        label if isinstance(label, str) else tuple(label), user, tuple(groups), tuple(drop), tuple(features), encode
    )
    suffix = file_kind(path)
    if suffix not in (".csv", ".parquet") and (drop or features or encode != "none"):
        raise InputError(f"drop, features and encode are for tables, CSV or Parquet; {source} is none.")
    if suffix not in SUFFIXES:
        if suffix or "/" in source:
            raise InputError(
                f"data source {source!r} must end in {', '.join(SUFFIXES)} or be a known name.{_how(suffix)}"
            )
        dataset = registry.resolve("datasets", source)()
        assert isinstance(dataset, Dataset)
        missing = [by for by in groups if by not in dataset.groups]
        if missing:
            raise InputError(f"{source} has no column {missing[0]!r}; it has {_listed(dataset.groups)}.")
        return replace(dataset, groups={by: dataset.groups[by] for by in groups})
    if suffix == ".npz":
        return _from_npz(path, task, what)
    if suffix == ".parquet" and encode == "none":
        return from_parquet(path, task, what)
    return _from_table(path, task, what)


def table_kind(path: Path) -> str:
    """``.csv``, ``.npz`` or ``.parquet``.

    Raises:
        InputError: the file is none of them; the message says how to make one of what it seems to be.
    """
    suffix = file_kind(path)
    if suffix not in SUFFIXES:
        raise InputError(f"{path} must end in {', '.join(SUFFIXES)}.{_how(suffix)}")
    return suffix


def _how(suffix: str) -> str:
    """How a file of another kind becomes one that is read."""
    ways = {
        ".xlsx": "pandas.read_excel(file).to_csv('table.csv', index=False)",
        ".xls": "pandas.read_excel(file).to_csv('table.csv', index=False)",
        ".tsv": "pandas.read_csv(file, sep='\\t').to_csv('table.csv', index=False)",
        ".json": "pandas.read_json(file).to_csv('table.csv', index=False)",
        ".jsonl": "pandas.read_json(file, lines=True).to_csv('table.csv', index=False)",
        ".feather": "pandas.read_feather(file).to_parquet('table.parquet')",
        ".npy": "numpy.savez('data.npz', features=numpy.load(file), labels=labels)",
        ".gz": "gunzip (only .csv.gz is read as it is)",
        ".zip": "unzip",
    }
    return f" Make one with {ways[suffix]}." if suffix in ways else ""


def read_table(path: Path, *, as_written: bool = False) -> "pd.DataFrame":
    """A CSV or Parquet file.

    Args:
        path: of the file.
        as_written: leave every cell of a CSV file the text it is, so that it can be written again unchanged.

    Raises:
        InputError: it is missing, empty or unreadable, or two columns have one name.
    """
    import pandas as pd

    try:
        if file_kind(path) == ".parquet":
            return pd.read_parquet(path)
        return read_csv(path, as_written=as_written)
    except FileNotFoundError as error:
        raise InputError(f"cannot read {path}: no such file.") from error
    except InputError:
        raise
    except (OSError, ValueError, OverflowError, pd.errors.ParserError) as error:
        raise InputError(f"cannot read {path}: {one_line(error).rstrip('.')}.") from error


def has_column(path: Path, name: str) -> bool:
    """Whether a table has a column, or an NPZ file an array; only its head is read.

    Raises:
        InputError: it is missing or unreadable.
    """
    import pandas as pd
    from pyarrow.parquet import read_schema

    if file_kind(path) == ".npz":
        return name in read_npz(path)
    try:
        names = read_schema(path).names if file_kind(path) == ".parquet" else column_names(path)
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise InputError(f"cannot read {path}: {one_line(error)}.") from error
    return name in names


def column(table: "pd.DataFrame", name: str, where: object) -> "pd.Series":
    """A column of a table.

    Raises:
        InputError: there is none of that name; the message offers the nearest.
    """
    _require_column([str(known) for known in table.columns], name, where)
    return table[name]


def _require_column(names: Sequence[str], name: str, where: object) -> None:
    if name not in names:
        raise InputError(f"{where} has no column {name!r}; it has {', '.join(names)}.{check.nearest(name, names)}")


def _from_npz(path: Path, task: Task, what: ColumnRoles) -> Dataset:
    arrays = read_npz(path)
    if not isinstance(what.label, str):
        raise InputError(f"{path}: an NPZ file has all labels in one array: give its name once.")
    labels = "labels" if what.label == LABEL else what.label
    for needed in ("features", labels, *what.groups, *([] if what.user is None else [what.user])):
        if needed not in arrays:
            raise InputError(
                f"{path} has no array {needed!r}; it has {_listed(arrays)}.{check.nearest(needed, arrays)}"
            )
    sliced_by = {by: arrays[by] for by in what.groups}
    users = arrays.get(what.user or "users")
    return Dataset(path.stem, arrays["features"], arrays[labels], task, users, groups=sliced_by)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _from_table(path: Path, task: Task, what: ColumnRoles) -> Dataset:
    said = (*what.labels, what.user, *what.groups, *what.drop, *what.features)
    plain = without_index(read_table(path), path, said)
    table = plain.table
    chosen = _chosen(path, [str(name) for name in table.columns], what)
    words = {by for by in what.groups if kind(table[by]) != "numbers"} if what.encode == "none" else set()
    names = [name for name in chosen if name not in words]
    _require_features(path, names, what)
    if what.encode == "auto":
        made = encoded(table[names], path)
        features, names, notes = made.features, list(made.names), (*plain.notes, *made.steps)
    else:
        _refuse(path, problems(table, names), labels_of(table, path, task, what), task, names, what)
        features, notes = table[names].to_numpy(np.float64), plain.notes
    return _dataset(path, task, what, table, features, names, notes)


def _dataset(
    path: Path,
    task: Task,
    what: ColumnRoles,
    table: "pd.DataFrame",
    features: Any,
    names: list[str],
    notes: Sequence[str],
) -> Dataset:
    labels = labels_of(table, path, task, what)
    found = _label_problem(path, task, labels)
    if isinstance(found, str):
        raise InputError(found)
    if found is not None:
        labels = found.codes
    elif task == "regression" and what.encode == "auto":
        mean, scale = np.mean(labels, axis=0), np.std(labels, axis=0)
        labels = (labels - mean) / np.where(scale > 0, scale, 1.0)
        notes = [
            *notes,
            *(
                f"{name!r}, the label: minus {one:.9g}, divided by {each:.9g}; errors are in this unit"
                for name, one, each in zip(what.labels, np.ravel(mean), np.ravel(scale), strict=True)
            ),
        ]
    return Dataset(
        path.stem,
        features,
        labels,
        task,
        None if what.user is None else table[what.user].to_numpy(),
        groups={by: table[by].to_numpy() for by in what.groups},
        columns=tuple(names),
        class_names=found.names if found is not None else (),
        notes=tuple(notes),
    )


def labels_of(table: "pd.DataFrame", path: Path, task: Task, what: ColumnRoles) -> Any:
    """The labels of a table, shape (records,), or (records, labels) where there are several columns of them.

    Raises:
        InputError: several columns for one class, or labels that must be numbers and are none.
    """
    if len(what.labels) > 1 and task in ("multiclass", "binary"):
        raise InputError(
            f"{path}: {named(what.labels)} are several labels, and the task is {task!r}: for 0 and 1 in each say task "
            "'multilabel', for numbers 'regression' (--task)."
        )
    if task in ("multiclass", "binary"):
        return table[what.labels[0]].to_numpy()
    for name in what.labels:
        wrong = problems(table, [name])
        if kind(table[name]) != "numbers" or table[name].isna().any():
            raise InputError(f"{path}: labels of task {task!r} must be numbers: {wrong[0]}.")
    found = table[list(what.labels)].to_numpy(np.float64)
    return found[:, 0] if isinstance(what.label, str) else found


def _label_problem(path: Path, task: Task, labels: object) -> Labels | str | None:
    """The classes, or what is wrong with them; None where there are none."""
    if task not in ("multiclass", "binary"):
        return None
    try:
        return class_labels(f"labels of {path.stem}", labels, classes=2 if task == "binary" else None)
    except InputError as error:
        return str(error)


def _chosen(path: Path, there: Sequence[str], what: ColumnRoles) -> list[str]:
    """The columns that are features."""
    if what.label == "label" and "label" not in there:
        raise InputError(
            f"{path} has no column 'label'; it has {named(there)}: say which column holds the labels (label in [data], "
            "--label COLUMN; several where each record has several)."
        )
    for name in (*what.labels, what.user, *what.groups, *what.drop, *what.features):
        if name is not None:
            _require_column(there, name, path)
    beside = {*what.labels, what.user, *what.drop}
    both = [name for name in what.features if name in beside]
    if both:
        raise InputError(f"{path}: column {both[0]!r} cannot be a feature and the label, the user or dropped as well.")
    return list(what.features) or [name for name in there if name not in beside]


def _require_features(path: Path, names: Sequence[str], what: ColumnRoles) -> None:
    if not names:
        raise InputError(f"{path} has no feature columns beside {named(what.labels)}.")


def _refuse(path: Path, found: list[str], labels: Any, task: Task, names: Sequence[str], what: ColumnRoles) -> None:
    """One message with all that is wrong with the columns and the labels, and what mends it."""
    if what.features:  # what is named as a feature may count the rows
        found = [each for each in found if not each.endswith("counts the rows, as an index does")]
    if not found:
        return
    wrong = _label_problem(path, task, labels)
    raise InputError(
        f"{path}: features must be numbers: {'; '.join([*found, *([wrong] if isinstance(wrong, str) else [])])}. "
        f"Leave columns out with drop = [...] (--drop) or name the features; {ENCODE}."
    )


def from_parquet(path: Path, task: Task, what: ColumnRoles, *, batch: int = 65_536) -> Dataset:
    """A Parquet file of numbers, read in batches of ``batch`` rows: beside the records, one batch is in memory."""
    from pyarrow import types
    from pyarrow.parquet import ParquetFile

    def number(kind: Any) -> bool:
        return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))

    try:
        with ParquetFile(path) as file:
            schema = file.schema_arrow
            index = [name for name in (schema.pandas_metadata or {}).get("index_columns", []) if isinstance(name, str)]
            there = [name for name in schema.names if name not in index]
            chosen = _chosen(path, there, what)
            beside = list(dict.fromkeys(name for name in (*what.labels, what.user, *what.groups) if name is not None))
            table = file.read(columns=beside).to_pandas()
            names = [name for name in chosen if number(schema.field(name).type) or name not in what.groups]
            # Only columns that may be a problem are looked at whole: a table larger than memory has none.
            doubtful = [
                name
                for name in names
                if not number(schema.field(name).type) or UNNAMED.fullmatch(name) or INDEX.fullmatch(name)
            ]
            plain = without_index(file.read(columns=doubtful).to_pandas(), path, (*what.features, *what.groups))
            names = [name for name in names if name not in doubtful or name in plain.table.columns]
            _require_features(path, names, what)
            found = problems(plain.table, list(plain.table.columns))
            columns = [name for name in names if number(schema.field(name).type)]
            features = np.empty((file.metadata.num_rows, len(columns)), np.float32)
            at = 0
            for part in file.iter_batches(batch, columns=columns):
                for place, name in enumerate(columns):
                    features[at : at + part.num_rows, place] = part.column(name).to_numpy(zero_copy_only=False)
                at += part.num_rows
    except FileNotFoundError as error:
        raise InputError(f"cannot read {path}: no such file.") from error
    except InputError:
        raise
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(f"cannot read {path}: {one_line(error)}.") from error
    for place, name in enumerate(columns):
        if name not in doubtful:
            found += problems({name: _series(features[:, place], schema.field(name).type)}, [name])
    _refuse(path, found, labels_of(table, path, task, what), task, names, what)
    return _dataset(path, task, what, table, features, columns, plain.notes)


def _series(values: Any, kind: Any) -> Any:
    """A column that was read as float32, with the type it has in its file where that is a whole number."""
    import pandas as pd
    from pyarrow import types

    whole = types.is_integer(kind) and np.isfinite(values).all()
    return pd.Series(values.astype(np.int64) if whole else values)
