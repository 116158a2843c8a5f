"""Attack scores with the truth joined to them: the only place where the two meet."""

from dataclasses import dataclass

import numpy as np

from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError


@dataclass(frozen=True)
class Sides:
    """Scores of members and of non-members, already checked; either side may be empty."""

    member: FloatArray
    nonmember: FloatArray

    @property
    def values(self) -> FloatArray:
        """All scores, members first, shape (records,)."""
        return np.concatenate([self.member, self.nonmember])

    @property
    def truth(self) -> BoolArray:
        """Membership in the order of `values`, shape (records,)."""
        return np.concatenate([np.ones(self.member.size, bool), np.zeros(self.nonmember.size, bool)])

    def __len__(self) -> int:
        return self.member.size + self.nonmember.size


@dataclass(frozen=True)
class Scores(Sides):
    """What an attack said about members and about non-members. Higher means "more likely a member".

    Args:
        member: scores of the records that were trained on, shape (members,).
        nonmember: scores of the records that were not, shape (non-members,).

    Raises:
        InputError: a side is empty, or a score is NaN or infinite.

    >>> Scores.join([3.0, 1.0, 2.0], [True, False, True])
    Scores(member=array([3., 2.]), nonmember=array([1.]))
    """

    def __post_init__(self) -> None:
        object.__setattr__(self, "member", check.vector("scores of members", self.member))
        object.__setattr__(self, "nonmember", check.vector("scores of non-members", self.nonmember))

    @classmethod
    def join(cls, scores: object, member: object) -> "Scores":
        """Join scores to the truth: ``scores`` (records,) and ``member`` (records,) of true/false or 1/0."""
        values = check.vector("scores", scores)
        truth = check.flags("membership", member, length=values.size)
        if truth.all() or not truth.any():
            side = "members" if truth.all() else "non-members"
            raise InputError(f"membership must hold members and non-members, but all {truth.size} are {side}.")
        return cls(values[truth], values[~truth])
