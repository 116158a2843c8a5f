"""The columns of a table of token log-probabilities, whatever file or reader they come from, checked."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.data.token_logprobs import (
    INCLUDED,
    NOT_AMONG_TOP,
    OF_ALL,
    OF_RECORDS,
    OF_TOKENS,
    REFERENCE,
    ROUNDING,
    TokenLogprobs,
)
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray
from dpaudit.runtime.errors import InputError


def token_logprobs(columns: Mapping[str, Any], where: str = "the table", *, user: str = "user") -> TokenLogprobs:
    """A table from its columns, checked: all that is wrong in one message.

    Args:
        columns: by name, each with one value for each record: a list of numbers for what is of tokens.
        where: what the message calls it.
        user: column that says whose record it is.

    Raises:
        InputError: a column is missing or has another length, an id is there twice, a log-probability is above 0, NaN,
            or -inf without ``top_k``, a token is beyond the vocabulary, a mask leaves nothing, a text is empty.

    >>> table = token_logprobs({"id": ["a", "b"], "logprobs": [[-1.0, -2.0], [-0.5]]})
    >>> table.lengths, table.logprobs
    (array([2, 1]), array([-1. , -2. , -0.5]))
    >>> token_logprobs({"id": ["a", "a"], "logprobs": [[0.5], []]})
    Traceback (most recent call last):
    ...
    dpaudit.runtime.errors.InputError: the table: the id 'a' is there twice; 1 record(s) have no token, \
