"""Whose record is it: partitions of a data set among the clients of a federation.

A partition is a value: called with a data set and a seed it gives the client of each record, 0 to clients - 1, and
every client has at least one record. `Natural` takes the users a data set came with.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from dpaudit.data.dataset import Dataset
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, IntArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.strict import Strict


@dataclass(frozen=True)
class Natural(Strict):
    """Clients are the data set's own users."""

    kind: Literal["natural"] = "natural"

    def __call__(self, dataset: Dataset, *, seed: int) -> IntArray:
        """Client of each record, in the sorted order of the users; the seed is not used.

        >>> data = Dataset("three", np.zeros((3, 1)), np.zeros(3, int), users=np.array(["b", "a", "b"]))
        >>> Natural()(data, seed=0)
        array([1, 0, 1])
        """
        if dataset.users is None:
            raise InputError(
                f"{dataset.name} says of no record whose it is; name the column with data.user, or use clients of kind "
                "'iid', 'dirichlet' or 'quantity'."
            )
        names, owner = np.unique(dataset.users, return_inverse=True)
        if names.size < 2:
            raise InputError(f"{dataset.name} has only one user ({names[0]!s}); a federation needs at least 2.")
        return owner.astype(np.int64)


@dataclass(frozen=True)
class _Number(Strict):
    """A partition among so many clients."""

    clients: int

    def __post_init__(self) -> None:
        check.integer("clients", self.clients, at_least=1)


@dataclass(frozen=True)
class Iid(_Number):
    """Records are dealt out at random, equally many to each client."""

    kind: Literal["iid"] = "iid"

    def __call__(self, dataset: Dataset, *, seed: int) -> IntArray:
        """Client of each record.

        >>> data = Dataset("six", np.zeros((6, 1)), np.zeros(6, int))
        >>> np.bincount(Iid(3)(data, seed=1))
        array([2, 2, 2])
        """
        _enough(dataset, self.clients)
        return np.random.default_rng(seed).permutation(np.arange(len(dataset)) % self.clients)


@dataclass(frozen=True)
class Dirichlet(_Number):
    """Label skew: each class is shared out among the clients in proportions drawn from Dirichlet(α).

    Small α gives clients of few classes, large α approaches `Iid`: `Hsu, Qi and Brown (2019)
    <https://arxiv.org/abs/1909.06335>`_. A client that drew nothing takes one record of the largest.
    """

    alpha: float
    kind: Literal["dirichlet"] = "dirichlet"

    def __post_init__(self) -> None:
        super().__post_init__()
        check.positive("alpha", self.alpha)

    def __call__(self, dataset: Dataset, *, seed: int) -> IntArray:
        """Client of each record.

        >>> data = Dataset("many", np.zeros((400, 1)), np.arange(400) % 4)
        >>> int(np.bincount(Dirichlet(4, alpha=0.1)(data, seed=1), minlength=4).sum())
        400
        """
        _enough(dataset, self.clients)
        rng = np.random.default_rng(seed)
        owner = np.empty(len(dataset), np.int64)
        for label in np.unique(dataset.classes):
            rows = np.flatnonzero(dataset.classes == label)
            owner[rng.permutation(rows)] = _shared_out(rows.size, self.clients, self.alpha, rng)
        return _nobody_empty(owner, self.clients)


@dataclass(frozen=True)
class Quantity(_Number):
    """Quantity skew: the numbers of records per client are in proportions drawn from Dirichlet(α), labels are mixed."""

    alpha: float
    kind: Literal["quantity"] = "quantity"

    def __post_init__(self) -> None:
        super().__post_init__()
        check.positive("alpha", self.alpha)

    def __call__(self, dataset: Dataset, *, seed: int) -> IntArray:
        """Client of each record.

        >>> data = Dataset("many", np.zeros((400, 1)), np.zeros(400, int))
        >>> sizes = np.bincount(Quantity(4, alpha=0.5)(data, seed=1), minlength=4)
        >>> int(sizes.sum()), bool(sizes.min() > 0)
        (400, True)
        """
        _enough(dataset, self.clients)
        rng = np.random.default_rng(seed)
        owner = np.empty(len(dataset), np.int64)
        owner[rng.permutation(len(dataset))] = _shared_out(len(dataset), self.clients, self.alpha, rng)
        return _nobody_empty(owner, self.clients)


Clients = Annotated[Natural | Iid | Dirichlet | Quantity, Field(discriminator="kind")]


def user_coins(owner: IntArray, *, seed: int) -> BoolArray:
    """One independent fair coin per user, shape (users,); ``owner`` is the user of each record, 0 to users - 1.

    >>> user_coins(np.array([0, 0, 1, 2]), seed=3).shape
    (3,)
    """
    return np.random.default_rng(seed).random(int(owner.max()) + 1) < 0.5


def user_truth(users: object, member: BoolArray) -> BoolArray:
    """Whether each user, in sorted order, was trained on; refused where a user's records disagree.

    Args:
        users: whose record it is, shape (records,).
        member: whether each record was trained on, shape (records,).

    Raises:
        InputError: a user has records on both sides, is missing, or there is not one for each record.

    >>> user_truth(["b", "a", "b"], np.array([True, False, True]))
    array([False,  True])
    """
    import pandas as pd

    owner = np.asarray(users)
    if owner.shape != member.shape:
        raise InputError(f"users must have shape {member.shape}, got {owner.shape}.")
    if (missing := np.asarray(pd.isna(owner))).any():
        raise InputError(f"{int(missing.sum())} record(s) have no user, the first at index {int(missing.argmax())}.")
    names, index = np.unique(owner, return_inverse=True)
    counts, inside = np.bincount(index), np.bincount(index, weights=member)
    mixed = names[(inside > 0) & (inside < counts)]
    if mixed.size:
        shown = ", ".join(str(name) for name in mixed[:3]) + (" and others" if mixed.size > 3 else "")
        raise InputError(
            f"{mixed.size} user(s) have records on both sides ({shown}): members were chosen by record, not by user."
        )
    return np.asarray(inside == counts)


def rows_of(owner: IntArray, *, included: BoolArray | None = None) -> tuple[IntArray, ...]:
    """For each client the row numbers of its (included) records, in order; a client may be left with none.

    >>> [rows.tolist() for rows in rows_of(np.array([1, 0, 1]))]
    [[1], [0, 2]]
    """
    clients = int(owner.max()) + 1
    rows = np.arange(owner.size) if included is None else np.flatnonzero(included)
    ordered = rows[np.argsort(owner[rows], kind="stable")]
    return tuple(np.split(ordered, np.cumsum(np.bincount(owner[rows], minlength=clients))[:-1]))


def _enough(dataset: Dataset, clients: int) -> None:
    if len(dataset) < clients:
        raise InputError(f"{clients} clients need at least one record each, {dataset.name} has {len(dataset)}.")


def _shared_out(records: int, clients: int, alpha: float, rng: np.random.Generator) -> IntArray:
    """Clients of ``records`` records in proportions from a symmetric Dirichlet, blocks in client order."""
    cuts = np.round(np.cumsum(rng.dirichlet(np.full(clients, alpha)))[:-1] * records).astype(np.int64)
    return np.searchsorted(cuts, np.arange(records), side="right").astype(np.int64)


def _nobody_empty(owner: IntArray, clients: int) -> IntArray:
    sizes = np.bincount(owner, minlength=clients)
    for client in np.flatnonzero(sizes == 0):
        largest = int(sizes.argmax())
        owner[np.flatnonzero(owner == largest)[0]] = client
        sizes[largest] -= 1
        sizes[client] = 1
    return owner
