"""Was any of this user's data trained on? `Kandpal et al. (2024) <https://arxiv.org/abs/2310.09266>`_."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError


class UserScores(NamedTuple):
    """Users in sorted order and one score each."""

    users: npt.NDArray[np.generic]
    scores: FloatArray


def user_scores(scores: object, users: object) -> UserScores:
    """One membership score per user: the mean over their records, however many these are.

    Args:
        scores: per record, shape (records,).
        users: whose record it is, shape (records,).

    >>> user_scores([1.0, 2.0, -1.0], ["b", "b", "a"])
    UserScores(users=array(['a', 'b'], dtype='<U1'), scores=array([-1. ,  1.5]))
    """
    values = check.vector("scores", scores)
    owner = np.asarray(users)
    if owner.shape != values.shape:
        raise InputError(f"users must have shape {values.shape}, got {owner.shape}.")
    names, index = np.unique(owner, return_inverse=True)
    return UserScores(names, np.bincount(index, weights=values) / np.bincount(index))
