"""Who was trained on: masks of records."""

import numpy as np

from dpaudit import _check
from dpaudit._check import BoolArray


def fair_coins(records: int, *, seed: int) -> BoolArray:
    """One independent fair coin per record, shape (records,).

    The coins are what makes a single training a valid experiment: given them, the audit needs no assumption on the
    data. They are independent, not exactly half of the records.

    >>> int(fair_coins(1000, seed=1).sum())
    484
    """
    _check.integer("records", records, at_least=1)
    return np.random.default_rng(seed).random(records) < 0.5
