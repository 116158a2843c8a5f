"""BASE, calibrated loss and Attack R against their definitions, record by record."""

import numpy as np
import pytest
from scipy.special import expit

from dpaudit.attacks.membership.attack_r import AttackR
from dpaudit.attacks.membership.base import Base, BaseOffline
from dpaudit.attacks.membership.calibrated import Calibrated, Offset
from dpaudit.attacks.membership.pools import leave_pair_out
from dpaudit.scores.signals import PoolSignals
from tests.attacks.membership.one_target import TARGET, split


def test_base_calibrated_offset_and_attack_r_equal_their_definitions() -> None:
    """Each formula in plain arithmetic, record by record."""
    records = split(TARGET)
    together = np.array([np.concatenate([inside, outside]) for _, inside, outside in records])
    p = expit(TARGET.phi)
    out = np.array([expit(outside).mean() for _, _, outside in records])
    np.testing.assert_allclose(Base()(TARGET), np.log(p / expit(together).mean(axis=1)), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(BaseOffline()(TARGET), np.log(p) - 0.33 * np.log(out), rtol=1e-9)
    loss = [np.log1p(np.exp(-outside)).mean() - np.log1p(np.exp(-phi)) for phi, _, outside in records]
    np.testing.assert_allclose(Calibrated()(TARGET), loss, rtol=1e-9, atol=1e-12)
    middle = [phi - (inside.mean() + outside.mean()) / 2 for phi, inside, outside in records]
    np.testing.assert_allclose(Offset()(TARGET), middle, rtol=1e-9, atol=1e-12)
    share = [(np.sum(outside <= phi) + 0.5) / (outside.size + 1) for phi, _, outside in records]
    np.testing.assert_allclose(AttackR("empirical")(TARGET), share, rtol=1e-12)


def test_confidences_that_differ_by_hundreds_of_orders_do_not_break_the_sums() -> None:
    """A pair with p = 1 among references at 1e-200: left out, the mean is that of the others, to 1e-9 relative."""
    phi = np.full((6, 1), -460.0)
    phi[2:4] = 40.0
    included = np.array([[True], [False]] * 3)
    scores = leave_pair_out(Base(), PoolSignals(phi, included))
    assert scores[2, 0] == pytest.approx(460.0, rel=1e-9)
