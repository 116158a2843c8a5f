"""From a language model's predictions to a table of token log-probabilities; full predictions are never kept."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from dpaudit.data.token_columns import token_logprobs
from dpaudit.data.token_logprobs import REFERENCE, TokenLogprobs
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.logit_scaled import FLOOR

BLOCK = 2**22  # numbers of predictions that are worked on at once
TOGETHER = 2048  # tokens that a model predicts at once, filled-up places among them; a longer record is predicted alone

# Token numbers (records, positions), filled up at the end, and where they are tokens -> predictions of the token after
# each position, (records, positions, vocabulary).
NextToken = Callable[[IntArray, BoolArray], object]


class OfTokens(NamedTuple):
    """Of each token: its log-probability, the mean and deviation of that under the prediction, and if it is the top."""

    logprobs: FloatArray
    mean: FloatArray
    deviation: FloatArray
    top: BoolArray


def observe_tokens(
    predict: NextToken,
    sequences: Sequence[Sequence[int]],
    *,
    columns: Mapping[str, Any] | None = None,
    given: int | Sequence[int] = 1,
    references: Mapping[str, NextToken] | None = None,
    kind: Literal["logits", "probabilities"] = "logits",
    temperature: float = 1.0,
    top_k: int | None = None,
) -> TokenLogprobs:
    """A table from what a model predicts for token sequences.

    Args:
        predict: the model, in inference mode; it must not look ahead.
        sequences: token numbers of each record, at least 2.
        columns: further ones, each with one value for each record: ``id`` (default: row numbers), ``user``, ``text``,
            ``tokenizer``; and ``included.NAME``, whether the reference was trained on each.
        given: how many of the first tokens are given and not scored, one number or one for each record: 1, as nothing
            comes before the first; for extraction the length of the prefix.
        references: other models by name.
        kind: what the models return.
        temperature: by which logits are divided.
        top_k: how many of the likeliest tokens a sampler draws from; the others get probability 0.

    Raises:
        InputError: no record, one without a token to score, or a model that returns another shape.

    >>> def predict(tokens, inside):  # always the same
    ...     return np.broadcast_to(np.log([0.7, 0.2, 0.1]), (*tokens.shape, 3))
    >>> table = observe_tokens(predict, [[2, 0, 1], [1, 0]])
    >>> np.exp(table.logprobs).round(3), table.top
    (array([0.7, 0.2, 0.7]), array([ True, False,  True]))
    """
    check.one_of("kind", kind, ("logits", "probabilities"))
    check.positive("temperature", temperature)
    if top_k is not None:
        check.integer("top_k", top_k, at_least=1)
    rows = [np.asarray(sequence, np.int64) for sequence in sequences]
    if not rows:
        raise InputError("there are no records to score.")
    first = np.broadcast_to(np.asarray(given, np.int64), len(rows))
    for row, (tokens, start) in enumerate(zip(rows, first, strict=True)):
        if tokens.ndim != 1 or not 1 <= start < tokens.size:
            raise InputError(f"record {row} has {tokens.size} token(s), and {start} are given: none is left to score.")

    sizes: list[int] = []  # of the vocabularies; the first is the model's own

    def seen(model: NextToken) -> list[OfTokens]:
        found = []
        for at, end in _batches([len(row) for row in rows]):
            part = rows[at:end]
            inside = np.arange(max(map(len, part))) < np.array([len(row) for row in part])[:, None]
            padded = np.zeros(inside.shape, np.int64)
            padded[inside] = np.concatenate(part)
            outputs = np.asarray(model(padded, inside))
            if outputs.ndim != 3 or outputs.shape[:2] != padded.shape or outputs.shape[2] <= padded.max():
                raise InputError(
                    f"the model must return (records, positions, vocabulary) for tokens {padded.shape} up to "
                    f"{padded.max()}, got {outputs.shape}."
                )
            sizes.append(outputs.shape[2])
            for row, tokens in enumerate(part):
                start = int(first[at + row])
                logits = outputs[row, start - 1 : len(tokens) - 1]
                found.append(_observed(logits, tokens[start:], kind, temperature, top_k))
        return found

    own = seen(predict)
    table: dict[str, Any] = {"id": [str(row) for row in range(len(rows))], **(columns or {})}
    table |= {name: [getattr(each, name) for each in own] for name in OfTokens._fields}
    table["tokens"] = [tokens[start:] for tokens, start in zip(rows, first, strict=True)]
    for name, model in (references or {}).items():
        table[f"{REFERENCE}{name}"] = [each.logprobs for each in seen(model)]
    if top_k is not None:
        table["top_k"] = [top_k] * len(rows)
    table["temperature"] = [temperature] * len(rows)
    table["vocabulary"] = [sizes[0]] * len(rows)
    return token_logprobs(table, "what the model predicts")


def _batches(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last row, exclusive, of records that are predicted together."""
    start, longest = 0, 0
    for row, length in enumerate(lengths):
        if row > start and (row - start + 1) * max(longest, length) > TOGETHER:
            yield start, row
            start, longest = row, 0
        longest = max(longest, length)
    if lengths:
        yield start, len(lengths)


def _observed(
    outputs: npt.NDArray[Any], tokens: IntArray, kind: str, temperature: float, top_k: int | None
) -> OfTokens:
    step = max(1, BLOCK // outputs.shape[1])
    parts = [
        _block(outputs[at : at + step], tokens[at : at + step], kind, temperature, top_k)
        for at in range(0, len(tokens), step)
    ]
    return OfTokens(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _block(outputs: npt.NDArray[Any], tokens: IntArray, kind: str, temperature: float, top_k: int | None) -> OfTokens:
    values = check.finite("predictions of the model", outputs.astype(np.float64))
    if kind == "probabilities":
        if values.min() < 0 or np.abs(values.sum(axis=1) - 1).max() > 0.01:
            raise InputError("probabilities must be at least 0 and sum to 1 at each position. Logits, perhaps?")
        values = np.log(np.maximum(values, FLOOR))
    values = values / temperature
    if top_k is not None and top_k < values.shape[1]:
        least = np.partition(values, -top_k, axis=1)[:, -top_k, None]
        values = np.where(values >= least, values, -np.inf)
    logs = np.asarray(log_softmax(values, axis=1), np.float64)
    shares, finite = np.exp(logs), np.where(np.isneginf(logs), 0.0, logs)
    mean = (shares * finite).sum(axis=1)
    spread = (shares * np.square(finite - mean[:, None])).sum(axis=1)
    own = np.take_along_axis(logs, tokens[:, None], axis=1)[:, 0]
    return OfTokens(own, mean, np.sqrt(spread), logs.argmax(axis=1) == tokens)
