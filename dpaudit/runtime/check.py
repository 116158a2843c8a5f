"""Argument checks that name the argument and show its value.

Each returns the clean value, so that a check and an assignment are one line.
"""

import difflib
import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.runtime.errors import InputError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


def number(name: str, value: object) -> float:
    """A finite real number.

    >>> number("clip", 1)
    1.0
    """
    if isinstance(value, bool | str | bytes):
        raise InputError(f"{name} must be a number, got {value!r}.")
    try:
        clean = float(value)  # type: ignore[arg-type]  # the point is to find out
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be a number, got {value!r}.") from error
    except OverflowError as error:
        raise InputError(f"{name} must be a number that a float can hold, got one too large.") from error
    if not math.isfinite(clean):
        raise InputError(f"{name} must be finite, got {clean!r}.")
    return clean


def positive(name: str, value: object) -> float:
    """A finite number above 0."""
    clean = number(name, value)
    if clean <= 0:
        raise InputError(f"{name} must be above 0, got {value!r}.")
    return clean


def nonnegative(name: str, value: object) -> float:
    """A finite number of at least 0."""
    clean = number(name, value)
    if clean < 0:
        raise InputError(f"{name} must be at least 0, got {value!r}.")
    return clean


def open_unit(name: str, value: object) -> float:
    """A number strictly between 0 and 1: a confidence, a level."""
    clean = number(name, value)
    if not 0 < clean < 1:
        raise InputError(f"{name} must be in (0, 1), got {value!r}.")
    return clean


def probability(name: str, value: object) -> float:
    """A number in [0, 1]."""
    clean = number(name, value)
    if not 0 <= clean <= 1:
        raise InputError(f"{name} must be in [0, 1], got {value!r}.")
    return clean


def delta(name: str, value: object) -> float:
    """The δ of (ε, δ): in [0, 1). At 1 every mechanism is private."""
    clean = number(name, value)
    if not 0 <= clean < 1:
        raise InputError(f"{name} must be in [0, 1), got {value!r}.")
    return clean


def integer(name: str, value: object, *, at_least: int | None = None, at_most: int | None = None) -> int:
    """A whole number, not a float that happens to be one.

    >>> integer("steps", 3, at_least=1)
    3
    """
    if isinstance(value, bool | np.bool_):
        raise InputError(f"{name} must be a whole number, got {value!r}.")
    try:
        clean = operator.index(value)  # type: ignore[arg-type]  # the point is to find out
    except TypeError as error:
        raise InputError(f"{name} must be a whole number, got {value!r}.") from error
    if at_least is not None and clean < at_least:
        raise InputError(f"{name} must be at least {at_least}, got {clean}.")
    if at_most is not None and clean > at_most:
        raise InputError(f"{name} must be at most {at_most}, got {clean}.")
    return clean


def printable(text: str) -> str:
    """Text on one line without control characters, so that a name from a file cannot drive a terminal.

    >>> printable("a\\x1b[31mb\\nc")
    'a�[31mb c'
    """
    return "".join(c if c.isprintable() else "�" for c in " ".join(text.split()))


def nearest(name: str, options: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` when one of the options is close, else the empty string.

    >>> nearest("los", ["loss", "lira"])
    " Did you mean 'loss'?"
    """
    close = difflib.get_close_matches(name, list(options), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def one_of(name: str, value: object, options: Sequence[str]) -> str:
    """One of a few words; the message offers the nearest."""
    if isinstance(value, str) and value in options:
        return value
    hint = nearest(value, options) if isinstance(value, str) else ""
    raise InputError(f"{name} must be one of {', '.join(map(repr, options))}, got {value!r}.{hint}")


def vector(name: str, value: object, *, length: int | None = None, empty: bool = False) -> FloatArray:
    """A one-dimensional float64 array without NaN or infinity."""
    array = finite(name, value, ndim=1)
    if not empty and array.size == 0:
        raise InputError(f"{name} must not be empty.")
    if length is not None and array.size != length:
        raise InputError(f"{name} must have {length} values, got {array.size}.")
    return array


def finite(name: str, value: object, *, ndim: int | None = None) -> FloatArray:
    """A float64 array without NaN or infinity; the message counts them and says where the first one is."""
    array = _numeric(name, value)
    if ndim is not None and array.ndim != ndim:
        raise InputError(f"{name} must have {ndim} dimension(s), got shape {array.shape}.")
    bad = ~np.isfinite(array)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        place = str(where[0]) if len(where) == 1 else str(where)
        raise InputError(
            f"{name} must be finite: {int(bad.sum())} of {array.size} values are NaN or infinite, "
            f"the first at index {place} is {array[where]!s}."
        )
    return array


def flags(name: str, value: object, *, length: int | None = None) -> BoolArray:
    """A one-dimensional array of booleans; 0 and 1 count as booleans, anything else does not."""
    array = np.asarray(value)
    if array.ndim != 1:
        raise InputError(f"{name} must have 1 dimension, got shape {array.shape}.")
    if length is not None and array.size != length:
        raise InputError(f"{name} must have {length} values, got {array.size}.")
    if array.dtype != np.bool_:
        try:
            numeric = array.astype(np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{name} must be true/false or 1/0, got {array[:3].tolist()!r} ...") from error
        wrong = ~np.isin(numeric, (0.0, 1.0))
        if wrong.any():
            first = int(np.argmax(wrong))
            raise InputError(f"{name} must be true/false or 1/0; the value at index {first} is {array[first]!s}.")
        array = numeric == 1.0
    return array


def labels(name: str, value: object, *, classes: int | None = None, length: int | None = None) -> IntArray:
    """Class labels: whole numbers from 0 to ``classes - 1``, stored as an integer type."""
    array = np.asarray(value)
    if array.ndim != 1:
        raise InputError(f"{name} must have 1 dimension, got shape {array.shape}.")
    if length is not None and array.size != length:
        raise InputError(f"{name} must have {length} values, got {array.size}.")
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"{name} must be whole numbers (an integer type), got {array.dtype}.")
    if array.size and (array.min() < 0 or (classes is not None and array.max() >= classes)):
        last = "" if classes is None else f" to {classes - 1}"
        raise InputError(f"{name} must be classes 0{last}, got values from {array.min()} to {array.max()}.")
    return array.astype(np.int64)


def _numeric(name: str, value: object) -> FloatArray:
    if np.size(value) == 0:  # type: ignore[arg-type]  # whatever it is, it has a size
        return np.empty(np.shape(value))  # type: ignore[arg-type]  # an empty table column has no type worth checking
    if isinstance(value, np.ndarray) and value.dtype == object:
        raise InputError(f"{name} must be numbers, got an array of Python objects.")
    array: Any = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name} must be numbers, got {array.dtype}.")
    clean: FloatArray = array.astype(np.float64)
    return clean
