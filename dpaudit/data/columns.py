"""Records as columns of numbers, whatever they came as: arrays, images, data frames, texts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import InputError


def texts(features: object) -> list[str] | None:
    """The records when each is one string, else None.

    >>> texts(["a b", "c"]), texts(np.zeros((2, 3)))
    (['a b', 'c'], None)
    """
    if isinstance(features, str):
        raise InputError("features must be one text for each record, got a single text.")
    given: Any = features
    if getattr(getattr(given, "dtype", None), "kind", "O") in "biufcmM" or hasattr(given, "columns"):
        return None
    if not isinstance(given, Sequence) and np.ndim(given) != 1:
        return None
    listed = list(given)
    words = [isinstance(each, str) for each in listed]
    if any(words) and not all(words):
        raise InputError(f"features must be all texts or none; record {words.index(False)} is no text.")
    return listed if any(words) else None


def as_columns(features: object, rows: IntArray | None = None) -> FloatArray:
    """Numbers of each record, shape (records, columns); NaN where a value is missing.

    Of a data frame, a date becomes a count of its unit of time, and a word or category its place in the order, so that
    equal values stay equal and the order of dates written as words is kept. The axes of an array after the first are
    one row.

    Args:
        features: numbers of shape (records, ...), or a data frame.
        rows: numbers of the rows wanted; None for all.

    Raises:
        InputError: it has no records, or values that are neither numbers, dates nor words.

    >>> import pandas as pd
    >>> as_columns(pd.DataFrame({"day": ["2024-01-02", "2023-05-06", None], "x": [1.5, 2.5, 3.5]}))
    array([[1. , 1.5],
           [0. , 2.5],
           [nan, 3.5]])
    """
    if hasattr(features, "columns") and hasattr(features, "iloc"):
        table: Any = features if rows is None else features.iloc[rows]
        if table.shape[1] == 0 or len(table) == 0:
            raise InputError(f"features must have records and columns, got shape {table.shape}.")
        return np.stack([_of_series(table.iloc[:, place].reset_index(drop=True)) for place in range(table.shape[1])], 1)
    array: Any = np.asarray(features)
    if array.ndim == 0 or array.size == 0:
        raise InputError(f"features must have shape (records, ...), got {array.shape}.")
    if array.dtype.kind in "OUSmM":
        import pandas as pd

        return as_columns(pd.DataFrame(array.reshape(array.shape[0], -1)).infer_objects(), rows)
    if array.dtype.kind not in "fiub":
        raise InputError(f"features must be numbers, dates or words, got {array.dtype}.")
    taken = array if rows is None else array[rows]
    return taken.reshape(len(taken), -1).astype(np.float64)  # type: ignore[no-any-return]  # of an Any


def label_columns(labels: object, records: int, rows: IntArray | None = None) -> FloatArray:
    """Labels as columns, shape (records, outputs); no column when there are none.

    Raises:
        InputError: there is not one label, or one row of labels, for each record.

    >>> label_columns(["cat", "ant", "cat"], 3).ravel()
    array([1., 0., 1.])
    """
    if labels is None:
        return np.empty((records if rows is None else rows.size, 0))
    if np.shape(labels)[:1] != (records,):  # type: ignore[arg-type]  # anything has a shape
        raise InputError(f"labels must have {records} rows, got shape {np.shape(labels)}.")  # type: ignore[arg-type]
    return as_columns(labels if hasattr(labels, "iloc") and np.ndim(labels) == 2 else np.asarray(labels), rows)  # type: ignore[arg-type]


def count_records(features: object) -> int:
    """Number of records.

    >>> count_records(["a", "b"]), count_records(np.zeros((3, 2, 2)))
    (2, 3)
    """
    try:
        return len(features)  # type: ignore[arg-type]  # the point is to find out
    except TypeError as error:
        raise InputError(f"features must hold records, got {type(features).__name__}.") from error


def standardise(values: FloatArray) -> FloatArray:
    """Columns of mean 0 and deviation 1, cut off at ±10; missing values are 0, and a constant column is 0.

    >>> standardise(np.array([[1.0], [3.0], [np.nan], [np.inf]])).ravel()
    array([-1.,  1.,  0., 10.])
    """
    finite = np.isfinite(values)
    known = np.where(finite, values, 0.0)
    top = np.abs(known).max(axis=0, initial=0.0)
    top[top == 0] = 1.0
    known /= top  # so that squares of large values stay finite
    n = np.maximum(finite.sum(axis=0), 1)
    mean = known.sum(axis=0) / n
    centred = np.where(finite, known - mean, 0.0)
    deviation = np.sqrt((centred**2).sum(axis=0) / n)
    varies = deviation > 1e-12 * np.maximum(np.abs(mean), 1e-30)
    scaled = np.clip(centred / np.where(varies, deviation, 1.0), -10, 10) * varies
    return np.where(np.isinf(values), np.copysign(10.0, values), scaled)


def member_flags(member: object, records: int) -> "check.BoolArray":
    """Who is a member, shape (records,); there must be records on both sides.

    >>> member_flags([1, 0, 0], 3)
    array([ True, False, False])
    """
    flags = check.flags("member", member, length=records)
    if not 0 < int(flags.sum()) < records:
        raise InputError(
            f"member must name records on both sides, got {int(flags.sum())} members of {records} records."
        )
    return flags


def _of_series(series: Any) -> FloatArray:
    import pandas as pd
    from pandas.api import types

    dtype = series.dtype
    if types.is_datetime64_any_dtype(dtype) or types.is_timedelta64_dtype(dtype):
        stamps: FloatArray = series.astype("int64").to_numpy().astype(np.float64)
        return np.where(series.isna().to_numpy(), np.nan, stamps)
    if types.is_numeric_dtype(dtype) and not types.is_complex_dtype(dtype):
        values: FloatArray = series.to_numpy(dtype=np.float64, na_value=np.nan)
        return values
    if isinstance(dtype, pd.CategoricalDtype) and dtype.ordered:
        places = series.cat.codes.to_numpy().astype(np.float64)
    elif types.is_object_dtype(dtype) or types.is_string_dtype(dtype) or isinstance(dtype, pd.CategoricalDtype):
        known = ~series.isna().to_numpy()
        words = np.asarray(series[known].astype(object).map(str), object)
        places = np.full(len(series), -1.0)
        places[known] = pd.factorize(words, sort=True)[0]
    else:
        raise InputError(f"column {series.name!r} holds {dtype}; features must be numbers, dates or words.")
    return np.where(places < 0, np.nan, places)
