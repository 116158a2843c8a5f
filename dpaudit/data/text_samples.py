"""Texts that a public model generated, as canaries: read from a file, and checked on their tokens."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dpaudit.data.csv_file import file_kind
from dpaudit.data.load import read_table
from dpaudit.data.text import TEXT_SUFFIXES, json_lines, read_texts
from dpaudit.data.tokens import TextTokenizer
from dpaudit.runtime.errors import InputError

TOKENS = "tokens"


def read_samples(path: str | Path, tokenizer: TextTokenizer, *, context: int) -> list[list[int]]:
    """Tokens of each sample of a file, at most ``context`` of them.

    Args:
        path: CSV, Parquet or JSON lines with a column ``text``, or with a column ``tokens`` of lists of token numbers;
            or a folder whose ``.txt`` files are a text each.
        tokenizer: of the texts, and whose numbers ``tokens`` are.
        context: tokens of a sample that are kept.

    Raises:
        InputError: the file cannot be read, a sample is empty, two are the same as far as they are kept, or a number is
            no token.
    """
    rows = _numbers(Path(path), tokenizer.end)
    samples = [row[:context] for row in (tokenizer.encode(read_texts(str(path)).texts) if rows is None else rows)]
    first: dict[tuple[int, ...], int] = {}
    for place, sample in enumerate(samples):
        if first.setdefault(tuple(sample), place) != place:
            raise InputError(
                f"{path}: samples {first[tuple(sample)]} and {place} have the same {len(sample)} tokens; leave one "
                "out, or generate longer ones at a higher temperature."
            )
    return samples


def _numbers(path: Path, end: int) -> list[list[int]] | None:
    """Token numbers of each sample, where the file has them."""
    if file_kind(path) not in TEXT_SUFFIXES:
        return None
    table = json_lines(path) if file_kind(path) == ".jsonl" else read_table(path)
    if TOKENS not in table:
        return None
    return [_checked(row, f"{path}: sample {place}", end) for place, row in enumerate(table[TOKENS])]


def _checked(row: Any, what: str, end: int) -> list[int]:
    if not isinstance(row, Sequence | np.ndarray) or isinstance(row, str):
        raise InputError(f"{what}: {TOKENS} must be a list of token numbers, got {row!r}.")
    if len(row) == 0:
        raise InputError(f"{what} has no tokens; leave it out.")
    wrong = next(
        (n for n in row if isinstance(n, bool) or not isinstance(n, int | np.integer) or not 0 <= n < end), None
    )
    if wrong is not None:
        raise InputError(f"{what}: {wrong!r} is no token; the tokenizer has whole numbers from 0 to {end - 1}.")
    return [int(number) for number in row]
