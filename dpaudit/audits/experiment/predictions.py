"""Outputs of a model with the ids of the records, from any number of files, in any order."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.audits.experiment.joined import JoinedInclusions, join_inclusions
from dpaudit.audits.experiment.sealed import Experiment
from dpaudit.data.formats.record_file import as_words
from dpaudit.data.load import SUFFIXES, read_table
from dpaudit.data.table_columns import refuse_other_columns, without_index
from dpaudit.runtime.check import nearest
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import read_npz

LOSS, SCORE = "loss", "score"
OUTPUTS, CLASSES = "outputs", "classes"


@dataclass(frozen=True)
class JoinedPredictions:
    """What a model gave for the audited records, in the order of the experiment.

    Args:
        joined: who was included.
        outputs: a data frame with columns named like the classes, or an array, shape (records, ...).
        scores: ``loss`` or ``score`` where the outputs are that, one for each record; None otherwise.
        labels: of each record; None where neither the predictions nor the experiment have any.
        columns: further columns that were asked for, by name.
        name: of the file, where it is one.
        notes: what was done, in sentences.
    """

    joined: JoinedInclusions
    outputs: Any
    scores: str | None
    labels: npt.NDArray[Any] | None
    columns: dict[str, npt.NDArray[Any]]
    name: str
    notes: tuple[str, ...]


def join_predictions(
    experiment: Experiment,
    predictions: object,
    *,
    label: str | None = None,
    beside: Sequence[str] = (),
    drop: Sequence[str] = (),
) -> JoinedPredictions:
    """Read predictions and find the audited records in them.

    Args:
        experiment: as read.
        predictions: a file (CSV, Parquet, NPZ), several, or a data frame. Tables have the column of ids, a column for
            each class, or one column ``loss`` or ``score``; NPZ files have arrays ``outputs``, the ids and perhaps
            ``classes``.
        label: column of labels in them; None is that of the experiment, where they have it.
        beside: further columns, which are no outputs.
        drop: columns to leave out.

    Raises:
        InputError: no ids, columns that are missing, or what `join_inclusions` refuses.
    """
    given = [predictions] if isinstance(predictions, str | Path) or hasattr(predictions, "columns") else predictions
    parts: list[Any] = list(given)  # type: ignore[call-overload]  # a sequence by now
    if not parts:
        raise InputError("give predictions: a file, several, or a data frame.")
    named = [str(part) if isinstance(part, str | Path) else "predictions" for part in parts]
    tables = [_table(part, experiment.manifest.id) if isinstance(part, str | Path) else part for part in parts]
    table = _below(tables, named)
    where = " and ".join(named)
    known = experiment.manifest
    ids = as_words(_column(table, known.id, where, "the ids"), f"{where}: column {known.id!r}, the ids,")
    joined = join_inclusions(experiment, ids, where)
    kept = table.iloc[joined.rows].reset_index(drop=True)
    said = label or next((name for name in (known.label, "label") if name in kept.columns), None)
    labels = joined.labels if said is None else np.asarray(_column(kept, said, where, "the labels"))
    columns = {name: np.asarray(_column(kept, name, where, "")) for name in beside}
    gone = {known.id, *columns, *([known.user] if known.user in kept.columns else [])}
    gone |= {name for name in (said, known.label) if name in kept.columns}
    gone |= {str(_column(kept, name, where, "").name) for name in drop}
    plain = without_index(kept.drop(columns=sorted(map(str, gone))), where)
    names = [str(name) for name in plain.table.columns]
    notes = list(plain.notes)
    if joined.others:
        notes.append(f"{joined.others} rows of {where} are no canaries and were left out.")
    scores = names[0].lower() if len(names) == 1 and names[0].lower() in (LOSS, SCORE) else None
    if not names:
        raise InputError(f"{where} holds no outputs beside {', '.join(sorted(map(repr, gone)))}.")
    name = Path(parts[0]).stem if len(parts) == 1 and isinstance(parts[0], str | Path) else ""
    return JoinedPredictions(joined, _outputs(plain.table, names), scores, labels, columns, name, tuple(notes))


def _below(tables: Sequence[Any], wheres: Sequence[str]) -> Any:
    """Tables one below the other, columns by name."""
    import pandas as pd

    first = [str(name) for name in tables[0].columns]
    for table, where in zip(tables[1:], wheres[1:], strict=True):
        refuse_other_columns(first, [str(name) for name in table.columns], wheres[0], where)
    return pd.concat([table.set_axis(map(str, table.columns), axis=1) for table in tables], ignore_index=True)


def _table(source: str | Path, identifier: str) -> Any:
    import pandas as pd

    path = Path(source)
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path} must end in {', '.join(SUFFIXES)}.")
    if path.suffix != ".npz":
        table = read_table(path)
        if path.suffix == ".csv" and identifier in table.columns:
            # Ids as they are written: 007 is a number to pandas.
            table[identifier] = read_table(path, as_written=True)[identifier]
        return table
    arrays = read_npz(path)
    for name in (OUTPUTS, identifier):
        if name not in arrays:
            listed = ", ".join(sorted(arrays)) or "none"
            raise InputError(f"{path} has no array {name!r}; it has {listed}.{nearest(name, arrays)}")
    outputs = arrays.pop(OUTPUTS)
    classes = arrays.pop(CLASSES, None)
    flat = outputs.reshape(len(outputs), -1)
    names = [f"{NUMBER}{at}" for at in range(flat.shape[1])] if classes is None else classes.astype(str).tolist()
    if len(names) != flat.shape[1]:
        raise InputError(f"{path}: classes must name the {flat.shape[1]} columns of outputs, got {len(names)}.")
    wide = [name for name, array in arrays.items() if array.ndim != 1]
    if wide:
        raise InputError(
            f"{path}: array {wide[0]!r} has shape {arrays[wide[0]].shape}; beside outputs there is one value a record."
        )
    lengths = {name: len(array) for name, array in arrays.items() if len(array) != len(flat)}
    if lengths:
        raise InputError(f"{path}: array {next(iter(lengths))!r} must have {len(flat)} entries, as outputs have.")
    return pd.DataFrame({**arrays, **{name: flat[:, at] for at, name in enumerate(names)}})


NUMBER = "output "  # of a column of an array, which has a place and no name


def _outputs(table: Any, names: Sequence[str]) -> Any:
    """A data frame where columns have names, an array where they have places."""
    if all(name.startswith(NUMBER) for name in names):
        return table.to_numpy(np.float64)
    return table


def _column(table: Any, name: str, where: str, what: str) -> Any:
    names = [str(known) for known in table.columns]
    if name not in names:
        raise InputError(
            f"{where} has no column {name!r}{f' with {what}' if what else ''}; it has {', '.join(names)}."
            f"{nearest(name, names)}"
        )
    return table[name]
