"""Offline LiRA against the published formulas as naive loops in float64."""

import numpy as np
from scipy.stats import norm

from dpaudit.attacks.membership.lira_offline import LiraOffline, LiraOfflineDensity
from dpaudit.scores.signals import Signals
from tests.attacks.membership.one_target import POOL, TARGET, split


def test_lira_offline_is_the_z_score_and_keeps_the_order_of_the_tail() -> None:
    """(φ - mean) / std of the models without the record; it ranks as Pr[Z ≤ φ] does, where that does not round."""
    signals = POOL.target(2)
    z = np.mean(
        [
            [(phi - outside.mean()) / (outside.std() + 1e-30) for phi, _, outside in split(view)]
            for view in (signals, *signals.queries)
        ],
        axis=0,
    )
    np.testing.assert_allclose(LiraOffline("per-record")(signals), z, rtol=1e-9)
    one = Signals(signals.phi, reference=signals.reference, included=signals.included)
    below_one = norm.cdf(LiraOffline("per-record")(one)) < 1
    scores = LiraOffline("per-record")(one)[below_one]
    np.testing.assert_array_equal(np.argsort(scores), np.argsort(norm.cdf(scores)))


def test_lira_offline_density_also_accuses_the_low_side() -> None:
    """Minus the log-density under the models without the record, from the published code."""
    one = Signals(TARGET.phi, reference=TARGET.reference, included=TARGET.included)
    expected = [-norm.logpdf(phi, np.median(outside), outside.std() + 1e-30) for phi, _, outside in split(one)]
    np.testing.assert_allclose(LiraOfflineDensity()(one), expected, rtol=1e-9)
    low = Signals(np.array([-9.0]), reference=np.array([[0.0], [1.0]]), included=np.zeros((2, 1), bool))
    high = Signals(np.array([0.6]), reference=low.reference, included=low.included)
    assert LiraOfflineDensity()(low) > LiraOfflineDensity()(high)
    assert LiraOffline("per-record")(low) < LiraOffline("per-record")(high)
