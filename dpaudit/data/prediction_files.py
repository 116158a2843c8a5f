"""Predictions of a model, and the records behind them, from files."""

from pathlib import Path
from typing import Any

import numpy as np

from dpaudit.data.load import ColumnRoles, column, labels_of, read_table, table_kind
from dpaudit.data.predictions import LEAVE_OUT, in_order_of_labels
from dpaudit.data.table_columns import named, problems, same_columns, without_index
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import read_npz


def read_predictions(
    file: Path, label: str | list[str] | None, beside: list[str], drop: list[str]
) -> tuple[tuple[Any, Any], dict[str, Any]]:
    """Outputs and labels of a file, and columns beside them, which are no outputs.

    Raises:
        InputError: columns that are missing, or that are no outputs; all of a file in one message.
    """
    import pandas as pd

    if table_kind(file) == ".npz":
        arrays = read_npz(file)
        if isinstance(label, list):
            raise InputError(f"{file}: an NPZ file has all labels in one array: give its name once.")
        for name in ("outputs", label or "labels", *beside):
            if name not in arrays:
                raise InputError(f"{file} has no array {name!r}; it has {', '.join(sorted(arrays)) or 'none'}.")
        outputs: Any = arrays["outputs"]
        if "classes" in arrays:  # what its columns are
            if outputs.ndim != 2 or arrays["classes"].shape != outputs.shape[1:]:
                raise InputError(f"{file}: classes must name the {outputs.shape[1:]} columns of outputs.")
            outputs = pd.DataFrame(outputs, columns=arrays["classes"].astype(str))
        return (outputs, arrays[label or "labels"]), {by: arrays[by] for by in beside}
    table = read_table(file)
    if label is None and "label" not in table.columns:
        raise InputError(f"{file} has no column 'label'; it has {named(table.columns)}: name it with --label COLUMN.")
    roles = ColumnRoles(label or "label")
    for name in roles.labels:
        column(table, name, file)
    columns = {by: column(table, by, file).to_numpy() for by in beside}
    left_out = {*roles.labels, *columns, *(str(column(table, by, file).name) for by in drop)}
    plain = without_index(table.drop(columns=list(left_out)), file)
    found = problems(plain.table, plain.table.columns)
    for name in roles.labels:
        lacking = int(table[name].isna().sum())
        if lacking:
            found.append(f"{name!r}, the label, lacks {lacking} of {len(table)} values")
    if found:
        raise InputError(f"{file}: no outputs of a model: {'; '.join(found)}; {LEAVE_OUT}.")
    if isinstance(label, list):
        outputs = in_order_of_labels(plain.table, label, file)
        return (outputs, labels_of(table, file, "multilabel", roles)), columns
    # The index stays for those who say that it was left out.
    return (table.drop(columns=list(left_out)), table[roles.labels[0]].to_numpy()), columns


def read_features(members: Path, nonmembers: Path) -> Any:
    """The records behind predictions, members first: one array, or one table with whatever columns it has."""
    import pandas as pd

    parts: list[Any] = []
    for file in (members, nonmembers):
        if table_kind(file) != ".npz":
            parts.append(read_table(file))
            continue
        arrays = read_npz(file)
        if "features" not in arrays:
            raise InputError(f"{file} has no array 'features'; it has {', '.join(sorted(arrays)) or 'none'}.")
        parts.append(arrays["features"])
    if all(isinstance(part, pd.DataFrame) for part in parts):
        tables = [without_index(part, file).table for part, file in zip(parts, (members, nonmembers), strict=True)]
        return pd.concat(same_columns(tables, (members, nonmembers)), ignore_index=True)
    shapes = [np.shape(part)[1:] for part in parts]
    if shapes[0] != shapes[1]:
        raise InputError(f"{members} and {nonmembers} must hold records of the same shape, got {shapes}.")
    return np.concatenate([np.asarray(part) for part in parts])
