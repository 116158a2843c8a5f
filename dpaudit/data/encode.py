"""Mixed tables as numbers: words one-hot, dates in days, gaps filled and marked, numbers scaled, as is stated."""

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dpaudit.data.dates import dates, either_way
from dpaudit.data.table_columns import either, kind
from dpaudit.runtime.errors import InputError

MOST_WORDS = 50  # rarer words of a column share one output
FEW_CODES = 10  # whole numbers with at most so many values, but more than two, are codes
TEXT = 0.5  # share of different words among the records from which a column is text or an identifier


@dataclass(frozen=True)
class Encoded:
    """Numbers, shape (records, outputs), float32; the name of each output; what became of each column."""

    features: npt.NDArray[np.float32]
    names: tuple[str, ...]
    steps: tuple[str, ...]


def column_kinds(table: Any) -> dict[str, str]:
    """What each column is taken for: ``number``, ``flag``, ``codes``, ``dates``, ``words``, ``text`` or ``blank``.

    Dates whose day and month could be either are ``unclear``.

    >>> import pandas as pd
    >>> column_kinds(pd.DataFrame({"age": [31.5, 40.0, 22.0], "town": ["a", "b", "a"], "day": ["2024-01-02"] * 3}))
    {'age': 'number', 'town': 'words', 'day': 'dates'}
    """
    return {str(name): _kind(table[name]) for name in table.columns}


def encoded(table: Any, where: object) -> Encoded:
    """A table as numbers, by scikit-learn's steps, which are fitted on all its records, whoever is a member.

    Words become one output for each of the 50 most frequent (one for all rarer ones); whole numbers with 3 to 10
    values are codes and treated like words; dates become days since 1970; a gap in numbers is filled with the median
    and marked by an output of its own, and a gap in words is a word. Numbers and days are scaled to mean 0 and
    deviation 1.

    Args:
        table: a data frame of features.
        where: for messages.

    Raises:
        InputError: columns of text or identifiers, which these steps cannot use, or of blanks; all are named.

    >>> import pandas as pd
    >>> made = encoded(pd.DataFrame({"age": [1.0, None, 3.0], "town": ["a", "b", "a"]}), "t.csv")
    >>> made.names
    ('age', 'age missing', 'town = a', 'town = b')
    >>> made.features.astype(float).round(2).tolist()
    [[-1.22, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0], [1.22, 0.0, 1.0, 0.0]]
    >>> made.steps[1]
    "'town': one output each for 2 words: a, b"
    """
    kinds = column_kinds(table)
    table = table.set_axis([str(name) for name in table.columns], axis=1)
    _refuse(table, kinds, where)
    columns = [_as_words(name, table[name], what) if what in ("words", "codes") else _as_number(name, table[name], what)
               for name, what in kinds.items()]  # fmt: skip
    names = [name for column in columns for name in column.names]
    features = np.empty((len(table), len(names)), np.float32)  # the only copy of a table that may be large
    at = 0
    for column in columns:
        width = len(column.names)
        features[:, at : at + width] = column.values
        at += width
    return Encoded(features, tuple(names), tuple(column.said for column in columns))


class _Column(NamedTuple):
    """One column of a table as outputs: (records, outputs); their names; what was done."""

    values: npt.NDArray[np.generic]
    names: tuple[str, ...]
    said: str


def _as_words(name: str, values: Any, what: str) -> _Column:
    """One output for each frequent word. Words are numbered first: scikit-learn compares numbers far faster."""
    import pandas as pd
    from sklearn.preprocessing import OneHotEncoder

    if values.dtype == object:  # 1, 1.0 and True would be one word
        values = values.map(str, na_action="ignore")
    place, different = pd.factorize(values)
    texts = [f"{float(word):.0f}" if what == "codes" else str(word) for word in different]
    if (place < 0).any():
        texts.append("missing")  # a gap has place -1, that of the last
    words, number = np.unique(np.array(texts, object), return_inverse=True)
    step = OneHotEncoder(max_categories=MOST_WORDS + 1, sparse_output=False, dtype=np.uint8)
    made = step.fit_transform(number[place].astype(np.min_scalar_type(len(words)))[:, None])
    rarer = step.infrequent_categories_[0]
    kept = [str(word) for word in (words if rarer is None else np.delete(words, rarer))]
    rest = "" if rarer is None else f" and one for {len(rarer)} rarer ones"
    return _Column(
        made,
        (*(f"{name} = {word}" for word in kept), *([] if rarer is None else [f"{name} = rarer"])),
        f"{name!r}: one output each for {len(kept)} {what}: {', '.join(kept)}{rest}",
    )


def _as_number(name: str, values: Any, what: str) -> _Column:
    """A number with its gaps filled, and scaled unless it is 0 or 1; gaps are marked by a second output."""
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import StandardScaler

    numbers = dates(values) if what == "dates" else values.astype("Float64")
    clean = numbers.to_numpy(np.float64, na_value=np.nan)[:, None]
    gap = np.isnan(clean)
    gaps = int(gap.sum())
    imputer, scale = SimpleImputer(strategy="median"), StandardScaler()
    made = imputer.fit_transform(clean)
    filled = f"{gaps} gaps filled with {imputer.statistics_[0]:.6g} and marked" if gaps else ""
    if what == "flag":
        said = f"{name!r}: 0 or 1{', ' if gaps else ''}{filled}"
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of a constant column, which becomes 0
            made = scale.fit_transform(made)
        unit, filled = "days since 1970, " if what == "dates" else "", f"{filled}, " if gaps else ""
        said = f"{name!r}: {unit}{filled}minus {scale.mean_[0]:.9g}, divided by {scale.scale_[0]:.9g}"
    if gaps:
        return _Column(np.concatenate([made, gap], axis=1), (name, f"{name} missing"), said)
    return _Column(made, (name,), said)


def _kind(values: Any) -> str:
    if values.isna().all():
        return "blank"
    what = kind(values)
    if what == "dates":
        return "dates"
    different = values.nunique()
    if what == "numbers":
        known = values.dropna()
        if different <= 2 and np.isin(known.astype(float), (0, 1)).all():
            return "flag"
        whole = bool((known.astype(float) % 1 == 0).all())
        return "codes" if whole and 2 < different <= FEW_CODES and len(values) > 10 * different else "number"
    if either_way(values):
        return "unclear"
    return "text" if different > 20 and different > TEXT * len(values) else "words"


def _refuse(table: Any, kinds: dict[str, str], where: object) -> None:
    said = [f"{name!r} is blank" for name, what in kinds.items() if what == "blank"]
    said += [
        f"{name!r} is text or an identifier ({table[name].nunique()} different values)"
        for name, what in kinds.items()
        if what == "text"
    ]
    said += [f"{name!r} {either(either_way(table[name]))}" for name, what in kinds.items() if what == "unclear"]
    said += [
        f"{name!r} holds infinite values"
        for name, what in kinds.items()
        if what == "number" and np.isinf(table[name].astype(float)).any()
    ]
    if said:
        raise InputError(f"{where}: {'; '.join(said)}: leave them out with drop = [...] in [data].")
