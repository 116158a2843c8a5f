"""Partitions of a data set among clients."""

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from dpaudit.data.dataset import Dataset
from dpaudit.data.users import Clients, Dirichlet, Iid, Natural, Quantity, rows_of, user_coins
from dpaudit.runtime.check import IntArray
from dpaudit.runtime.errors import InputError

DATA = Dataset("numbers", np.arange(4000, dtype=np.float32)[:, None], np.arange(4000) % 10)


@pytest.mark.parametrize("partition", [Iid(40), Dirichlet(40, 0.1), Quantity(40, 0.2), Dirichlet(4000, 0.01)])
def test_every_record_has_one_client_and_every_client_a_record(partition: Iid | Dirichlet | Quantity) -> None:
    """A partition covers all records once, leaves no client empty, and is a function of its seed."""
    owner = partition(DATA, seed=3)
    assert owner.shape == (4000,)
    assert np.bincount(owner, minlength=partition.clients).min() >= 1
    assert owner.max() == partition.clients - 1
    assert np.array_equal(owner, partition(DATA, seed=3))
    assert not np.array_equal(owner, partition(DATA, seed=4))


def test_iid_deals_equally() -> None:
    """Iid clients have the same number of records."""
    assert set(np.bincount(Iid(40)(DATA, seed=1))) == {100}


def _largest_share(owner: IntArray) -> float:
    table = np.zeros((int(owner.max()) + 1, 10))
    np.add.at(table, (owner, DATA.classes), 1)
    return float((table.max(axis=1) / table.sum(axis=1)).mean())


def test_dirichlet_skews_labels_and_approaches_iid() -> None:
    """The mean share of a client's most frequent class falls with alpha, towards that of an iid partition."""
    shares = [_largest_share(Dirichlet(40, alpha)(DATA, seed=2)) for alpha in (0.05, 1.0, 1000.0)]
    assert shares[0] > 0.7 > shares[1] > shares[2]
    assert abs(shares[2] - _largest_share(Iid(40)(DATA, seed=2))) < 0.05


def test_quantity_skews_sizes_but_not_labels() -> None:
    """Sizes vary as Dirichlet proportions do (relative variance (k-1)/(k alpha + 1)), the labels stay mixed.

    Over 200 partitions the mean relative variance is within 20 % of the closed form; the seeds are fixed.
    """
    k, alpha = 10, 2.0
    sizes = np.array([np.bincount(Quantity(k, alpha)(DATA, seed=s), minlength=k) for s in range(200)]) / 4000
    assert (sizes * k).var() == pytest.approx((k - 1) / (k * alpha + 1), rel=0.2)
    owner = Quantity(k, alpha)(DATA, seed=0)
    biggest = owner == np.bincount(owner).argmax()
    assert np.bincount(DATA.classes[biggest], minlength=10).max() / biggest.sum() < 0.2


def test_rows_of_is_the_brute_force_grouping() -> None:
    """Grouping by sorting equals one comparison per client, with and without a mask."""
    owner = Dirichlet(30, 0.2)(DATA, seed=5)
    mask = np.random.default_rng(1).random(4000) < 0.01
    for included in (None, mask):
        kept = np.ones(4000, bool) if included is None else included
        expected = [np.flatnonzero((owner == client) & kept) for client in range(30)]
        found = rows_of(owner, included=included)
        assert len(found) == 30
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_user_coins_are_fair() -> None:
    """10,000 user coins fall on each side 5,000 +- 250 times (false alarm 6e-7)."""
    assert abs(int(user_coins(np.arange(10_000), seed=1).sum()) - 5000) < 250


def test_bad_partitions_say_what_is_wrong() -> None:
    """Too many clients, no users, one user and unknown keys are refused with the reason."""
    with pytest.raises(InputError, match="4001 clients need at least one record each, numbers has 4000"):
        Iid(4001)(DATA, seed=0)
    with pytest.raises(InputError, match=r"name the column with data\.user"):
        Natural()(DATA, seed=0)
    alone = Dataset("alone", np.zeros((3, 1), np.float32), np.zeros(3, int), users=np.array(["me"] * 3))
    with pytest.raises(InputError, match="only one user"):
        Natural()(alone, seed=0)
    with pytest.raises(InputError, match="alpha must be above 0, got 0"):
        Dirichlet(3, 0)
    with pytest.raises(ValidationError):
        TypeAdapter(Clients).validate_python({"kind": "iid", "clients": 3, "alpha": 1.0})
    assert TypeAdapter(Clients).validate_python({"kind": "dirichlet", "clients": 3, "alpha": 1.0}) == Dirichlet(3, 1.0)
