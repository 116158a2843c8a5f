"""Dates as people write them: one reading or none, never a guess."""

from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dpaudit.data.dates import dates, either_way
from dpaudit.data.load import load
from dpaudit.runtime.errors import InputError

DAY = datetime(2024, 12, 31, tzinfo=timezone.utc).timestamp() / 86400
FORMATS = (
    "%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%Y", "%Y/%m/%d", "%d %b %Y", "%d %B %Y",
    "%d-%b-%Y", "%b %d %Y", "%B %d, %Y", "%Y-%m-%dT%H:%M", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M",
)  # fmt: skip


@pytest.mark.parametrize("form", FORMATS)
def test_a_year_in_one_format_is_read(form: str) -> None:
    """Every 7th day of 2024 and 2025, written by Python's strftime, is read back as its day number, gaps as NaN."""
    days = [datetime.fromordinal(datetime(2024, 1, 1).toordinal() + step) for step in range(0, 700, 7)]
    written = pd.Series([day.strftime(form) for day in days] + [None])
    expected = [day.replace(tzinfo=timezone.utc).timestamp() / 86400 for day in days]
    assert dates(written)[:-1].tolist() == expected
    assert np.isnan(dates(written).iloc[-1])
    assert either_way(written) == ""


def test_one_value_above_twelve_decides() -> None:
    """31/12 and 12/31 are the last of December, each by the only reading there is."""
    for text in ("31/12/2024", "12/31/2024", "31-12-2024", "12-31-2024"):
        assert dates(pd.Series([text, "01/02/2024".replace("/", text[2])])).iloc[0] == DAY


@pytest.mark.parametrize(
    "texts",
    [
        ["01/02/2024", "03/03/2024"],  # either
        ["31/12/2024", "12/31/2024"],  # two formats
        ["2024-12-31", "31/12/2024"],
        ["30/02/2024"],  # no such day
        ["31/12/24"],  # which century, and which part is the year
        ["31/12/2024 25:99:99:1"],
        ["12 Nonsense 2024"],
    ],
)
def test_what_has_no_one_reading_is_no_date(texts: list[str]) -> None:
    """Two readings, two formats, or days that do not exist: words, not dates."""
    assert dates(pd.Series(texts)) is None


def test_either_way_is_said(tmp_path: Path) -> None:
    """Day and month that could be either are refused with a value of the column, encoded or not; one more day mends."""
    table = pd.DataFrame({"when": ["01/02/2024", "03/04/2024"] * 20, "x": range(40), "label": [0, 1] * 20})
    table.to_csv(tmp_path / "t.csv", index=False)
    for encode in ("auto", "none"):
        with pytest.raises(InputError, match=r"'when' holds dates whose day and month could be either \(01/02/2024\)"):
            load(str(tmp_path / "t.csv"), encode=encode)  # type: ignore[arg-type]  # one of two words
    table.loc[0, "when"] = "13/04/2024"
    table.to_csv(tmp_path / "t.csv", index=False)
    assert load(str(tmp_path / "t.csv"), encode="auto", features=["when"]).columns == ("when",)
