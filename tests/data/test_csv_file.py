"""CSV files as other programs write them hold the same table; what can mean two things is refused."""

import gzip
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dpaudit.data.csv_file import column_names, read_csv
from dpaudit.data.load import has_column, load, read_table, table_kind
from dpaudit.runtime.errors import InputError

TABLE = pd.DataFrame({"a": [0.25, 1234.5, -3.0], "home town": ["x, y", "z", "x, y"], "label": [0, 1, 0]})


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"encoding": "utf-8-sig"},
        {"encoding": "utf-16"},
        {"sep": ";"},
        {"sep": ";", "decimal": ","},
        {"sep": "\t"},
        {"sep": "|", "encoding": "utf-8-sig"},
        {"quoting": 1},
        {"lineterminator": "\r\n"},
    ],
)
def test_the_same_table(tmp_path: Path, how: dict[str, Any]) -> None:
    """Any separator, decimal commas, marks, quotes and line ends, packed or not: what pandas wrote comes back."""
    TABLE.to_csv(tmp_path / "t.csv", index=False, **how)
    packed = tmp_path / "T.CSV.GZ"
    packed.write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
    for path in (tmp_path / "t.csv", packed):
        pd.testing.assert_frame_equal(read_csv(path), TABLE)
        assert column_names(path) == list(TABLE.columns)
        assert has_column(path, "home town")
        assert not has_column(path, "home")
        assert table_kind(path) == ".csv"


def test_what_was_unusual_is_said(tmp_path: Path) -> None:
    """A separator and decimal commas are in the notes of the data set; a plain file has none."""
    numbers = TABLE.drop(columns="home town")
    numbers.to_csv(tmp_path / "t.csv", index=False, sep=";", decimal=",")
    notes = " ".join(load(str(tmp_path / "t.csv")).notes)
    assert "columns are separated by ';'" in notes
    assert "commas in 'a' are decimal" in notes
    numbers.to_csv(tmp_path / "u.csv", index=False)
    assert load(str(tmp_path / "u.csv")).notes == ()


def test_quoted_numbers_with_commas(tmp_path: Path) -> None:
    """In a file of commas, quoted 0,25 is a quarter; where every number looks like 1,234 nothing is guessed."""
    (tmp_path / "t.csv").write_text('a,b\n"0,25",1\n"1,5e-3",2\n')
    assert read_csv(tmp_path / "t.csv")["a"].tolist() == [0.25, 0.0015]
    (tmp_path / "t.csv").write_text("a;b\n1,234;1\n12,345;2\n")
    with pytest.raises(
        InputError, match="'a' holds numbers like 1,234, whose comma may be decimal or divide thousands"
    ):
        read_csv(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text('a;b\n1,234;1\n"x,y";2\n')
    assert read_csv(tmp_path / "t.csv")["a"].tolist() == ["1,234", "x,y"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b,a\n1,2,3\n", "two columns called 'a'"),
        (b"a; a\n1;2\n", "two columns called 'a'"),
        (b"a,label\n", "has no records"),
        (b"", "No columns to parse"),
        ("é,label\n1,2\n".encode("latin-1"), "not UTF-8 text .* save it as UTF-8"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, content: bytes, message: str) -> None:
    """Two columns of one name, no rows, no bytes, another encoding: one line."""
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / "t.csv")


def test_other_files_say_what_makes_a_table(tmp_path: Path) -> None:
    """A spreadsheet is refused with the line that converts it, a broken gzip file as what it is."""
    with pytest.raises(InputError, match=r"pandas\.read_excel"):
        load(str(tmp_path / "t.xlsx"))
    (tmp_path / "t.csv.gz").write_bytes(b"a,b\n1,2\n")
    with pytest.raises(InputError, match="no gzip file"):
        read_table(tmp_path / "t.csv.gz")
