"""Exact texts from the gradient of a decoder: DAGER, `Petrov et al. (2024) <https://arxiv.org/abs/2405.15586>`_.

The inputs of a layer lie in the column space of its weight gradient (`spans`). What the first attention meets depends
on one token and its position, so tokens are checked one by one; what comes behind that attention depends on all tokens
before, so texts grow token by token as long as they stay in the space of the dense layer that reads it. (The paper
checks the next attention; the dense layer between is nearer, and there in models of one block.) What passes is then
solved for in the head's gradient, whose rows say how often each text goes on with which token. So nothing is returned
that does not explain the gradient, and the last token is found, which no layer but the head has seen.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from dpaudit.attacks.gradient.bag_of_words import present_tokens
from dpaudit.attacks.gradient.decoder_arrays import DecoderArrays, softmax
from dpaudit.attacks.gradient.found_texts import FoundTexts
from dpaudit.attacks.gradient.spans import Span
from dpaudit.attacks.gradient.view import Arrays, BatchGradient, GradientView, gradient_of
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import AuditFailed

Prefix = tuple[int, ...]
UNEXPLAINED = (
    "DAGER: no texts explain the gradient exactly: it carries noise, was compressed, is of several local steps, or of "
    "another model."
)


class _Level(NamedTuple):
    """Prefixes of one length: tokens (prefixes, length), and their keys and values in the first attention."""

    tokens: IntArray
    keys: FloatArray
    values: FloatArray


@dataclass(frozen=True)
class Dager:
    """All texts of a batch, exact, while their different beginnings are fewer than channels: B(T - 1) below the width.

    It reads a plain gradient, or an update of one local step. Clipping changes no column space, so it hides nothing.

    Args:
        first: token that every text begins with; None is the last of the vocabulary, as in text data here.

    Raises:
        AuditFailed: the rank reaches the width, or what passes the checks does not explain the gradient. Never garbage.
    """

    whole_texts: ClassVar[bool] = True
    first: int | None = None

    def __post_init__(self) -> None:
        if self.first is not None:
            check.integer("first", self.first, at_least=0)

    def require(self, weights: Arrays) -> None:
        """Refuse weights that are no decoder's."""
        vocabulary = len(DecoderArrays.of(weights).tokens)
        if self.first is not None and self.first >= vocabulary:
            raise AuditFailed(f"DAGER: first must be one of the {vocabulary} tokens, got {self.first}.")

    def read(self, view: GradientView) -> FoundTexts:
        """The distinct texts of the batch, each from its second token to the last that its loss is on."""
        gradient = gradient_of(view, "DAGER")
        self.require(gradient.weights)
        weights, slopes = DecoderArrays.of(gradient.weights), DecoderArrays.of(gradient.gradient)
        first = len(weights.tokens) - 1 if self.first is None else self.first
        prefixes, exactness = self._prefixes(gradient, weights, slopes, first)
        return FoundTexts.of(_explained(prefixes, weights, slopes, exactness**0.5))

    def _prefixes(
        self, gradient: BatchGradient, weights: DecoderArrays, slopes: DecoderArrays, first: int
    ) -> tuple[list[Prefix], float]:
        """Beginnings of texts that pass all checks, every length, and the gap's ratio in the last check."""
        block, moved = weights.blocks[0], slopes.blocks[0]
        width = len(block.wide)
        behind = Span.of([moved.wide], [moved.wide_bias])
        if behind.rank >= width:
            raise AuditFailed(
                f"DAGER: the rank of the gradient reaches the {width} channels of the model, so every text lies in its "
                "span and none is exact: too many or too long texts for the width, or noise."
            )
        kernels = [part.reshape(width, -1) for part in (moved.query, moved.key, moved.value)]
        before = Span.of(kernels, [part.ravel() for part in (moved.query_bias, moved.key_bias, moved.value_bias)])
        bag = present_tokens(gradient)
        known = bag if len(bag) else np.arange(len(weights.tokens))  # an embedding that is not trained has no gradient
        heads = block.query.shape[1:]
        level = _Level(np.empty((1, 0), int), np.empty((1, 0, *heads)), np.empty((1, 0, *heads)))
        found: list[Prefix] = []
        for position in range(len(weights.positions)):
            candidates = np.array([first]) if position == 0 else known
            x = weights.tokens[candidates] + weights.positions[position]
            seen = block.attention_input(x)
            if before.rank < width:
                passed = before.contains(seen)
                candidates, x, seen = candidates[passed], x[passed], seen[passed]
            level = _grown(level, candidates, x, block.projected(seen), weights, behind)
            found += [tuple(row) for row in level.tokens.tolist()]
            if not len(level.tokens):
                break
            if len(found) > width:  # more than can be told apart
                raise AuditFailed(UNEXPLAINED)
        if not found:
            raise AuditFailed(UNEXPLAINED)
        return found, behind.ratio


