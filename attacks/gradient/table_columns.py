"""How the rows of a table are encoded as features."""

from dataclasses import dataclass

import numpy as np

from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import InputError


@dataclass(frozen=True)
class EncodedColumns:
    """How a table is encoded: continuous columns first, then one block of indicators per categorical column.

    Args:
        low: smallest value of each continuous column, shape (continuous,).
        high: largest value of each.
        categories: number of values of each categorical column.

    >>> EncodedColumns(np.zeros(2), np.ones(2), (3,)).width
    5
    """

    low: FloatArray
    high: FloatArray
    categories: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", check.vector("low", self.low, empty=True))
        object.__setattr__(self, "high", check.vector("high", self.high, length=self.low.size, empty=True))
        if (self.low >= self.high).any():
            raise InputError("low must be below high in every continuous column.")
        for count in self.categories:
            check.integer("categories", count, at_least=2)

    @property
    def continuous(self) -> int:
        """Continuous columns."""
        return self.low.size

    @property
    def width(self) -> int:
        """Encoded features of a row."""
        return self.continuous + sum(self.categories)

    @property
    def blocks(self) -> list[slice]:
        """Where each categorical column's indicators are."""
        ends = self.continuous + np.cumsum(self.categories, dtype=int)
        return [slice(int(end) - count, int(end)) for end, count in zip(ends, self.categories, strict=True)]

    def codes(self, rows: FloatArray) -> IntArray:
        """The category of each categorical column, (rows, categorical columns)."""
        picked = [rows[:, block].argmax(1) for block in self.blocks]
        return np.stack(picked, axis=1) if picked else np.empty((len(rows), 0), np.int64)
