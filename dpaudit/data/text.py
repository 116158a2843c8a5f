"""Texts as records for a language model: from a table, JSON lines, a folder, or a set that ships."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dpaudit.data.csv_file import file_kind
from dpaudit.data.dataset import Dataset
from dpaudit.data.load import column, read_table
from dpaudit.data.tokens import TextTokenizer, tokenizer_named
from dpaudit.runtime import check
from dpaudit.runtime import plugins as registry
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import read_text

if TYPE_CHECKING:
    import pandas as pd

TEXT_SUFFIXES = (".csv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class TextRoles:
    """How texts become records.

    Args:
        text: column of the texts, for tables and JSON lines.
        context: tokens of a record at most; a longer text is cut there.
        tokenizer: ``bytes``, or the path of a ``tokenizer.json``.
    """

    text: str = "text"
    context: int = 64
    tokenizer: str = "bytes"

    def __post_init__(self) -> None:
        check.integer("context", self.context, at_least=2)


@dataclass(frozen=True)
class NamedTexts:
    """Texts under a name, perhaps with whose they are.

    Args:
        name: what the report calls them.
        texts: one for each record.
        users: whose each is.
        licence: of the texts.
        groups: further columns.
    """

    name: str
    texts: Sequence[str]
    users: npt.NDArray[np.generic] | None = None
    licence: str = "not stated"
    groups: Mapping[str, npt.NDArray[np.generic]] = field(default_factory=dict)


def load_text(
    source: str, roles: TextRoles = TextRoles(), *, user: str | None = None, groups: Sequence[str] = ()
) -> Dataset:
    """Texts as tokens, one record for each text: a mark, at most ``context`` tokens, and a mark where a text ends.

    Args:
        source: ``shakespeare``, a CSV, Parquet or JSON-lines file, or a folder whose ``.txt`` files are a text each.
        roles: how texts become records.
        user: column that says whose text it is.
        groups: columns that the records are sliced by.

    Raises:
        InputError: an unknown or unreadable source, a missing column, a text that is empty or no text.

    >>> data = load_text("shakespeare", TextRoles(context=16))
    >>> data.features.shape, data.outputs, data.class_count
    ((21267, 17), 16, 257)
    """
    return as_records(read_texts(source, roles.text, user=user, groups=groups), roles)


def read_texts(source: str, text: str = "text", *, user: str | None = None, groups: Sequence[str] = ()) -> NamedTexts:
    """The texts of a source, as for `load_text`."""
    path = Path(source)
    if file_kind(path) in TEXT_SUFFIXES:
        table = json_lines(path) if file_kind(path) == ".jsonl" else read_table(path)
        columns = {name: column(table, name, path).to_numpy() for name in (*groups, *([] if user is None else [user]))}
        users = None if user is None else columns[user]
        values = list(column(table, text, path))
        return NamedTexts(path.stem, _all_texts(values, path), users, groups={by: columns[by] for by in groups})
    if user is not None or groups:
        raise InputError(f"{source} has no columns; user and slices by column are for tables and JSON lines.")
    if path.is_dir():
        files = sorted(path.glob("*.txt"))
        if not files:
            raise InputError(f"folder {path} holds no .txt file.")
        return NamedTexts(path.name, _all_texts([read_text(file) for file in files], path))
    if path.suffix or "/" in source:
        raise InputError(f"texts {source!r} must be a folder, end in {', '.join(TEXT_SUFFIXES)} or be a known name.")
    found = registry.resolve("texts", source)()
    assert isinstance(found, NamedTexts)
    return found


def as_records(given: NamedTexts, roles: TextRoles) -> Dataset:
    """Texts as records, as for `load_text`."""
    tokenizer = tokenizer_named(roles.tokenizer)
    tokens, counted, cut = rows_of_tokens(tokenizer.encode(given.texts), roles.context, tokenizer)
    how = "bytes" if roles.tokenizer == "bytes" else "tokens"
    notes = [f"Texts as {how}, at most {roles.context} of each; {cut} of {len(given.texts)} were longer and are cut."]
    return Dataset(
        given.name,
        tokens,
        counted,
        "next-token",
        given.users,
        given.licence,
        given.groups,
        class_count=tokenizer.end + 1,
        notes=tuple(notes),
    )


def rows_of_tokens(
    encoded: Sequence[Sequence[int]], context: int, tokenizer: TextTokenizer
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], int]:
    """Tokens (texts, 1 + context), which of them count (texts, context), and how many texts are cut."""
    tokens = np.full((len(encoded), 1 + context), tokenizer.end, np.float32)
    counted = np.zeros((len(encoded), context), np.float32)
    for row, text in enumerate(encoded):
        kept = text[:context]
        tokens[row, 1 : 1 + len(kept)] = kept
        counted[row, : len(kept) + 1] = 1  # the mark behind the text counts, where it fits
    return tokens, counted, sum(len(text) > context for text in encoded)


def json_lines(path: Path) -> "pd.DataFrame":
    """A table of a file that has an object on each line."""
    import pandas as pd

    rows = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}: line {number} is no JSON: {error}.") from error
        if not isinstance(row, dict):
            raise InputError(f"{path}: line {number} must be an object with keys, got {type(row).__name__}.")
        rows.append(row)
    if not rows:
        raise InputError(f"{path} holds no records.")
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def _all_texts(values: Sequence[object], where: Path) -> list[str]:
    for place, value in enumerate(values):
        if not isinstance(value, str):
            raise InputError(f"{where}: record {place} is no text but {value!r}.")
        if not value.strip():
            raise InputError(f"{where}: the text of record {place} is empty; leave it out.")
    return [str(value) for value in values]
