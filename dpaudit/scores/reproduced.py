"""Training texts inside a model's generations: word for word, nearly, or in a long run of words."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray
from dpaudit.runtime.errors import InputError

NEARLY = 0.8  # of the three-word sequences of a text, in one generation
RUN = 50  # words in a row
CHUNK = 1000  # texts that are compared at once


class Reproduced(NamedTuple):
    """Of each text: is it in a generation, nearly, or does it share a long run of words; each shape (texts,)."""

    verbatim: BoolArray
    near: BoolArray
    run: BoolArray


def find_reproduced(texts: Sequence[str], generations: Sequence[str], *, run: int = RUN) -> Reproduced:
    """Look for texts in generations.

    Verbatim: the whole text, but for white space at its ends, is a part of a generation, character by character. Near:
    that, or at least 80 % of its sequences of three words, case and punctuation aside, are in one generation (their
    containment, `Broder (1997) <https://doi.org/10.1109/SEQUEN.1997.666900>`_). Run: so many words in a row, as they
    are, are in a generation; `Lee et al. (2022) <https://arxiv.org/abs/2107.06499>`_ take 50 tokens.

    Args:
        texts: the records.
        generations: what the model wrote.
        run: words in a row.

    Raises:
        InputError: there are no texts or no generations.

    >>> found = find_reproduced(["the cat sat on a mat", "a dog"], ["He said: The cat sat on a mat!"], run=4)
    >>> found.verbatim.tolist(), found.near.tolist(), found.run.tolist()
    ([False, False], [True, False], [True, False])
    """
    check.integer("run", run, at_least=1)
    if not texts or not generations:
        raise InputError(f"there must be texts and generations, got {len(texts)} and {len(generations)}.")
    whole = "\0".join(generations)
    verbatim = np.array([text.strip() in whole for text in texts])
    runs = {each for generation in generations for each in _runs(generation, run)}
    long = np.array([any(each in runs for each in _runs(text, run)) for text in texts])
    return Reproduced(verbatim, verbatim | _contained(texts, generations), long)


def _runs(text: str, length: int) -> list[int]:
    """Hashes of all sequences of so many words."""
    words = text.split()
    return [hash(tuple(words[at : at + length])) for at in range(len(words) - length + 1)]


def _contained(texts: Sequence[str], generations: Sequence[str]) -> BoolArray:
    """Whether most three-word sequences of a text are in one generation."""
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(
        ngram_range=(3, 3), token_pattern=r"\w+", binary=True, norm=None, alternate_sign=False, n_features=2**22
    )
    written: Any = vectorizer.transform(generations).T.tocsc()
    found = np.zeros(len(texts), bool)
    for at in range(0, len(texts), CHUNK):
        own = vectorizer.transform(texts[at : at + CHUNK])
        most = np.asarray((own @ written).max(axis=1).todense()).ravel()
        there = np.asarray(own.sum(axis=1)).ravel()
        found[at : at + CHUNK] = (there > 0) & (most >= NEARLY * there)
    return found
