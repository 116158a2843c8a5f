"""Inclusions by name: independent of order, of the right frequency, and unrelated for other names and seeds."""

import hashlib

import numpy as np
import pytest
from scipy.stats import binomtest, chisquare

from dpaudit.data.inclusion import included_by_name
from dpaudit.runtime.errors import InputError


def test_the_rule_is_the_one_that_is_stated() -> None:
    """The first 64 bits of the SHA-256 of seed and name, as any other program would compute them."""
    for name in ("a", "é", "r-1"):
        number = int(hashlib.sha256(f"inclusion 5 {name}".encode()).hexdigest()[:16], 16)
        assert included_by_name([name], 0.3, seed=5)[0] == (number < 0.3 * 2**64)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_frequency(share: float) -> None:
    """20,000 names are included with the probability stated; a right rule fails once in 10,000 tests."""
    included = included_by_name([f"r-{number}" for number in range(20_000)], share, seed=1)
    assert binomtest(int(included.sum()), 20_000, share).pvalue > 1e-4


def test_neighbours_and_seeds_are_unrelated() -> None:
    """Pairs of next names, and of two seeds, fall in all four ways equally often; each fails once in 10,000 tests."""
    names = [f"r-{number:05d}" for number in range(20_000)]
    one, other = included_by_name(names, 0.5, seed=1), included_by_name(names, 0.5, seed=2)
    for left, right in ((one[::2], one[1::2]), (one, other)):
        counts = np.bincount(2 * left + right, minlength=4)
        assert chisquare(counts).pvalue > 1e-4


def test_order_does_not_matter() -> None:
    """The same names in another order are included alike."""
    names = np.array([f"r-{number}" for number in range(500)])
    order = np.random.default_rng(0).permutation(500)
    included = included_by_name(names.tolist(), 0.5, seed=3)
    assert (included_by_name(names[order].tolist(), 0.5, seed=3) == included[order]).all()
    with pytest.raises(InputError, match="share"):
        included_by_name(["a"], 1.0, seed=0)
