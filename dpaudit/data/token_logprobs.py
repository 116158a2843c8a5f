"""Texts as a language model saw them: the log-probability of each token, and what else a score of a text needs.

The same table whatever the framework: a row is a record (a document), its tokens are a list. Full logits are never in
it. docs/language_model.md lists the columns.
"""

import zlib as compression
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.runtime.check import BoolArray, FloatArray, IntArray
from dpaudit.runtime.errors import InputError

OF_TOKENS = ("logprobs", "mask", "weights", "mean", "deviation", "top", "tokens")
OF_RECORDS = ("id", "user", "text", "bytes", "zlib")
OF_ALL = ("tokenizer", "vocabulary", "top_k", "temperature")
REFERENCE, INCLUDED = "reference.", "included."
NOT_AMONG_TOP = -9999.0  # what some interfaces answer for a token outside the k likeliest
ROUNDING = 1e-6  # a log-probability of a certain token, computed in float32, may lie so far above 0


@dataclass(frozen=True, eq=False)
class TokenLogprobs:
    """Log-probabilities of the tokens of some records, one record after the other.

    Positions that a mask leaves out are not in it.

    Args:
        ids: name of each record, shape (records,).
        lengths: tokens of each record, shape (records,), at least 1.
        logprobs: natural log-probability of each token after those before it, shape (tokens,). -inf only where
            ``top_k`` says that the sampler never draws others than the k likeliest.
        weights: of each token, above 0, shape (tokens,); None where all are 1.
        mean: of the log-probability of the next token under the model's own prediction, shape (tokens,).
        deviation: its standard deviation, shape (tokens,).
        top: whether the likeliest token was the right one, shape (tokens,).
        tokens: number of each token in the vocabulary, shape (tokens,).
        references: the log-probabilities of the same tokens under other models, by name.
        included: whether each of those was trained on each record, shape (records,); all False where nothing says so.
        users: whose record it is, shape (records,).
        texts: the records themselves.
        bytes: length of each text, shape (records,).
        zlib: length of each text after compression, in bytes, shape (records,).
        sequences: all token numbers of each record as words, those that a mask leaves out too; the record itself where
            there is no text.
        tokenizer: its name; empty where nothing says so.
        vocabulary: how many tokens there are, which the numbers of tokens lie below; None where nothing says so.
        top_k: how many of the likeliest tokens have a probability above 0; None for all.
        temperature: that of the predictions.
        notes: how it was read, in sentences.
    """

    ids: npt.NDArray[np.str_]
    lengths: IntArray
    logprobs: FloatArray
    weights: FloatArray | None = None
    mean: FloatArray | None = None
    deviation: FloatArray | None = None
    top: BoolArray | None = None
    tokens: IntArray | None = None
    references: Mapping[str, FloatArray] = field(default_factory=dict)
    included: Mapping[str, BoolArray] = field(default_factory=dict)
    users: npt.NDArray[np.generic] | None = None
    texts: tuple[str, ...] | None = None
    bytes: IntArray | None = None
    zlib: IntArray | None = None
    sequences: tuple[str, ...] | None = None
    tokenizer: str = ""
    vocabulary: int | None = None
    top_k: int | None = None
    temperature: float = 1.0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.lengths.size

    @property
    def starts(self) -> IntArray:
        """Place of each record's first token, shape (records,)."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths)[:-1]])

    @property
    def owner(self) -> IntArray:
        """Row of the record of each token, shape (tokens,)."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def compressed(self) -> IntArray | None:
        """Length of each text after compression by zlib; None where there is neither that nor the text."""
        if self.zlib is not None or self.texts is None:
            return self.zlib
        return np.array([len(compression.compress(text.encode())) for text in self.texts], np.int64)

    @property
    def content(self) -> tuple[str, ...] | None:
        """The records as texts: the text itself, or its tokens as words; None where neither is there."""
        return self.texts if self.texts is not None else self.sequences


def join_tables(first: TokenLogprobs, second: TokenLogprobs) -> TokenLogprobs:
    """Both tables in one, the records of the first before those of the second; both have the same columns."""
    together: dict[str, Any] = {}
    for each in fields(TokenLogprobs):
        one, other = getattr(first, each.name), getattr(second, each.name)
        if each.name == "notes":
            together[each.name] = tuple(dict.fromkeys((*one, *other)))
        elif isinstance(one, np.ndarray):
            together[each.name] = np.concatenate([one, other])
        elif isinstance(one, tuple):
            together[each.name] = (*one, *other)
        elif isinstance(one, Mapping):
            together[each.name] = {name: np.concatenate([one[name], other[name]]) for name in one}
    return replace(first, **together)


def refuse_unlike(tables: Mapping[str, TokenLogprobs]) -> None:
    """Refuse tables that cannot be compared or that share a record, by what each is called.

    Raises:
        InputError: different columns, tokenizers or sampling; an id, a text or a user in two of them.

    >>> from dpaudit.data.token_columns import token_logprobs
    >>> one, two = ({"id": [name], "logprobs": [[-1.0]], "tokenizer": [name]} for name in ("a", "b"))
    >>> refuse_unlike({"members": token_logprobs(one), "others": token_logprobs(two)})
    Traceback (most recent call last):
    ...
    dpaudit.runtime.errors.InputError: members and others: the tokenizer is 'a' in one and 'b' in the other.
    """
    (first, one), *rest = tables.items()
    wrong: list[str] = []
    for name, other in rest:
        said = _unlike(one, other)
        wrong += [f"{first} and {name}: {'; '.join(said)}"] if said else []
    if wrong:
        raise InputError(f"{'. '.join(wrong)}.")


def _unlike(one: TokenLogprobs, other: TokenLogprobs) -> list[str]:
    wrong = []
    for name in ("weights", "mean", "deviation", "top", "tokens", "users", "texts", "bytes", "zlib"):
        if (getattr(one, name) is None) != (getattr(other, name) is None):
            wrong.append(f"the column {name.rstrip('s') if name in ('users', 'texts') else name!r} is in one only")
    if set(one.references) != set(other.references):
        only = sorted(set(one.references) ^ set(other.references))
        wrong.append(f"the column {REFERENCE + only[0]!r} is in one only")
    for name in OF_ALL:
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine != theirs:
            wrong.append(f"the {name} is {mine!r} in one and {theirs!r} in the other")
    both = sorted(set(one.ids.tolist()) & set(other.ids.tolist()))
    if both:
        wrong.append(f"{len(both)} id(s) are in both, one is {both[0]!r}")
    if one.content is not None and other.content is not None and (shared := set(one.content) & set(other.content)):
        row = next(row for row, text in enumerate(one.content) if text in shared)
        wrong.append(
            f"{len(shared)} text(s) are in both, one is that of {str(one.ids[row])!r}: a text that was trained on is "
            "no non-member; leave it out of both"
        )
    if one.users is not None and other.users is not None:
        owners = sorted(set(one.users.tolist()) & set(other.users.tolist()), key=str)
        if owners:
            wrong.append(f"{len(owners)} user(s) are in both, one is {str(owners[0])!r}: users were not chosen whole")
    return wrong
