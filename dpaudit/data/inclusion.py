"""Who was trained on: masks of records."""

import hashlib
from collections.abc import Sequence

import numpy as np

from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray
from dpaudit.runtime.errors import InputError


def fair_coins(records: int, *, seed: int) -> BoolArray:
    """One independent fair coin per record, shape (records,).

    The coins are what makes a single training a valid experiment: given them, the audit needs no assumption on the
    data. They are independent, not exactly half of the records.

    >>> int(fair_coins(1000, seed=1).sum())
    507
    """
    check.integer("records", records, at_least=1)
    return np.random.default_rng(seed).random(records) < 0.5


def included_by_name(names: Sequence[str], share: float, *, seed: int) -> BoolArray:
    """Independent inclusion of each unit with probability ``share``, shape (units,); its name decides, not its place.

    A unit is included when the first 64 bits of the SHA-256 of seed and name lie below ``share`` of their range. Any
    order of the units, any platform and any version gives the same inclusions.

    Args:
        names: of the units, no two equal.
        share: the probability, 0 < share < 1.
        seed: another one gives unrelated inclusions.

    >>> included_by_name(["a", "b", "c"], 0.5, seed=1), included_by_name(["c", "a"], 0.5, seed=1)
    (array([ True,  True, False]), array([False,  True]))
    """
    limit = int(check.open_unit("share", share) * 2**64)
    begin = hashlib.sha256(f"inclusion {check.integer('seed', seed, at_least=0)} ".encode())
    included = np.zeros(len(names), bool)
    for at, name in enumerate(names):
        each = begin.copy()
        each.update(name.encode())
        included[at] = int.from_bytes(each.digest()[:8], "big") < limit
    return included


def complementary_pairs(models: int, records: int, *, seed: int) -> BoolArray:
    """Who is in which reference model, shape (models, records): models 2k and 2k + 1 share the records out in halves.

    When a model is the target, it and its partner are left out; then as many of the others were trained on each
    record as were not, whoever the target was.

    >>> complementary_pairs(2, 4, seed=0).sum(axis=0)
    array([1, 1, 1, 1])
    """
    check.integer("records", records, at_least=2)
    if check.integer("models", models, at_least=2) % 2:
        raise InputError(f"models in pairs must be an even number, got {models}.")
    rng = np.random.default_rng(seed)
    included = np.zeros((models, records), bool)
    for first in range(0, models, 2):
        included[first, rng.permutation(records)[: records // 2]] = True
        included[first + 1] = ~included[first]
    return included
