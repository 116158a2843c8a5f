"""LiRA on several signals at once."""

import numpy as np

from dpaudit.attacks.membership.lira import Lira
from dpaudit.attacks.membership.multi_signal import MultiSignalLira
from dpaudit.scores.signals import PoolSignals
from tests.attacks.membership.pool import synthetic


def test_multi_signal_does_not_count_a_copy_twice() -> None:
    """With independent signals the joint ratio is the sum of single ones; a near-copy adds next to nothing."""
    rng = np.random.default_rng(0)
    pool = synthetic(60, 200, seed=1)
    included = pool.included
    independent = pool.phi + 0.0
    other = rng.normal(size=pool.phi.shape) * 1.1 + included
    copy = independent + 0.001 * rng.normal(size=pool.phi.shape)

    def scores(second: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return MultiSignalLira()(PoolSignals(independent, included, queries=(second,)).target(0))

    single = [Lira("residual")(PoolSignals(phi, included).target(0)) for phi in (independent, other)]
    useless = rng.normal(size=other.shape)  # as much an extra dimension as the near-copy, and nothing in it
    assert np.std(scores(copy) - single[0]) < 1.5 * np.std(scores(useless) - single[0])
    assert np.corrcoef(scores(other), single[0] + single[1])[0, 1] > 0.98
