"""How the rows of a table are encoded as features."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np

from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray
from dpaudit.runtime.errors import InputError


@dataclass(frozen=True)
class EncodedColumns:
    """How a table is encoded: numbers, and blocks of indicators that are one categorical column each.

    Args:
        low: smallest value of each feature, shape (width,).
        high: largest value of each.
        groups: first feature of each block, and the one behind its last.

    >>> columns = EncodedColumns(np.zeros(5), np.ones(5), ((1, 4),))
    >>> columns.numbers.tolist(), columns.runs
    ([True, False, False, False, True], [slice(0, 1, None), slice(1, 4, None), slice(4, 5, None)])
    """

    low: FloatArray
    high: FloatArray
    groups: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", check.vector("low", self.low))
        object.__setattr__(self, "high", check.vector("high", self.high, length=self.low.size))
        if (self.low >= self.high).any():
            raise InputError("low must be below high in every column.")
        ends = [0, *(end for group in self.groups for end in group), self.width]
        if ends != sorted(ends) or any(stop - start < 2 for start, stop in self.groups):
            raise InputError(f"groups must be in order, of two indicators or more each, got {self.groups}.")

    @classmethod
    def of(cls, names: Sequence[str], records: FloatArray) -> "EncodedColumns":
        """From the names of the features, where ``job = clerk`` and ``job = nurse`` are indicators of one column.

        Args:
            names: of each feature, as tables that dpaudit encodes have them.
            records: of the same table, for the range of each number, shape (records, width).

        >>> EncodedColumns.of(("age", "job = a", "job = b"), np.array([[30.0, 1, 0], [40.0, 0, 1]])).groups
        ((1, 3),)
        """
        groups: list[tuple[int, int]] = []
        at = 0
        for prefix, same in groupby(name.partition(" = ")[0] if " = " in name else "" for name in names):
            size = len(list(same))
            block = records[:, at : at + size]
            if prefix and size > 1 and np.isin(block, (0, 1)).all() and (block.sum(1) == 1).all():
                groups.append((at, at + size))
            at += size
        low, high = records.min(0), records.max(0)
        return cls(low, np.where(high > low, high, low + 1), tuple(groups))

    @property
    def width(self) -> int:
        """Encoded features of a row."""
        return self.low.size

    @property
    def blocks(self) -> list[slice]:
        """Where each categorical column's indicators are."""
        return [slice(start, stop) for start, stop in self.groups]

    @property
    def numbers(self) -> BoolArray:
        """Which features are numbers, (width,)."""
        found = np.ones(self.width, bool)
        for block in self.blocks:
            found[block] = False
        return found

    @property
    def runs(self) -> list[slice]:
        """All features in order: the blocks, and the numbers between them."""
        ends = sorted({0, self.width, *(end for group in self.groups for end in group)})
        return [slice(start, stop) for start, stop in pairwise(ends)]

    def codes(self, rows: FloatArray) -> IntArray:
        """The category of each categorical column, (rows, categorical columns)."""
        picked = [rows[:, block].argmax(1) for block in self.blocks]
        return np.stack(picked, axis=1) if picked else np.empty((len(rows), 0), np.int64)