def _grown(
    level: _Level,
    candidates: IntArray,
    x: FloatArray,
    projected: tuple[FloatArray, FloatArray, FloatArray],
    weights: DecoderArrays,
    behind: Span,
) -> _Level:
    """Prefixes one token longer, of which what the dense layer meets at the new position lies in its span."""
    query, key, value = projected
    old = np.einsum("chs,pjhs->pchj", query, level.keys)
    own = np.broadcast_to(np.einsum("chs,chs->ch", query, key), old.shape[:3])
    attention = softmax(np.concatenate([old, own[..., None]], axis=3))
    mixed = np.einsum("pchj,pjhs->pchs", attention[..., :-1], level.values) + attention[..., -1:] * value
    _, met = weights.blocks[0].dense_input(x, mixed)
    prefix, chosen = np.nonzero(behind.contains(met))
    return _Level(
        np.column_stack([level.tokens[prefix], candidates[chosen]]),
        np.concatenate([level.keys[prefix], key[chosen][:, None]], axis=1),
        np.concatenate([level.values[prefix], value[chosen][:, None]], axis=1),
    )


def _explained(prefixes: list[Prefix], weights: DecoderArrays, slopes: DecoderArrays, small: float) -> list[Prefix]:
    """Whole texts, from how the head's gradient says that each prefix goes on.

    The head's gradient is Σ h (wπ - Σ_y w_y 1_y) over prefixes, with h what the head meets, π its prediction, w_y the
    weight of the texts that go on with y and w their sum. With independent h each prefix's row is found by solving;
    what is ``small`` beside the largest number in it is rounding.
    """
    mark, places = len(weights.tokens) - 1, len(weights.positions)
    met = _heads_of(prefixes, weights)
    rows = np.linalg.lstsq(
        np.column_stack([met, np.ones(len(met))]).T, np.vstack([slopes.head, slopes.head_bias]), rcond=None
    )[0]
    predicted = softmax(met @ weights.head + weights.head_bias)
    # A token that no text goes on with has wπ in its row; what is rounding there cannot tell w.
    plain = rows > small * np.abs(rows).max(1, keepdims=True)
    total = np.where(plain, rows / predicted, 0.0).max(1)
    going = total[:, None] * predicted - rows > small * total.max()
    going[total <= small * total.max()] = False
    follows = {prefix: set(np.flatnonzero(on).tolist()) for prefix, on in zip(prefixes, going, strict=True)}
    texts: list[Prefix] = []
    waiting: list[Prefix] = [prefix for prefix in prefixes if len(prefix) == 1]
    while waiting:
        prefix = waiting.pop()
        for token in follows.get(prefix, set()):
            longer: Prefix = (*prefix, token)
            if token == mark or len(longer) > places:
                texts.append(longer[1:])
            elif follows.get(longer):
                waiting.append(longer)
            else:
                raise AuditFailed(UNEXPLAINED)
    if not texts:
        raise AuditFailed(UNEXPLAINED)
    return texts


def _heads_of(prefixes: list[Prefix], weights: DecoderArrays) -> FloatArray:
    """What the head meets behind each prefix, (prefixes, width); a pass over the longest gives their beginnings too."""
    met: dict[Prefix, FloatArray] = {}
    for prefix in sorted(prefixes, key=len, reverse=True):
        if prefix not in met:
            along = weights.head_input(np.array([prefix]))[0]
            met.update({prefix[: 1 + place]: row for place, row in enumerate(along)})
    return np.stack([met[prefix] for prefix in prefixes])