the first is 'a'.
    """
    found = _Columns(dict(columns), where, user)
    return found.table()


_PLAIN = (str, int, float, np.generic)


class _Columns:
    """Columns on their way to a table: each step notes what is wrong, and the last one says it all."""

    def __init__(self, columns: dict[str, Any], where: str, user: str) -> None:
        self.where, self.wrong, self.notes = where, [], []  # type: tuple[str, list[str], list[str]]
        self.columns = {("user" if name == user else name): value for name, value in columns.items()}
        if user != "user" and user not in columns:
            self._stop(f"there is no column {user!r}; there are {', '.join(columns)}")
        known = (*OF_TOKENS, *OF_RECORDS, *OF_ALL)
        for name in self.columns:
            if name in known or name.startswith((REFERENCE, INCLUDED)):
                continue
            if hint := check.nearest(name, (*known, f"{REFERENCE}a", f"{INCLUDED}a")):
                self.wrong.append(f"the column {name!r} is not known.{hint.rstrip('?')}")
            else:
                self.notes.append(f"The column {name!r} of {where} was not read.")
        missing = [name for name in ("id", "logprobs") if name not in self.columns]
        if missing:
            self._stop(f"the column {' and '.join(map(repr, missing))} is missing")
        for name, values in self.columns.items():
            single = name in (*OF_RECORDS, *OF_ALL) or name.startswith(INCLUDED)
            if single and not all(each is None or isinstance(each, _PLAIN) for each in values):
                self.wrong.append(f"{name!r} must be one value for each record, no list")
        self._stop()
        counts = {name: len(value) for name, value in self.columns.items()}
        if len(set(counts.values())) > 1 or not counts["id"]:
            self._stop(f"there must be one value for each record in every column, got {counts}")

    def _stop(self, *more: str) -> None:
        wrong = [*self.wrong, *more]
        if wrong:
            raise InputError(f"{self.where}: {'; '.join(wrong)}.")

    def table(self) -> TokenLogprobs:
        """All columns, checked."""
        ids = self._ids()
        lengths = np.array([_length(row) for row in self.columns["logprobs"]], np.int64)
        self._some("no token", lengths == 0, ids)
        self._some("no list of log-probabilities", lengths < 0, ids)
        if lengths.min() < 1:
            self._stop()
        owner = np.repeat(np.arange(lengths.size), lengths)
        references = [name for name in self.columns if name.startswith(REFERENCE)]
        names = [name for name in OF_TOKENS if name in self.columns] + references
        flat = {name: self._flat(name, lengths, ids) for name in names}
        if any(values.size != owner.size for values in flat.values()):
            self._stop()
        if "mask" in flat and "weights" in flat:
            self._stop("give a mask or weights, not both")
        if "mask" in flat:
            self._flags("mask", flat["mask"])
        weights = flat.pop("mask", flat.pop("weights", None))
        sequences = _sequences(flat["tokens"], weights, lengths) if "tokens" in flat else None
        if weights is not None:
            if not np.isfinite(weights).all() or weights.min() < 0:
                self._stop("weights must be finite and at least 0")
            kept = weights > 0
            lengths = np.bincount(owner, weights=kept, minlength=lengths.size).astype(np.int64)
            self._some("a mask or weights of zeros only", lengths == 0, ids)
            if lengths.min() < 1:
                self._stop()
            flat, weights, owner = {name: values[kept] for name, values in flat.items()}, weights[kept], owner[kept]
            weights = None if (weights == 1).all() else weights
        top_k, temperature, tokenizer = self._one("top_k"), self._one("temperature"), self._one("tokenizer")
        for name in ("logprobs", *references):
            flat[name] = self._log_probabilities(name, flat[name], owner, ids, listed=top_k is not None)
        if "mean" in flat and (np.isnan(flat["mean"]).any() or flat["mean"].max() > ROUNDING):
            self.wrong.append("'mean', of log-probabilities, must be at most 0")
        if "deviation" in flat and not (np.isfinite(flat["deviation"]).all() and flat["deviation"].min() >= 0):
            self.wrong.append("'deviation' must be finite and at least 0")
        if "top" in flat:
            self._flags("top", flat["top"])
        vocabulary = self._one("vocabulary")
        if "tokens" in flat:
            self._whole("tokens", flat["tokens"])
            beyond = flat["tokens"] >= (np.inf if vocabulary is None else vocabulary)
            if beyond.any():
                first, last = str(ids[owner[int(beyond.argmax())]]), f"{flat['tokens'][beyond].max():.0f}"
                self.wrong.append(
                    f"'tokens': {int(beyond.sum())} are beyond the vocabulary of {vocabulary} (up to {last}), "
                    f"the first in {first!r}; make the table with the tokenizer of the model"
                )
        included = self._included([name.removeprefix(REFERENCE) for name in references], lengths.size)
        texts = self._texts(ids)
        sizes = {name: self._size(name) for name in ("bytes", "zlib")}
        self._stop()
        return TokenLogprobs(
            ids,
            lengths,
            flat["logprobs"],
            weights,
            flat.get("mean"),
            flat.get("deviation"),
            flat["top"] == 1 if "top" in flat else None,
            flat["tokens"].astype(np.int64) if "tokens" in flat else None,
            {name.removeprefix(REFERENCE): flat[name] for name in references},
            included,
            np.asarray(self.columns["user"]) if "user" in self.columns else None,
            texts,
            sizes["bytes"],
            sizes["zlib"],
            sequences,
            tokenizer="" if tokenizer is None else str(tokenizer),
            vocabulary=None if vocabulary is None else int(vocabulary),
            top_k=None if top_k is None else int(top_k),
            temperature=1.0 if temperature is None else float(temperature),
            notes=tuple(self.notes),
        )

    def _ids(self) -> npt.NDArray[np.str_]:
        ids = np.array([str(each) for each in self.columns["id"]], np.str_)
        names, counts = np.unique(ids, return_counts=True)
        if (twice := names[counts > 1]).size:
            more = "" if twice.size == 1 else f", and so are {twice.size - 1} others"
            self.wrong.append(f"the id {str(twice[0])!r} is there twice{more}")
        return ids

    def _some(self, what: str, where: BoolArray, ids: npt.NDArray[np.str_]) -> None:
        if where.any():
            self.wrong.append(f"{int(where.sum())} record(s) have {what}, the first is {str(ids[where.argmax()])!r}")

    def _flat(self, name: str, lengths: IntArray, ids: npt.NDArray[np.str_]) -> FloatArray:
        own = np.array([_length(row) for row in self.columns[name]], np.int64)
        if (other := own != lengths).any():
            row = int(other.argmax())
            self.wrong.append(f"{name!r} of {str(ids[row])!r} has {max(own[row], 0)} values for {lengths[row]} tokens")
            return np.empty(0)
        try:
            return np.concatenate([np.asarray(row, np.float64) for row in self.columns[name]])
        except (TypeError, ValueError):
            self.wrong.append(f"{name!r} must be lists of numbers")
            return np.empty(0)

    def _log_probabilities(
        self, name: str, values: FloatArray, owner: IntArray, ids: npt.NDArray[np.str_], *, listed: bool
    ) -> FloatArray:
        for what, where in (("NaN or missing", np.isnan(values)), ("above 0", values > ROUNDING)):
            if where.any():
                first = int(where.argmax())
                self.wrong.append(
                    f"{name!r}: {int(where.sum())} log-probabilities are {what}, the first in "
                    f"{str(ids[owner[first]])!r}"
                    + (f" ({values[first]:g}; are they probabilities?)" if what == "above 0" else "")
                )
        none = np.isneginf(values) | (values == NOT_AMONG_TOP)
        if none.any() and not listed:
            self.wrong.append(
                f"{name!r}: {int(none.sum())} log-probabilities are -inf or {NOT_AMONG_TOP:g}, the first in "
                f"{str(ids[owner[int(none.argmax())]])!r}; if only the k likeliest tokens were listed or can be drawn, "
                "say so in a column 'top_k'"
            )
        elif none.any() and none.all():
            self.wrong.append(f"{name!r}: no log-probability is finite")
        return np.where(none, -np.inf, np.minimum(values, 0.0))

    def _flags(self, name: str, values: FloatArray) -> None:
        if not np.isin(values, (0.0, 1.0)).all():
            self.wrong.append(f"{name!r} must be true/false or 1/0")

    def _whole(self, name: str, values: FloatArray) -> None:
        if (
            not np.isfinite(values).all()
            or (values != np.floor(values)).any()
            or values.min() < 0
            or values.max() >= 2**53
        ):
            self.wrong.append(f"{name!r} must be whole numbers of at least 0")

    def _one(self, name: str) -> Any:
        """A value that is the same for all records; None where nothing is said."""
        if name not in self.columns:
            return None
        values = {None if _is_missing(each) else each for each in np.asarray(self.columns[name], object).tolist()}
        if len(values) > 1:
            self.wrong.append(f"{name!r} must be the same in all records, got {sorted(map(str, values))[:3]}")
            return None
        value = values.pop()
        if value is None or name == "tokenizer":
            return value
        try:
            return check.positive(name, value) if name == "temperature" else check.integer(name, value, at_least=1)
        except InputError as error:
            self.wrong.append(str(error).rstrip("."))
            return None

    def _included(self, references: Sequence[str], records: int) -> dict[str, BoolArray]:
        found = {name: np.zeros(records, bool) for name in references}
        for column in [name for name in self.columns if name.startswith(INCLUDED)]:
            name = column.removeprefix(INCLUDED)
            if name not in found:
                self.wrong.append(f"{column!r} has no column {REFERENCE + name!r} beside it")
                continue
            try:
                found[name] = check.flags(column, np.asarray(self.columns[column]))
            except InputError as error:
                self.wrong.append(str(error).rstrip("."))
        return found

    def _texts(self, ids: npt.NDArray[np.str_]) -> tuple[str, ...] | None:
        if "text" not in self.columns:
            return None
        texts = list(self.columns["text"])
        self._some("no text", np.array([not isinstance(text, str) or not text.strip() for text in texts], bool), ids)
        return tuple(map(str, texts))

    def _size(self, name: str) -> IntArray | None:
        if name not in self.columns:
            return None
        values = np.asarray(self.columns[name])
        if values.dtype.kind not in "iu" or values.min() < 1:
            self.wrong.append(f"{name!r} must be whole numbers of at least 1")
            return None
        return values.astype(np.int64)


def _length(row: Any) -> int:
    """Of a list; -1 of what is none."""
    return -1 if isinstance(row, str) or not hasattr(row, "__len__") else len(row)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _sequences(tokens: FloatArray, weights: FloatArray | None, lengths: IntArray) -> tuple[str, ...]:
    """The tokens of each record as words, up to the last one that counts: what fills a row up is none of it."""
    rows = np.split(tokens, np.cumsum(lengths)[:-1])
    kept = [None] * len(rows) if weights is None else np.split(weights, np.cumsum(lengths)[:-1])
    last = [
        row.size if mask is None else 1 + int(np.max(np.flatnonzero(mask), initial=-1))
        for row, mask in zip(rows, kept, strict=True)
    ]
    return tuple(" ".join(f"t{token:.0f}" for token in row[:end]) for row, end in zip(rows, last, strict=True))
