"""Hypotheses that a bound refutes: a mechanism's own curves, found and kept."""

import numpy as np
import pytest

from dpaudit.accounting.claim import GaussianSteps, Poisson
from dpaudit.accounting.trade_off_curve import TradeOff
from dpaudit.bounds.accuracy import accuracy_bound
from dpaudit.bounds.hypothesis import Gaussian, Kept, MechanismFamily
from dpaudit.runtime.errors import InputError


def test_a_strength_far_below_the_claim_is_found() -> None:
    """Noise 61 times as large as claimed: one full batch is a Gaussian release, whose bound has a closed form."""
    null = MechanismFamily(GaussianSteps(0.06, 1, Poisson(1.0)), "add-remove")
    known = accuracy_bound(580, 1000, 1e-5, 0.05, null=Gaussian())
    assert 0.99 * known < accuracy_bound(580, 1000, 1e-5, 0.05, null=null) <= known * (1 + 1e-6)


def test_no_noise_is_no_null() -> None:
    """A mechanism without noise claims nothing that could be refuted."""
    with pytest.raises(InputError, match="without noise"):
        MechanismFamily(GaussianSteps(0.0, 1, Poisson(0.5)), "add-remove")


def test_curves_are_kept_up_to_so_many_bytes() -> None:
    """The curve that was not looked at for the longest time goes first, and is made again when it is asked for."""
    made: list[int] = []

    def curve(name: int) -> TradeOff:
        made.append(name)
        return TradeOff(np.linspace(0, 1, 100), np.linspace(0, 1, 100))

    kept = Kept(2 * 1600)
    for name in (0, 1, 0, 2, 0, 1):
        assert kept.get(name, lambda name=name: curve(name)).fpr.size == 100  # type: ignore[misc]
        assert kept.size == 1600 * len(kept.curves) <= kept.most
    assert made == [0, 1, 2, 1]
