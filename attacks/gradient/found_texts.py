"""What an attack on a language model draws from a gradient."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class FoundTexts:
    """Tokens and whole texts of a batch.

    Args:
        tokens: distinct tokens that the model was given, in order; the last of a text is predicted only.
        texts: distinct texts, each as its tokens behind the mark that every text begins with; None where the attack
            looks for tokens only.

    >>> FoundTexts.of([[5, 2, 7], [5, 9, 8]]).tokens
    (2, 5, 9)
    """

    tokens: tuple[int, ...]
    texts: tuple[tuple[int, ...], ...] | None = None

    @classmethod
    def of(cls, texts: Iterable[Iterable[int]]) -> "FoundTexts":
        """Texts, and the tokens in them."""
        each = sorted({tuple(int(token) for token in text) for text in texts})
        return cls(tuple(sorted({token for text in each for token in text[:-1]})), tuple(each))
