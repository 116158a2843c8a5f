"""Mixed tables as numbers: words one-hot, dates in days, gaps filled and marked, numbers scaled, as is stated."""

import warnings
from dataclasses import dataclass
from typing import Any

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
    """A table as numbers, by a scikit-learn pipeline that is fitted on all its records, whoever is a member.

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
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import MissingIndicator, SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    kinds = column_kinds(table)
    table = table.set_axis([str(name) for name in table.columns], axis=1)
    _refuse(table, kinds, where)
    clean = table.assign(**{name: _prepared(table[name], what) for name, what in kinds.items()})
    steps: list[tuple[str, Any, list[str]]] = []
    for at, (name, what) in enumerate(kinds.items()):
        if what in ("words", "codes"):
            step: Any = OneHotEncoder(
                handle_unknown="ignore", max_categories=MOST_WORDS + 1, sparse_output=False, dtype=np.float32
            )
        elif what == "flag" and not clean[name].isna().any():
            step = "passthrough"
        else:
            step = SimpleImputer(strategy="median")
            step = step if what == "flag" else make_pipeline(step, StandardScaler())
        steps.append((f"column {at}", step, [name]))
        if what not in ("words", "codes") and clean[name].isna().any():
            steps.append((f"gaps {at}", MissingIndicator(features="all"), [name]))
    pipeline = ColumnTransformer(steps, sparse_threshold=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a constant column, which becomes 0
        features = np.asarray(pipeline.fit_transform(clean), np.float32)
    fitted = [pipeline.named_transformers_[f"column {at}"] for at in range(len(kinds))]
    names: list[str] = []
    for step, _, (name,) in steps:
        if step.startswith("gaps"):
            names.append(f"{name} missing")
        elif kinds[name] in ("words", "codes"):
            values = pipeline.named_transformers_[step].get_feature_names_out([name])
            names += [f"{name} = {value[len(name) + 1 :]}".replace("infrequent_sklearn", "rarer") for value in values]
        else:
            names.append(name)
    said = [_said(name, kinds[name], clean[name], step) for name, step in zip(kinds, fitted, strict=True)]
    return Encoded(features, tuple(names), tuple(said))


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


def _prepared(values: Any, what: str) -> Any:
    if what == "dates":
        return dates(values).astype(np.float64)
    if what in ("words", "codes"):
        if what == "codes":
            values = values.astype("Float64").astype("Int64")
        return values.astype(object).where(values.notna(), "missing").astype(str)
    return values.astype("Float64").to_numpy(np.float64, na_value=np.nan)


def _said(name: str, what: str, values: Any, step: Any) -> str:
    """One column's step with the numbers that were fitted, enough to encode another record alike."""
    if what in ("words", "codes"):
        rare = step.infrequent_categories_[0]
        rarer = set() if rare is None else set(rare)
        kept = [str(value) for value in step.categories_[0] if value not in rarer]
        rest = f" and one for {len(rarer)} rarer ones" if rarer else ""
        return f"{name!r}: one output each for {len(kept)} {what}: {', '.join(kept)}{rest}"
    gaps = int(values.isna().sum())
    if what == "flag":
        return f"{name!r}: 0 or 1" + (f", {gaps} gaps filled with {step.statistics_[0]:g} and marked" if gaps else "")
    median, scale = step[0].statistics_[0], step[1]
    filled = f"{gaps} gaps filled with {median:.6g} and marked, " if gaps else ""
    unit = "days since 1970, " if what == "dates" else ""
    return f"{name!r}: {unit}{filled}minus {scale.mean_[0]:.9g}, divided by {scale.scale_[0]:.9g}"
