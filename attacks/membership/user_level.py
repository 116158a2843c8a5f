"""Was any of this user's data trained on? `Kandpal et al. (2024) <https://arxiv.org/abs/2310.09266>`_."""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError


class UserScores(NamedTuple):
    """Users in sorted order and one score each."""

    users: npt.NDArray[np.generic]
    scores: FloatArray


def user_scores(scores: object, users: object, *, combine: Literal["sum", "mean", "max"] = "sum") -> UserScores:
    """One membership score per user from the scores of their records.

    Args:
        scores: per record, shape (records,). For log-likelihood ratios (`Lira`) the sum is the ratio of all of a
            user's records together, if they are independent given the user's membership.
        users: whose record it is, shape (records,).
        combine: ``sum``; ``mean`` where users have very different numbers of records; ``max`` when one record of a
            user may have been taken.

    >>> user_scores([1.0, 2.0, -1.0], ["b", "b", "a"])
    UserScores(users=array(['a', 'b'], dtype='<U1'), scores=array([-1.,  3.]))
    """
    values = check.vector("scores", scores)
    owner = np.asarray(users)
    if owner.shape != values.shape:
        raise InputError(f"users must have shape {values.shape}, got {owner.shape}.")
    check.one_of("combine", combine, ("sum", "mean", "max"))
    names, index = np.unique(owner, return_inverse=True)
    if combine == "max":
        best = np.full(names.size, -np.inf)
        np.maximum.at(best, index, values)
        return UserScores(names, best)
    total = np.bincount(index, weights=values).astype(np.float64)
    return UserScores(names, total if combine == "sum" else total / np.bincount(index))
