"""A model's outputs and their labels, put in the order of the classes by the names of the columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.data.class_columns import class_columns, sums_to_one
from dpaudit.data.dataset import Task
from dpaudit.data.labels import canonical, class_labels, one_column
from dpaudit.data.table_columns import named, problems, refuse_other_columns, without_index
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError

LEAVE_OUT = "leave it out (--drop), or name it with --user or --slice"


@dataclass(frozen=True)
class Predictions:
    """Outputs, shape (records, ...), with labels that number their columns.

    Args:
        outputs: of the model.
        labels: the truth, shape (records, ...).
        classes: what each class is called, where its number does not say it.
        notes: what was done, in sentences.
    """

    outputs: FloatArray
    labels: npt.NDArray[np.generic]
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def class_of_each(self) -> dict[str, npt.NDArray[np.generic]]:
        """The name of each record's class under ``class``; nothing where the numbers are the names."""
        return {"class": np.asarray(self.classes)[self.labels.astype(np.int64)]} if self.classes else {}


def joined(parts: Sequence[tuple[object, object]], wheres: Sequence[str]) -> tuple[Any, Any, tuple[str, ...]]:
    """Outputs and labels of several parts in one, tables with their columns in the order of the first; notes.

    Raises:
        InputError: the parts have different columns, or one has names and another has none.

    >>> import pandas as pd
    >>> one, two = pd.DataFrame({"0": [0.9], "1": [0.1]}), pd.DataFrame({"1": [0.2], "0": [0.8]})
    >>> joined([(one, [0]), (two, [0])], ["in", "out"])[0].to_numpy().tolist()
    [[0.9, 0.1], [0.8, 0.2]]
    """
    import pandas as pd

    tables = [_is_table(outputs) for outputs, _ in parts]
    labels = np.concatenate([_flat(labels) for _, labels in parts])
    if not any(tables):
        shapes = [np.shape(outputs)[1:] for outputs, _ in parts]  # type: ignore[arg-type]  # anything has a shape
        if len(set(shapes)) > 1:
            raise InputError(f"outputs of {' and '.join(wheres)} must have the same shape, got {shapes}.")
        return np.concatenate([np.asarray(outputs, np.float64) for outputs, _ in parts]), labels, ()
    if not all(tables):
        raise InputError(f"give outputs of {' and '.join(wheres)} all as tables with names, or all as arrays.")
    plain = [without_index(outputs, where) for (outputs, _), where in zip(parts, wheres, strict=True)]
    first = plain[0].table
    for other, where in zip(plain[1:], wheres[1:], strict=True):
        refuse_other_columns([str(n) for n in first.columns], [str(n) for n in other.table.columns], wheres[0], where)
    found = [part.table.set_axis([str(name) for name in part.table.columns], axis=1) for part in plain]
    table = pd.concat([part[list(found[0].columns)] for part in found], ignore_index=True)
    return table, labels, tuple(note for part in plain for note in part.notes)


def by_class(outputs: object, labels: object, *, task: Task, kind: str) -> Predictions:
    """Outputs in the order of the classes, and labels as places in it.

    The columns of a table are classes by their names (`class_columns`); those of an array are classes 0, 1, ... and
    words as labels are then classes in sorted order, of which there must be as many.

    Args:
        outputs: an array, or a data frame.
        labels: one for each record, in any form that `class_labels` takes; for other tasks than classes, numbers.
        task: what the model predicts.
        kind: ``logits`` or ``probabilities``.

    Raises:
        InputError: a column that is no class, a label without a column, one column for several classes.

    >>> import pandas as pd
    >>> table = pd.DataFrame({"p_dog": [0.9], "p_cat": [0.1]})
    >>> found = by_class(table, ["cat"], task="multiclass", kind="probabilities")
    >>> found.outputs.tolist(), found.labels.tolist(), found.classes
    ([[0.1, 0.9]], [0], ('cat', 'dog'))
    """
    table: Any = outputs if _is_table(outputs) else None
    notes: tuple[str, ...] = ()
    if table is not None:
        plain = without_index(table, "outputs")
        table, notes = plain.table.set_axis([str(name) for name in plain.table.columns], axis=1), plain.notes
        wrong = problems(table, table.columns)
        if wrong or table.shape[1] == 0:
            raise InputError(f"these columns are no outputs of a model: {'; '.join(wrong)}; {LEAVE_OUT}.")
    array: FloatArray = np.asarray(outputs if table is None else table.to_numpy(np.float64))
    if task not in ("multiclass", "binary"):
        return Predictions(array, np.asarray(labels), notes=notes)
    one = array.ndim == 1 or array.shape[1] == 1
    if task == "multiclass" and one:
        raise InputError(
            "outputs of a multi-class model must be (records, classes), got one column: say task 'binary' or "
            "'regression' (--task); binary is the probability or logit of the second of two classes."
        )
    if task == "multiclass" and table is not None:
        return _named(table, labels, kind, notes)
    found = class_labels("labels", labels, classes=2 if task == "binary" else None, length=len(array))
    if task == "binary":
        if not one:
            raise InputError(
                f"outputs of a binary task must be one column, got {array.shape[1]}; with a column for each class "
                "leave --task out."
            )
        if table is not None:
            _refuse_first_class(str(table.columns[0]), found.names)
    elif found.names and len(found.names) != array.shape[1]:
        raise InputError(
            f"outputs have {array.shape[1]} columns without names and labels are {named(found.names)}: which column is "
            "which class is not known; name the columns, or number the labels."
        )
    return Predictions(array, found.codes, found.names, (*notes, *filter(None, [found.mapping])))


