"""A pool gives each of its models to an attack as a target, with the others as references."""

import numpy as np
import pytest

from dpaudit.attacks.membership.auto import Auto
from dpaudit.attacks.membership.base import Base, BaseOffline
from dpaudit.attacks.membership.calibrated import Calibrated
from dpaudit.attacks.membership.lira import Lira
from dpaudit.attacks.membership.lira_offline import LiraOffline, LiraOfflineDensity
from dpaudit.attacks.membership.loss import Loss
from dpaudit.attacks.membership.pools import leave_pair_out
from dpaudit.attacks.membership.rmia import Rmia, RmiaOffline
from dpaudit.runtime.errors import InputError
from dpaudit.scores.roc import Roc
from dpaudit.scores.scores import Scores
from dpaudit.scores.signals import PoolSignals
from tests.attacks.membership.one_target import POOL
from tests.attacks.membership.pool import pairs


@pytest.mark.parametrize(
    "attack",
    [
        Lira("shrunk"), Lira("per-record"), Lira("residual"), Lira("raw"), Lira("residual", "median"),
        LiraOffline(), LiraOffline("per-record"), LiraOffline("raw"), LiraOfflineDensity("shrunk", "mean"),
        Rmia(), Rmia(2.0), RmiaOffline(), Base(),
        BaseOffline(), Calibrated(), Auto(), Loss(),
    ],
    ids=repr,
)  # fmt: skip
def test_all_targets_at_once_equal_one_at_a_time(attack: object) -> None:
    """The running-sum form over a pool gives each target what it gets when looked at alone without its pair."""
    expected = np.stack([attack(POOL.target(model)) for model in range(len(POOL))])  # type: ignore[operator]
    np.testing.assert_allclose(leave_pair_out(attack, POOL), expected, rtol=1e-8, atol=1e-10)  # type: ignore[arg-type]


def test_leaving_out_the_target_alone_would_show_its_membership() -> None:
    """The trap the pairs close: with the partner kept, the number of references with a record betrays the target.

    Each record is in exactly half of the models, so the counts alone classify perfectly.
    """
    included = pairs(8, 100, np.random.default_rng(0))
    for t in range(8):
        others = np.delete(included, t, axis=0)
        assert Roc.of(Scores.join(-others.sum(axis=0).astype(float), included[t])).auc == 1.0
        paired = POOL.target(t).included
        assert len(set(paired.sum(axis=0))) == 1


def test_a_pool_must_come_in_pairs() -> None:
    """Independent halves are refused: their counts would show who was the target."""
    with pytest.raises(InputError, match="complementary pairs"):
        PoolSignals(np.zeros((4, 2)), np.ones((4, 2), bool))
