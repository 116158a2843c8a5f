"""A data set by name or from a file: NPZ, CSV or Parquet."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.data.dataset import Dataset, Task
from dpaudit.runtime import check
from dpaudit.runtime import plugins as registry
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import read_npz

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".npz", ".parquet")


def load(
    source: str,
    *,
    task: Task = "multiclass",
    label: str = "label",
    user: str | None = None,
    groups: Sequence[str] = (),
) -> Dataset:
    """A data set.

    Args:
        source: a registered name such as ``digits``, or a path. NPZ files hold ``features``, ``labels`` and perhaps
            ``users``; tables hold one numeric column per feature.
        task: what is predicted, for files.
        label: column of the labels, for tables.
        user: column (of an NPZ file: array) that says whose record it is.
        groups: columns (of an NPZ file: arrays) that the records are to be sliced by. A column of numbers stays a
            feature as well; one of words is none.

    Raises:
        InputError: unknown name, missing or unreadable file, a missing column, values that are not numbers.

    >>> load("digits").name
    'digits'
    """
    path = Path(source)
    if path.suffix not in SUFFIXES:
        if path.suffix or "/" in source:
            raise InputError(f"data source {source!r} must end in {', '.join(SUFFIXES)} or be a known name.")
        dataset = registry.resolve("datasets", source)()
        assert isinstance(dataset, Dataset)
        missing = [by for by in groups if by not in dataset.groups]
        if missing:
            raise InputError(f"{source} has no column {missing[0]!r}; it has {_listed(dataset.groups)}.")
        return replace(dataset, groups={by: dataset.groups[by] for by in groups})
    if path.suffix == ".npz":
        return _from_npz(path, task, user, groups)
    if path.suffix == ".parquet":
        return from_parquet(path, task, label, user, groups)
    return _from_table(path, task, label, user, groups)


def read_table(path: Path) -> "pd.DataFrame":
    """A CSV or Parquet file.

    Raises:
        InputError: it is missing, empty or unreadable.
    """
    import pandas as pd

    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        # Read here: pandas (2.3) takes a Ctrl-C that comes while it reads for a broken file.
        return pd.read_csv(BytesIO(path.read_bytes()))
    except FileNotFoundError as error:
        raise InputError(f"cannot read {path}: no such file.") from error
    except (OSError, ValueError, OverflowError, pd.errors.ParserError) as error:
        raise InputError(f"cannot read {path}: {str(error).splitlines()[0]}.") from error


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


def _from_npz(path: Path, task: Task, user: str | None, groups: Sequence[str]) -> Dataset:
    arrays = read_npz(path)
    for needed in ("features", "labels", *groups, *([] if user is None else [user])):
        if needed not in arrays:
            raise InputError(f"{path} has no array {needed!r}; it has {_listed(arrays)}.")
    sliced_by = {by: arrays[by] for by in groups}
    return Dataset(path.stem, arrays["features"], arrays["labels"], task, arrays.get(user or "users"), groups=sliced_by)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _from_table(path: Path, task: Task, label: str, user: str | None, groups: Sequence[str]) -> Dataset:
    from pandas.api.types import is_numeric_dtype

    table = read_table(path)
    labels = column(table, label, path).to_numpy()
    users = None if user is None else column(table, user, path).to_numpy()
    sliced_by = {by: column(table, by, path).to_numpy() for by in groups}
    words = [by for by, values in sliced_by.items() if not is_numeric_dtype(values.dtype)]
    features = table.drop(columns=list({name for name in (label, user, *words) if name is not None}))
    for name in features.columns:
        if not is_numeric_dtype(features[name]):
            raise InputError(f"column {name!r} of {path} holds {features[name].dtype}; features must be numbers.")
    if features.shape[1] == 0:
        raise InputError(f"{path} has no feature columns beside {label!r}.")
    return Dataset(path.stem, features.to_numpy(np.float64), labels, task, users, groups=sliced_by)


def from_parquet(
    path: Path, task: Task, label: str, user: str | None, groups: Sequence[str], *, batch: int = 65_536
) -> Dataset:
    """A Parquet file, read in batches of ``batch`` rows: beside the records themselves, one batch is in memory."""
    from pandas.api.types import is_numeric_dtype
    from pyarrow import types
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            schema = file.schema_arrow
            index = (schema.pandas_metadata or {}).get("index_columns", [])
            names = [name for name in schema.names if name not in index]
            beside = [name for name in dict.fromkeys((label, user, *groups)) if name is not None]
            for name in beside:
                _require_column(names, name, path)
            table = file.read(columns=beside).to_pandas()
            sliced_by = {by: table[by].to_numpy() for by in groups}
            words = [by for by, values in sliced_by.items() if not is_numeric_dtype(values.dtype)]
            columns = [name for name in names if name not in (label, user, *words)]
            for name in columns:
                kind = schema.field(name).type
                if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
                    raise InputError(f"column {name!r} of {path} holds {kind}; features must be numbers.")
            if not columns:
                raise InputError(f"{path} has no feature columns beside {label!r}.")
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
        raise InputError(f"cannot read {path}: {str(error).splitlines()[0]}.") from error
    labels, users = table[label].to_numpy(), None if user is None else table[user].to_numpy()
    return Dataset(path.stem, features, labels, task, users, groups=sliced_by)
