"""A Keras language model's log-probabilities of texts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from dpaudit.data.token_logprobs import TokenLogprobs
from dpaudit.runtime.check import BoolArray, IntArray
from dpaudit.scores.observe_tokens import NextToken, observe_tokens


def keras_token_logprobs(
    model: Callable[[Any], Any],
    texts: Sequence[str],
    encode: Callable[[str], Sequence[int]],
    *,
    begin: int | None = None,
    references: Mapping[str, Callable[[Any], Any]] | None = None,
    columns: Mapping[str, Any] | None = None,
    kind: Literal["logits", "probabilities"] = "logits",
    **how: Any,
) -> TokenLogprobs:
    """A table of texts under a Keras model, for `dpaudit.audit_text`.

    Args:
        model: from token numbers (records, positions) to predictions of the next token (records, positions,
            vocabulary); it must not look ahead. A Keras model of any version is called in inference mode.
        texts: the records.
        encode: from a text to its token numbers, 0 being what fills up the end.
        begin: token put before each text, so that the first token is scored as well.
        references: other models with the same tokens, by name.
        columns: further ones, as for `observe_tokens`.
        kind: what the models return.
        how: ``given``, ``temperature`` and ``top_k`` of `observe_tokens`.

    >>> def model(tokens):  # knows only that a space is likely
    ...     return np.where(np.arange(128) == 32, 5.0, 0.0) + np.zeros((*tokens.shape, 1))
    >>> table = keras_token_logprobs(model, ["a b", "c"], lambda text: list(text.encode()), begin=0)
    >>> table.lengths, int(table.logprobs.argmax())
    (array([3, 1]), 1)
    """
    sequences = [[*([] if begin is None else [begin]), *encode(text)] for text in texts]
    others = {name: _predict(other) for name, other in (references or {}).items()}
    every = {"text": list(texts), **(columns or {})}
    return observe_tokens(_predict(model), sequences, columns=every, references=others, kind=kind, **how)


def _predict(model: Callable[[Any], Any]) -> NextToken:
    def predict(tokens: IntArray, inside: BoolArray) -> object:
        return np.asarray(model(tokens))

    return predict
