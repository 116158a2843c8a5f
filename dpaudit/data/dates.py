"""Dates as people write them, read only where all values of a column have one format that means one thing."""

import re
from collections.abc import Sequence
from typing import Any

ISO = r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}.*)?"
CLOCK = re.compile(r"(.+?)(?:[ T](\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?))?")
# What a date looks like, and the formats it may have. Names of months are English.
FORMATS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"\d{1,2}/\d{1,2}/\d{4}", ("%d/%m/%Y", "%m/%d/%Y")),
    (r"\d{1,2}-\d{1,2}-\d{4}", ("%d-%m-%Y", "%m-%d-%Y")),
    (r"\d{1,2}\.\d{1,2}\.\d{4}", ("%d.%m.%Y",)),  # nobody writes the month first with dots
    (r"\d{4}/\d{1,2}/\d{1,2}", ("%Y/%m/%d",)),
    (r"\d{1,2} [A-Za-z]+ \d{4}", ("%d %b %Y", "%d %B %Y")),
    (r"\d{1,2}-[A-Za-z]+-\d{4}", ("%d-%b-%Y", "%d-%B-%Y")),
    (r"[A-Za-z]+ \d{1,2} \d{4}", ("%b %d %Y", "%B %d %Y")),
    (r"[A-Za-z]+ \d{1,2}, \d{4}", ("%b %d, %Y", "%B %d, %Y")),
)


def dates(values: Any) -> Any:
    """Days since 1970 of dates and of words such as 2024-03-31, 31/03/2024 or 31 Mar 2024, NaN where there is none.

    None when these are no dates, or when day and month could be either (`either_way`).

    >>> import pandas as pd
    >>> dates(pd.Series(["1970-01-02", None])).tolist(), dates(pd.Series(["a"])) is None
    ([1.0, nan], True)
    >>> dates(pd.Series(["02/01/1970", "31/01/1970 12:00"])).tolist(), dates(pd.Series(["02/01/1970"])) is None
    ([1.0, 30.5], True)
    """
    import pandas as pd
    from pandas.api import types

    known = values.dropna()
    if not types.is_datetime64_any_dtype(values.dtype):
        if known.empty:
            return None
        different = pd.Series(known.unique()).astype(str)
        if different.str.fullmatch(ISO).all():
            values = pd.to_datetime(values.astype(object).where(values.notna(), None), errors="coerce", utc=True)
            if values.notna().sum() < len(known):
                return None
        else:
            readings = _readings(different.unique())
            if not readings or any(reading != readings[0] for reading in readings[1:]):
                return None
            stamps = known.astype(str).map(readings[0]).reindex(values.index)
            values = pd.to_datetime(stamps, utc=True)
    stamps = pd.to_datetime(values, utc=True)
    return (stamps - pd.Timestamp("1970-01-01", tz="UTC")) / pd.Timedelta(days=1)


def either_way(values: Any) -> str:
    """A date of a column whose days and months could be either; empty where there is none.

    >>> import pandas as pd
    >>> either_way(pd.Series(["01/02/2024", "03/03/2024"])), either_way(pd.Series(["01/02/2024", "31/03/2024"]))
    ('01/02/2024', '')
    """
    readings = _readings(values.dropna().drop_duplicates().astype(str).unique())
    return next((text for one in readings[1:] for text, stamp in one.items() if stamp != readings[0][text]), "")


def _readings(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Every way to read all texts as dates: the time of each."""
    import pandas as pd

    parts = [CLOCK.fullmatch(text.strip()) for text in texts]
    found: list[dict[str, Any]] = []
    for pattern, formats in FORMATS:
        if not all(part is not None and re.fullmatch(pattern, part[1]) for part in parts):
            continue
        days = [part[1] for part in parts if part is not None]
        clocks = [(part[2] or "0:00") if part is not None else "" for part in parts]
        since = pd.to_timedelta(
            pd.Series([clock if clock.count(":") == 2 else f"{clock}:00" for clock in clocks]), errors="coerce"
        )
        for one in formats:
            read = pd.to_datetime(pd.Series(days), format=one, errors="coerce")
            if (read + since).notna().all():
                found.append(dict(zip(texts, read + since, strict=True)))
    return found
