"""CSV files as people have them: any of four separators, decimal commas, a mark at the start, compressed by gzip."""

import csv
import gzip
import zlib
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpaudit.runtime.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = (",", ";", "\t", "|")
COMMA = r"\s*[+-]?\d+(,\d+)?([eE][+-]?\d+)?\s*"
THOUSANDS = r"\s*[+-]?[1-9]\d{0,2}(,\d{3})+\s*"
MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}


def file_kind(path: Path) -> str:
    """Ending of a file in small letters, without ``.gz`` behind ``.csv``.

    >>> file_kind(Path("A.CSV")), file_kind(Path("a.csv.gz")), file_kind(Path("a.npz"))
    ('.csv', '.csv', '.npz')
    """
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix if name.endswith(".csv.gz") else path.suffix.lower()


def read_csv(path: Path, *, as_written: bool = False) -> "pd.DataFrame":
    """A CSV file; what was not as usual is said in ``attrs["reading"]``.

    Args:
        path: of the file.
        as_written: leave every cell the text it is.

    Raises:
        InputError: two columns of one name, numbers whose comma may mean two things, no UTF-8, no records.
        OSError: it cannot be read.
        ValueError: pandas cannot read it.
    """
    import pandas as pd

    # Read here: pandas (2.3) takes a Ctrl-C that comes while it reads for a broken file.
    content, said = path.read_bytes(), []
    if path.name.lower().endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(f"cannot read {path}: it is no gzip file ({error}).") from error
    encoding = MARKS.get(content[:2], MARKS.get(content[:3], "utf-8"))
    if encoding == "utf-16":
        content = content.decode(encoding).encode()
    names, separator = _header(content)
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:  # pandas would call the second one NAME.1
        raise InputError(f"{path} has two columns called {twice[0]!r}.")
    try:
        asked: dict[str, Any] = {"dtype": str, "keep_default_na": False} if as_written else {}
        table: pd.DataFrame = pd.read_csv(BytesIO(content), sep=separator, **asked)
    except UnicodeDecodeError as error:
        raise InputError(f"cannot read {path}: it is not UTF-8 text ({error.reason}); save it as UTF-8.") from error
    if table.empty and not as_written:
        raise InputError(f"{path} has no records.")
    if separator != ",":
        said.append(f"{path}: columns are separated by {separator!r}.")
    table.columns = [name.strip() if isinstance(name, str) else name for name in table.columns]
    if not as_written:
        said += _decimal_commas(table, path)
    table.attrs["reading"] = tuple(said)
    return table


def column_names(path: Path) -> list[str]:
    """Names of the columns of a CSV file."""
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as stream:
        head = stream.read(1 << 20)
    return _header(head.decode(MARKS[head[:2]], "ignore").encode() if head[:2] in MARKS else head)[0]


def _header(content: bytes) -> tuple[list[str], str]:
    """Names of the columns, and what separates them: the first of four that divides the first two lines alike."""
    lines = [line.decode("utf-8-sig", "replace") for line in content.split(b"\n", 2)[:2]]
    found = {sep: [next(csv.reader([line], delimiter=sep), []) for line in lines] for sep in SEPARATORS}
    divided = {sep: rows for sep, rows in found.items() if len(rows[0]) > 1}
    alike = [sep for sep, rows in divided.items() if len(rows[0]) == len(rows[-1])]
    separator = next(iter(alike), "," if "," in divided or not divided else next(iter(divided)))
    return [name.strip() for name in found[separator][0]], separator


def _decimal_commas(table: Any, path: Path) -> list[str]:
    """Make numbers of columns that are written with decimal commas, in place; what was done, in a sentence."""
    from pandas.api import types

    commas: dict[str, Any] = {}
    for name in table.columns:
        if types.is_numeric_dtype(table[name].dtype) or types.is_bool_dtype(table[name].dtype):
            continue
        known = table[name].dropna()
        if not known.head(20).astype(str).str.fullmatch(COMMA).all():  # most columns of words end here
            continue
        text = known.astype(str)
        if text.str.fullmatch(COMMA).all() and text.str.contains(",", regex=False).any():
            commas[name] = text
    decimal = {name for name, text in commas.items() if not text[text.str.contains(",")].str.fullmatch(THOUSANDS).all()}
    if commas and not decimal:
        name, text = next(iter(commas.items()))
        shown = text[text.str.contains(",")].iloc[0]
        raise InputError(
            f"{path}: {name!r} holds numbers like {shown}, whose comma may be decimal or divide thousands: write them "
            "with a point, or without commas."
        )
    for name, text in commas.items():
        table[name] = text.str.replace(",", ".", regex=False).astype(float).reindex(table.index)
    return [f"{path}: commas in {', '.join(map(repr, commas))} are decimal."] if commas else []
