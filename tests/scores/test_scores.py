"""Scores are joined to the truth in one place, and bad ones do not get through."""

import numpy as np
import pytest

from dpaudit import Scores
from dpaudit.runtime.errors import InputError


def test_join_sorts_scores_by_side() -> None:
    """Values and truth come back in the same order."""
    scores = Scores.join([3.0, 1.0, 2.0], [1, 0, 1])
    assert scores.member.tolist() == [3.0, 2.0]
    assert scores.values[scores.truth].tolist() == scores.member.tolist()
    assert len(scores) == 3


@pytest.mark.parametrize(
    ("scores", "member", "message"),
    [
        ([1.0, 2.0], [1, 1], "all 2 are members"),
        ([1.0, 2.0], [0, 0], "all 2 are non-members"),
        ([1.0, 2.0], [1], "membership must have 2 values, got 1"),
        ([1.0, np.nan], [1, 0], "scores must be finite"),
        ([], [], "scores must not be empty"),
    ],
)
def test_bad_scores_are_refused(scores: list[float], member: list[int], message: str) -> None:
    """One-sided, mismatched, empty or NaN input is one clear line."""
    with pytest.raises(InputError, match=message):
        Scores.join(scores, member)
