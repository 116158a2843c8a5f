"""Labels as class numbers from 0: whatever people write for classes, taken where it can only mean one thing."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dpaudit.runtime import check
from dpaudit.runtime.check import IntArray
from dpaudit.runtime.errors import InputError

WHOLE = re.compile(r"[+-]?\d+(\.0*)?")
TRUTH = {"false": "0", "true": "1"}


@dataclass(frozen=True)
class Labels:
    """Class numbers, shape (records,), and what each class is called; no names where the numbers are the classes."""

    codes: IntArray
    names: tuple[str, ...] = ()

    @property
    def mapping(self) -> str:
        """The names in a sentence, empty without any.

        >>> Labels(np.array([1, 0]), ("cat", "dog")).mapping
        'Labels are classes in sorted order: 0 = cat, 1 = dog.'
        """
        if not self.names:
            return ""
        listed = ", ".join(f"{code} = {name}" for code, name in enumerate(self.names[:20]))
        return f"Labels are classes in sorted order: {listed}{', ...' if len(self.names) > 20 else ''}."


def class_labels(name: str, labels: object, *, classes: int | None = None, length: int | None = None) -> Labels:
    """Labels as class numbers.

    Whole numbers from 0 are classes as they stand, also as 1.0, true and false, in a column of shape (records, 1), or
    one-hot. Labels of -1 and 1 are classes 0 and 1. Words are classes in sorted order.

    Args:
        name: of the labels, for messages.
        labels: shape (records,), (records, 1) or one-hot (records, classes).
        classes: how many there are, where that is known.
        length: how many records there are, where that is known.

    Raises:
        InputError: missing labels, fractions, other negative numbers, several labels of one record, a word for almost
            every record, or more classes than there are.

    >>> class_labels("labels", [1.0, 0.0, 1.0]).codes, class_labels("labels", [[0, 1], [1, 0]]).codes
    (array([1, 0, 1]), array([1, 0]))
    >>> class_labels("labels", ["dog", "cat"])
    Labels(codes=array([1, 0]), names=('cat', 'dog'))
    """
    array: Any = np.asarray(labels)
    if array.ndim == 2:
        array = one_column(name, array)
    if array.ndim != 1:
        raise InputError(f"{name} must have 1 dimension, got shape {array.shape}.")
    if length is not None and array.size != length:
        raise InputError(f"{name} must have {length} values, got {array.size}.")
    array = _typed(name, array)
    if array.dtype.kind in "US":
        return _words(name, array.astype(str), classes)
    if array.size and array.dtype.kind in "iu" and array.min() == -1 and np.isin(array, (-1, 1)).all():
        return Labels(check.labels(name, (array + 1) // 2, classes=classes), ("-1", "1"))
    if array.size and array.dtype.kind in "iu" and array.max() >= max(100_000, 10 * array.size):
        raise InputError(
            f"{name} run to {array.max()} in {array.size} records: these are no classes; name the column of the labels."
        )
    try:
        return Labels(check.labels(name, array, classes=classes))
    except InputError as error:
        if array.dtype.kind not in "iu":
            raise
        raise InputError(f"{str(error).rstrip('.')}: number the classes from 0, or write them as words.") from error


def shared_names(parts: Sequence[Labels]) -> tuple[str, ...]:
    """What the classes of all parts together are called, sorted; no names where no part has any.

    >>> shared_names([Labels(np.array([0]), ("dog",)), Labels(np.array([0]), ("cat",))])
    ('cat', 'dog')
    """
    if not any(part.names for part in parts):
        return ()
    return tuple(ordered({word for part in parts for word in _called(part)}))


def recoded(part: Labels, names: Sequence[str]) -> Labels:
    """The same labels as places in other names, which hold all of theirs."""
    if not names:
        return part
    place = {name: at for at, name in enumerate(names)}
    if part.names:
        table = np.array([place[name] for name in part.names], np.int64)
        return Labels(table[part.codes] if part.codes.size else part.codes, tuple(names))
    return Labels(np.array([place[str(code)] for code in part.codes], np.int64), tuple(names))


def canonical(text: object) -> str:
    """One way of writing a class: 1, 1.0, +1 and True are the same, and so are cat and ``cat`` with spaces around.

    >>> [canonical(value) for value in (1.0, "007", True, " cat ", "-1.0")]
    ['1', '7', '1', 'cat', '-1']
    """
    plain = str(text).strip()
    if plain.lower() in TRUTH:
        return TRUTH[plain.lower()]
    return str(int(plain.split(".")[0])) if WHOLE.fullmatch(plain) else plain


def ordered(names: Iterable[str]) -> list[str]:
    """Names of classes in order: numbers by size, otherwise as words.

    >>> ordered(["10", "2", "-1"]), ordered(["b", "a", "10"])
    (['-1', '2', '10'], ['10', 'a', 'b'])
    """
    listed = list(names)
    return sorted(listed, key=int) if all(re.fullmatch(r"-?\d+", name) for name in listed) else sorted(listed)


def _called(part: Labels) -> Iterable[str]:
    return part.names or (str(code) for code in np.unique(part.codes))


def one_column(name: str, array: Any) -> Any:
    """Labels of shape (records, 1), or one-hot ones, in shape (records,).

    Raises:
        InputError: they are neither.

    >>> one_column("labels", np.array([[0, 1], [1, 0]]))
    array([1, 0])
    """
    if array.shape[1] == 1:
        return array[:, 0]
    if array.dtype.kind in "fiub" and np.isin(array, (0, 1)).all() and (array.sum(axis=1) == 1).all():
        return array.argmax(axis=1)
    raise InputError(
        f"{name} of shape {array.shape} are not one label for each record, nor one-hot; for several labels of a record "
        "say task 'multilabel', for numbers 'regression' (--task)."
    )


def _typed(name: str, array: Any) -> Any:
    """Whole numbers or words, of an array of anything."""
    import pandas as pd

    missing = np.asarray(pd.isna(array)) if array.dtype.kind in "Of" else np.zeros(array.size, bool)
    if missing.any():
        raise InputError(
            f"{name} are missing in {int(missing.sum())} of {array.size} records, the first at row "
            f"{int(np.argmax(missing))}: leave these records out."
        )
    if array.dtype.kind in "OUS":
        words = {str(value).strip() for value in np.unique(array.astype(str))}
        if all(word.lower() in TRUTH for word in words) or all(WHOLE.fullmatch(word) for word in words):
            return np.array([int(canonical(value)) for value in array], np.int64)
        return array.astype(str)
    if array.dtype.kind == "b":
        return array.astype(np.int64)
    if array.dtype.kind == "f":
        whole = array == np.floor(array)
        if not whole.all():
            raise InputError(
                f"{name} must be classes, got {array[~whole][0]:g}; to predict numbers say task 'regression' (--task)."
            )
        return array.astype(np.int64)
    return array


def _words(name: str, array: Any, classes: int | None) -> Labels:
    stripped = np.char.strip(array)
    names, codes = np.unique(stripped, return_inverse=True)
    if names.size > max(20, array.size // 2):
        raise InputError(
            f"{name} hold {names.size} different words in {array.size} records: these are no classes; name the column "
            "of the labels."
        )
    if classes is not None and names.size > classes:
        raise InputError(f"{name} must be {classes} classes, got {', '.join(names[:5])} and more.")
    return Labels(codes.astype(np.int64), tuple(names.tolist()))