def in_order_of_labels(table: Any, labels: Sequence[str], where: object) -> Any:
    """Outputs of a multilabel model, a column for each label, in the order of the labels by the columns' names.

    Raises:
        InputError: a label without a column, a column that is no label.

    >>> import pandas as pd
    >>> list(in_order_of_labels(pd.DataFrame({"p_dog": [0.5], "p_cat": [0.1]}), ["cat", "dog"], "p.csv").columns)
    ['cat', 'dog']
    """
    plain = without_index(table, where).table
    found = class_columns([str(name) for name in plain.columns], [canonical(label) for label in labels])
    column_of = dict(zip(found.classes, found.columns, strict=True))
    wanted = [canonical(label) for label in labels]
    strangers = [*found.strangers, *(column for name, column in column_of.items() if name not in wanted)]
    if strangers:
        raise InputError(f"{where}: {named(strangers)} are outputs of no label ({named(labels)}): {LEAVE_OUT}.")
    return plain[[column_of[name] for name in wanted]].set_axis(list(labels), axis=1)


def _named(table: Any, labels: object, kind: str, notes: tuple[str, ...]) -> Predictions:
    texts = _texts(labels, len(table))
    truth, place = np.unique(texts, return_inverse=True)
    found = class_columns(list(table.columns), truth.tolist())
    classes, columns, strangers = found.classes, found.columns, found.strangers
    values = table[list(columns)].to_numpy(np.float64)
    words = not all(name.lstrip("-").isdigit() for name in truth)
    everything = table.to_numpy(np.float64)
    if strangers and words and kind == "probabilities" and sums_to_one(everything) and not sums_to_one(values):
        # Classes without a record: the rows do not sum to one without them.
        by_name = {**dict(zip(classes, columns, strict=True)), **{name: name for name in strangers}}
        classes, strangers = tuple(sorted(by_name)), ()
        columns = tuple(by_name[name] for name in classes)
        values = table[list(columns)].to_numpy(np.float64)
    if strangers:
        some = ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
        which = f"column {strangers[0]!r} is" if len(strangers) == 1 else f"columns {named(strangers)} are"
        raise InputError(f"{which} named like no class (classes: {some}): {LEAVE_OUT}.")
    codes = np.array([classes.index(name) for name in truth], np.int64)[place.reshape(-1)]
    if classes == tuple(str(number) for number in range(len(classes))):
        if list(columns) != list(table.columns):
            notes = (*notes, f"Columns are classes by their names, in the order {named(columns)}.")
        return Predictions(values, codes, notes=notes)
    pairs = ", ".join(f"{name} is {column!r}" for name, column in list(zip(classes, columns, strict=True))[:20])
    return Predictions(values, codes, classes, (*notes, f"Columns are classes by their names: {pairs}."))


def _texts(labels: object, records: int) -> npt.NDArray[np.str_]:
    array = _flat(labels)
    if array.ndim == 2:
        array = one_column("labels", array)
    if array.shape != (records,):
        raise InputError(f"labels must have {records} values, got shape {array.shape}.")
    if array.dtype.kind in "fOUS":
        class_labels("labels", array)  # refuses gaps and fractions
    different, place = np.unique(array.astype(str), return_inverse=True)
    names: npt.NDArray[np.str_] = np.array([canonical(value) for value in different], np.str_)
    return np.asarray(names[place.reshape(-1)], np.str_)


def _refuse_first_class(column: str, names: Sequence[str]) -> None:
    first, second = names if len(names) == 2 else ("0", "1")
    try:
        read = class_columns([column], [canonical(first)])
    except InputError:
        return  # named like nothing, as `score` or `probability` is
    raise InputError(
        f"column {read.columns[0]!r} is named like class {first}; a binary task needs the output for class {second}."
    )


def _is_table(outputs: object) -> bool:
    return hasattr(outputs, "columns") and hasattr(outputs, "iloc")


def _flat(labels: object) -> Any:
    array = np.asarray(labels)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
