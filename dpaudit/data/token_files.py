"""Tables of token log-probabilities on disk: Parquet, JSON lines or NPZ."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dpaudit.data.load import column, read_table
from dpaudit.data.token_columns import token_logprobs
from dpaudit.data.token_logprobs import INCLUDED, OF_TOKENS, REFERENCE, TokenLogprobs
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import read_npz, read_text, replacing, write_npz, write_text

SUFFIXES = (".jsonl", ".npz", ".parquet")


def read_token_logprobs(path: str | Path, *, user: str = "user") -> TokenLogprobs:
    """A table from a file.

    Parquet has list columns, a line of JSON is a record, and an NPZ file holds one array for each column: (records,)
    or for what is of tokens (records, positions), filled up at the end where ``mask`` is 0.

    Args:
        path: its name ends in .parquet, .jsonl or .npz.
        user: column that says whose record it is.

    Raises:
        InputError: it cannot be read, or is wrong in one of the ways that `token_logprobs` names.
    """
    file = Path(path)
    if file.suffix not in SUFFIXES:
        raise InputError(f"{file} must end in {', '.join(SUFFIXES)}.")
    columns = {".jsonl": _lines, ".npz": _arrays, ".parquet": _parquet}[file.suffix](file)
    return token_logprobs(columns, str(file), user=user)


def write_token_logprobs(path: str | Path, table: TokenLogprobs) -> None:
    """Write a table as `read_token_logprobs` reads it.

    Args:
        path: its name ends in .parquet, .jsonl or .npz.
        table: what is written.

    >>> from tempfile import TemporaryDirectory
    >>> table = token_logprobs({"id": ["a"], "logprobs": [[-1.0, -2.0]], "text": ["to be"]})
    >>> with TemporaryDirectory() as folder:
    ...     write_token_logprobs(Path(folder) / "a.parquet", table)
    ...     read_token_logprobs(Path(folder) / "a.parquet").texts
    ('to be',)
    """
    file = Path(path)
    columns = columns_of(table)
    if file.suffix == ".jsonl":
        names = list(columns)
        rows = zip(*columns.values(), strict=True)
        write_text(file, "".join(json.dumps(dict(zip(names, map(_plain, row), strict=True))) + "\n" for row in rows))
    elif file.suffix == ".npz":
        write_npz(file, _padded(columns, table))
    elif file.suffix == ".parquet":
        import pandas as pd

        with replacing(file) as temporary:
            pd.DataFrame({name: list(values) for name, values in columns.items()}).to_parquet(temporary, index=False)
    else:
        raise InputError(f"{file} must end in {', '.join(SUFFIXES)}.")


def columns_of(table: TokenLogprobs) -> dict[str, Any]:
    """The columns of a table, each with one value for each record."""
    ends = np.cumsum(table.lengths)[:-1]
    columns: dict[str, Any] = {"id": table.ids.tolist()}
    for name in ("user", "text"):
        value = getattr(table, f"{name}s")
        columns |= {} if value is None else {name: list(value)}
    for name in OF_TOKENS:
        value = getattr(table, name, None)
        columns |= {} if value is None else {name: np.split(value, ends)}
    for name, values in table.references.items():
        columns[f"{REFERENCE}{name}"] = np.split(values, ends)
        columns[f"{INCLUDED}{name}"] = table.included[name].tolist()
    for name in ("bytes", "zlib"):
        value = getattr(table, name)
        columns |= {} if value is None else {name: value.tolist()}
    said: tuple[tuple[str, Any], ...] = (
        ("tokenizer", table.tokenizer or None),
        ("vocabulary", table.vocabulary),
        ("top_k", table.top_k),
        ("temperature", table.temperature if table.temperature != 1.0 else None),
    )
    return {**columns, **{name: [value] * len(table) for name, value in said if value is not None}}


def _parquet(file: Path) -> dict[str, Any]:
    table = read_table(file)
    return {str(name): table[name].tolist() for name in table.columns}


def _lines(file: Path) -> dict[str, Any]:
    rows: list[Mapping[str, Any]] = []
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{file}, line {number}: no JSON ({error}).") from error
        if not isinstance(row, dict):
            raise InputError(f"{file}, line {number}: a record must be an object in braces, got {type(row).__name__}.")
        rows.append(row)
    if not rows:
        raise InputError(f"{file} holds no record.")
    if "choices" in rows[0] or "response" in rows[0]:
        raise InputError(
            f"{file} holds responses, not a table: make one with dpaudit.integrations.completions.read_responses."
        )
    names = list(rows[0])
    for number, row in enumerate(rows, start=1):
        if set(row) != set(names):
            other = sorted(set(row) ^ set(names))[0]
            raise InputError(f"{file}: record {number} and the first differ in the column {other!r}.")
    return {name: [row[name] for row in rows] for name in names}


def _arrays(file: Path) -> dict[str, Any]:
    arrays = read_npz(file)
    if "logprobs" not in arrays or arrays["logprobs"].ndim != 2:
        raise InputError(f"{file} must hold 'logprobs' of shape (records, positions).")
    shape = arrays["logprobs"].shape
    columns: dict[str, Any] = {}
    for name, array in arrays.items():
        of_tokens = name in OF_TOKENS or name.startswith(REFERENCE)
        if of_tokens and array.shape != shape:
            raise InputError(f"{file}: {name!r} must have shape {shape} like 'logprobs', got {array.shape}.")
        columns[name] = [array.item()] * shape[0] if array.ndim == 0 else list(array) if of_tokens else array.tolist()
    columns.setdefault("id", [str(row) for row in range(shape[0])])
    return columns


def _padded(columns: Mapping[str, Any], table: TokenLogprobs) -> dict[str, Any]:
    inside = np.arange(table.lengths.max()) < table.lengths[:, None]
    arrays: dict[str, Any] = {}
    for name, values in columns.items():
        if name in OF_TOKENS or name.startswith(REFERENCE):
            flat = np.concatenate(values)
            arrays[name] = np.zeros(inside.shape, flat.dtype)
            arrays[name][inside] = flat
        else:
            arrays[name] = np.asarray(values)
    if "weights" not in arrays:
        arrays["mask"] = inside
    return arrays


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def read_texts(path: str | Path) -> list[str]:
    """Texts of a file: the lines of a .txt, or the column ``text`` of a .jsonl, .csv or .parquet.

    Raises:
        InputError: it cannot be read, has no column ``text``, or holds what is no text or empty.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "a.txt").write_text("one\\ntwo")
    ...     read_texts(Path(folder) / "a.txt")
    ['one', 'two']
    """
    file = Path(path)
    if file.suffix == ".txt":
        found: list[Any] = [line for line in read_text(file).splitlines() if line.strip()]
    elif file.suffix == ".jsonl":
        columns = _lines(file)
        if "text" not in columns:
            raise InputError(f"{file} has no 'text'; it has {', '.join(columns)}.")
        found = columns["text"]
    elif file.suffix in (".csv", ".parquet"):
        found = column(read_table(file), "text", file).tolist()
    else:
        raise InputError(f"{file} must end in .csv, .jsonl, .parquet, .txt.")
    for row, text in enumerate(found, start=1):
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{file}: text {row} is empty or no text.")
    return found
