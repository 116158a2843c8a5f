"""Columns of predictions by name: which column is which class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpaudit.data.labels import canonical, ordered
from dpaudit.runtime.errors import InputError


@dataclass(frozen=True)
class ClassColumns:
    """Classes in order, the column of each, and the columns that are no class."""

    classes: tuple[str, ...]
    columns: tuple[str, ...]
    strangers: tuple[str, ...]


def class_columns(names: Sequence[str], labels: Sequence[str]) -> ClassColumns:
    """Columns named like classes: ``1``, ``class_1``, ``p_cat``, ``P(y=cat)``: one beginning and one end for all.

    Beside classes that numbers name, a column is a class when a number names it; beside words, when the columns of the
    labels have a beginning or an end in common with it.

    Args:
        names: of the columns, in any order.
        labels: every label there is, as `canonical` writes them.

    Raises:
        InputError: no columns are named like all labels, or two readings are possible.

    >>> class_columns(["p_10", "p_2", "user_id"], ["2"])
    ClassColumns(classes=('2', '10'), columns=('p_2', 'p_10'), strangers=('user_id',))
    >>> class_columns(["no", "yes"], ["0", "1"])
    Traceback (most recent call last):
    ...
    dpaudit.runtime.errors.InputError: columns 'no', 'yes' are not named like the labels 0, 1: name each column like \
its class (p_0, ...), or write the labels as the columns are called.
    """
    wanted = sorted(set(labels), key=len)
    found: list[ClassColumns] = []
    if wanted:
        for before, after in sorted({affix for name in names for affix in _around(name, wanted[-1])}):
            reading = _read(names, set(wanted), before, after)
            if reading is not None:
                found.append(reading)
    if not found:
        first, *_ = shown = ordered(wanted)[:8] or ["0"]
        raise InputError(
            f"columns {_listed(names)} are not named like the labels {', '.join(shown)}: name each column like its "
            f"class (p_{first}, ...), or write the labels as the columns are called."
        )
    fewest = min(len(reading.strangers) for reading in found)
    best = {reading for reading in found if len(reading.strangers) == fewest}
    if len(best) > 1:
        raise InputError(
            f"columns {_listed(names)} can be read as classes in {len(best)} ways: name each like its class alone."
        )
    return best.pop()


def _around(name: str, label: str) -> set[tuple[str, str]]:
    """What stands before and after a label in a name, where the label is a word or number of its own."""
    places = range(len(name))
    return {
        (name[:start], name[stop:])
        for start in places
        for stop in range(start + 1, len(name) + 1)
        if stop - start <= len(label) + 4
        and canonical(name[start:stop]) == label
        and not _joined(name[:start], name[start:stop])
        and not _joined(name[start:stop], name[stop:])
    }


def _joined(one: str, two: str) -> bool:
    """Whether two pieces of a name are one word or one number."""
    if not one or not two:
        return False
    point = one[-1] == "." and one[-2:-1].isdigit() and two[0].isdigit()
    other = two[0] == "." and two[1:2].isdigit() and one[-1].isdigit()
    return point or other or (one[-1].isdigit() and two[0].isdigit()) or (one[-1].isalpha() and two[0].isalpha())


def _read(names: Sequence[str], labels: set[str], before: str, after: str) -> ClassColumns | None:
    numbers = all(_number(label) for label in labels)
    by_class: dict[str, str] = {}
    strangers = []
    for name in names:
        fits = name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after)
        inner = canonical(name[len(before) : len(name) - len(after)]) if fits else ""
        if fits and (inner in labels or (_number(inner) if numbers else bool(before or after))):
            if inner in by_class:
                raise InputError(f"columns {by_class[inner]!r} and {name!r} are both named like class {inner}.")
            by_class[inner] = name
        else:
            strangers.append(name)
    if not labels <= set(by_class):
        return None
    classes = ordered(by_class)
    return ClassColumns(tuple(classes), tuple(by_class[one] for one in classes), tuple(strangers))


def _number(text: str) -> bool:
    return text.lstrip("-").isdigit()


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")


def sums_to_one(rows: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> bool:
    """Whether every row is a distribution.

    >>> sums_to_one(np.array([[0.5, 0.5], [0.2, 0.8]])), sums_to_one(np.array([[0.5, 0.5], [0.2, 2.8]]))
    (True, False)
    """
    return bool(rows.size and rows.min() >= 0 and np.abs(rows.sum(axis=1) - 1).max() < 1e-3)
