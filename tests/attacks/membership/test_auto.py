"""Which attack ``auto`` takes."""

import numpy as np

from dpaudit.attacks.membership.auto import Auto
from dpaudit.scores.signals import Signals
from tests.attacks.membership.pool import synthetic


def test_auto_goes_by_the_number_of_references() -> None:
    """0: loss, 2 to 28: base, 30 and more: lira; offline when a record is in no reference."""
    assert Auto().chosen(Signals(np.zeros(3))).version == "loss/1"
    assert Auto().chosen(synthetic(4).target(0)).version == "base/1"
    assert Auto().chosen(synthetic(32).target(0)).version == "lira/1"
    offline = Signals(np.zeros(1), reference=np.zeros((5, 1)), included=np.zeros((5, 1), bool))
    assert Auto().chosen(offline).version == "base-offline/1"
