"""Scores of members and of non-members, each side in order: the rates of large pools without a curve.

Sorting the sides apart and finding one in the other takes a quarter of the time that a `Roc` takes, which is what
thousands of targets and millions of records need.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.out_of_core import current_room, empty, releasing
from dpaudit.scores.roc import allowed_false_positives, expected_tpr


@dataclass(frozen=True)
class OrderedScores:
    """Finite scores of members, shape (members,), and of non-members, shape (non-members,), each in ascending order.

    >>> OrderedScores.of(np.array([3.0, 1.0, 2.0]), np.array([True, False, True]))
    OrderedScores(member=array([2., 3.]), nonmember=array([1.]))
    """

    member: FloatArray
    nonmember: FloatArray

    @classmethod
    def of(cls, scores: FloatArray, truth: BoolArray) -> "OrderedScores":
        """Of scores (records,) and who is a member, shape (records,).

        Raises:
            InputError: a side is empty.
        """
        found = cls(scores[truth], scores[~truth])
        if not found.member.size or not found.nonmember.size:
            side = "members" if found.member.size else "non-members"
            raise InputError(f"membership must hold members and non-members, but all {truth.size} are {side}.")
        found.member.sort()
        found.nonmember.sort()
        return found

    @cached_property
    def auc(self) -> float:
        """How often a member outscores a non-member, ties counted half.

        >>> OrderedScores(np.array([2.0, 3.0]), np.array([1.0, 2.0])).auc
        0.875
        """
        return _twice_above(self.member, self._below, self.nonmember) / (2 * self.member.size * self.nonmember.size)

    @cached_property
    def advantage(self) -> float:
        """Largest TPR - FPR over all thresholds, in [0, 1]; it is at the score of a member, or where none is called."""
        members, nonmembers = self.member.size, self.nonmember.size
        tpr, fpr = np.arange(members, 0, -1) / members, (nonmembers - self._below) / nonmembers
        return max(0.0, float((tpr - fpr).max()))

    def expected_tpr_at(self, fpr: float) -> float | None:
        """`Roc.expected_tpr_at`.

        >>> OrderedScores(np.array([0.0, 2.0, 3.0]), np.array([1.0])).expected_tpr_at(0.75)
        0.8333333333333333
        """
        return expected_tpr(fpr, self.nonmember.size, self._tpr_with)

    def _tpr_with(self, false_positives: int) -> float:
        """Largest TPR with at most so many false positives."""
        place = self.nonmember.size - 1 - false_positives  # of the highest non-member that is not called a member
        if false_positives < 0 or place < 0:
            return 0.0 if false_positives < 0 else 1.0
        above = self.member.size - int(np.searchsorted(self.member, self.nonmember[place], side="right"))
        return above / self.member.size

    @cached_property
    def _below(self) -> IntArray:
        """How many non-members are below each member."""
        return np.searchsorted(self.nonmember, self.member)


def _twice_above(member: FloatArray, below: IntArray, nonmember: FloatArray) -> int:
    """Twice the number of pairs in which the member is above the non-member, ties counted once.

    Args:
        member: in any order.
        below: how many non-members are below each member.
        nonmember: in ascending order.
    """
    if not nonmember.size:
        return 0
    tied = nonmember[np.minimum(below, nonmember.size - 1)] == member
    ties = np.searchsorted(nonmember, member[tied], side="right") - below[tied]
    return 2 * int(below.sum()) + int(ties.sum())


@dataclass(frozen=True, eq=False)
class OrderedPool:
    """The scores of many targets, each row with its members first and either side in order, in memory or on disk.

    Args:
        values: shape (models, records).
        members: how many of each row are of members, shape (models,).

    >>> OrderedPool.of(np.array([[3.0, 1.0, 2.0]]), np.array([[True, False, True]])).values
    array([[2., 3., 1.]])
    """

    values: FloatArray
    members: IntArray

    @classmethod
    def of(cls, scores: FloatArray, member: BoolArray) -> "OrderedPool":
        """Of finite scores and membership, both of shape (models, records).

        Raises:
            InputError: a target has no members, or no non-members.
        """
        values, members = empty(scores.shape), np.zeros(len(scores), np.int64)
        for model, row in releasing(enumerate(scores), scores, values, member):
            sides = OrderedScores.of(row, check.flags("membership", member[model], length=row.size))
            members[model] = sides.member.size
            values[model, : sides.member.size], values[model, sides.member.size :] = sides.member, sides.nonmember
        return cls(values, members)

    def __iter__(self) -> Iterator[OrderedScores]:
        """One target after the other."""
        for row, members in releasing(zip(self.values, self.members, strict=True), self.values):
            yield OrderedScores(row[:members], row[members:])

    def pooled_rates(self, fprs: Sequence[float]) -> tuple[float, tuple[float, ...]]:
        """AUC, and TPR at each FPR, of the scores of all targets thrown together, as the `Roc` of them would have them.

        Counted in whole numbers over ranges of scores from the lowest up, as many as it takes for one to be small
        beside memory: whatever the ranges are, the rates are the same.

        >>> pool = OrderedPool.of(np.array([[3.0, 2.0], [2.0, 1.0]]), np.array([[True, False], [True, False]]))
        >>> pool.pooled_rates([0.4])
        (0.875, (0.5,))
        """
        members = int(self.members.sum())
        nonmembers = self.values.size - members
        allowed = [allowed_false_positives(fpr, nonmembers) for fpr in fprs]
        hits = [0 if most < 0 else members for most in allowed]
        area = lower_members = lower_nonmembers = 0
        for inside, outside in self._ranges():
            below = np.searchsorted(outside, inside)
            area += 2 * lower_nonmembers * inside.size + _twice_above(inside, below, outside)
            for index, most in enumerate(allowed):
                place = nonmembers - 1 - most - lower_nonmembers  # of the highest that is not called a member
                if 0 <= place < outside.size:
                    hits[index] = members - lower_members - int(np.count_nonzero(inside <= outside[place]))
            lower_members += inside.size
            lower_nonmembers += outside.size
        return area / (2 * members * nonmembers), tuple(count / members for count in hits)

    def _ranges(self) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Scores of members, and of non-members in order, range by range from the lowest up; equal ones are in one."""
        parts = 1 + 8 * self.values.size // current_room().block_bytes
        step = max(1, self.values.size // (100 * parts))
        some = [row[::step].copy() for row in releasing(self.values, self.values)]
        edges = np.unique(np.quantile(np.concatenate(some), np.arange(1, parts) / parts)) if parts > 1 else np.empty(0)
        ends = [tuple(_ends(side, edges) for side in (row.member, row.nonmember)) for row in self]
        for part in range(edges.size + 1):
            members, nonmembers = [], []
            for row, (inside, outside) in zip(self, ends, strict=True):
                members.append(row.member[slice(*inside[part : part + 2])])
                nonmembers.append(row.nonmember[slice(*outside[part : part + 2])])
            merged = np.sort(np.concatenate(nonmembers), kind="stable")  # quick where each part is in order already
            yield np.concatenate(members), merged


def _ends(ordered: FloatArray, edges: FloatArray) -> list[int]:
    """Where each range of ordered values begins and ends; values at an edge are below it."""
    return [0, *np.searchsorted(ordered, edges, side="right").tolist(), ordered.size]
