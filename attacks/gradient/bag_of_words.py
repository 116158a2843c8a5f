"""The tokens of a batch, read off the gradient of the embedding: a token that no text holds has a row of zeros.

The row of a token in the gradient of an embedding table is the sum of what flows back to the places where it stands. It
is exact for batches of every size and updates of any number of steps of plain SGD. A table that is tied to the head has
no rows of zeros, because the softmax gives every token a gradient.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.stats import chi2

from dpaudit.attacks.gradient.found_texts import FoundTexts
from dpaudit.attacks.gradient.view import BatchGradient, GradientView, gradient_of
from dpaudit.runtime import check
from dpaudit.runtime.check import IntArray
from dpaudit.runtime.errors import AuditFailed, InputError

FALSE_ALARM = 0.05  # probability that noise alone makes any token of the vocabulary look present


@dataclass(frozen=True)
class BagOfWords:
    """The set of tokens in a batch: rows of the embedding gradient that are not zero, or above the published noise.

    Args:
        embedding: position of the embedding table, of shape (vocabulary, width), among the model's arrays.

    Raises:
        AuditFailed: no row is zero, and no noise is published: the table is tied to the head, or something was added.

    >>> table = np.zeros((4, 2))
    >>> table[[1, 3]] = 0.5
    >>> BagOfWords().read(BatchGradient((np.ones((4, 2)),), (table,))).tokens
    (1, 3)
    """

    whole_texts: ClassVar[bool] = False
    embedding: int = 0

    def __post_init__(self) -> None:
        check.integer("embedding", self.embedding, at_least=0)

    def read(self, view: GradientView) -> FoundTexts:
        """Tokens without texts."""
        found = present_tokens(gradient_of(view, "bag of words"), self.embedding)
        return FoundTexts(tuple(found.tolist()))


def present_tokens(gradient: BatchGradient, embedding: int = 0) -> IntArray:
    """Tokens whose row of the embedding gradient is not zero, or is longer than the published noise explains.

    Without any token in the batch, noise makes one look present with a probability of at most 5 %.
    """
    if embedding >= len(gradient.weights) or gradient.weights[embedding].ndim != 2:
        shapes = [each.shape for each in gradient.weights]
        raise InputError(f"embedding {embedding} is no table of shape (vocabulary, width); the arrays are {shapes}.")
    table = gradient.gradient[embedding]
    squared = np.square(table).sum(1)
    if gradient.noise:
        rows, width = table.shape
        return np.flatnonzero(squared > gradient.noise**2 * chi2.isf(FALSE_ALARM / rows, width))
    if squared.all():
        raise AuditFailed(
            "bag of words: no row of the embedding gradient is zero; the embedding is tied to the head, noise was "
            "added that the view does not state, or the batch holds every token."
        )
    return np.flatnonzero(squared)
