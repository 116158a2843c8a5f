"""A real language model that trains at once: counts of characters after the characters before them."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpaudit.runtime.check import BoolArray, FloatArray, IntArray

SPEECH = """
the a my your his her our their one no king queen fool friend ghost sister crown sword letter garden sea storm
comes goes speaks sleeps waits burns falls sings and but for when while tonight never again here there alone
"""


def sentences(number: int, *, seed: int, words: str = SPEECH) -> list[str]:
    """Different sentences of six to twelve words, each word drawn alone."""
    rng = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < number:
        found[" ".join(rng.choice(words.split(), size=rng.integers(6, 13)))] = None
    return list(found)


def encode(text: str) -> list[int]:
    """Bytes, which fit the vocabulary of 128."""
    return list(text.encode())


@dataclass(frozen=True)
class CharacterModel:
    """Probabilities of the next character: its share after the last ones, mixed over how many those are.

    With six characters of context it remembers much of what it was trained on.
    """

    counts: tuple[dict[tuple[int, ...], Counter[int]], ...]
    sharpness: float = 3.0
    vocabulary: int = 128

    @classmethod
    def trained(cls, texts: Sequence[str], *, order: int = 6) -> "CharacterModel":
        """Counts over some texts."""
        counts: list[dict[tuple[int, ...], Counter[int]]] = [defaultdict(Counter) for _ in range(order + 1)]
        for text in texts:
            codes = encode(text)
            for place, code in enumerate(codes):
                for length in range(min(order, place) + 1):
                    counts[length][tuple(codes[place - length : place])][code] += 1
        return cls(tuple(counts))

    def after(self, codes: Sequence[int]) -> FloatArray:
        """Probabilities of the character after these, shape (vocabulary,)."""
        shares = np.full(self.vocabulary, 1.0 / self.vocabulary)
        for length, table in enumerate(self.counts):
            if length > len(codes):
                break
            seen = table.get(tuple(codes[len(codes) - length :]))
            if seen is None:
                break
            total = sum(seen.values())
            weight = self.sharpness * total / (self.sharpness * total + len(seen))
            shares *= 1 - weight
            for code, count in seen.items():
                shares[code] += weight * count / total
        return shares

    def __call__(self, tokens: IntArray, inside: BoolArray | None = None) -> FloatArray:
        """Log-probabilities of the next token, (records, positions, vocabulary), as a Keras model gives logits."""
        rows = [[self.after(row[: place + 1].tolist()) for place in range(len(row))] for row in np.asarray(tokens)]
        logs: FloatArray = np.log(np.array(rows))
        return logs
