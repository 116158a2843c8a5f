"""LiRA against the published formulas as naive loops in float64."""

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from dpaudit.attacks.membership.lira import Lira
from dpaudit.scores.signals import Signals
from tests.attacks.membership.one_target import POOL, TARGET, split
from tests.attacks.membership.pool import pairs


def test_lira_per_record_is_the_published_loop() -> None:
    """Median centre, per-record standard deviation plus 1e-30, mean over queries: the published code's formula."""
    expected = np.zeros(len(TARGET))
    for view in (TARGET, *TARGET.queries):
        for j, (phi, inside, outside) in enumerate(split(view)):
            expected[j] += norm.logpdf(phi, np.median(inside), inside.std() + 1e-30)
            expected[j] -= norm.logpdf(phi, np.median(outside), outside.std() + 1e-30)
    np.testing.assert_allclose(Lira("per-record", "median")(TARGET), expected / 3, rtol=1e-9)


@pytest.mark.parametrize("centre", ["mean", "median"])
def test_lira_residual_pools_what_is_left_around_the_centres(centre: str) -> None:
    """One standard deviation per side, of all residuals together, as TensorFlow Privacy has it."""
    middle = np.mean if centre == "mean" else np.median
    expected = np.zeros(len(TARGET))
    for view in (TARGET, *TARGET.queries):
        records = split(view)
        std_in = np.concatenate([inside - middle(inside) for _, inside, _ in records]).std()
        std_out = np.concatenate([outside - middle(outside) for _, _, outside in records]).std()
        for j, (phi, inside, outside) in enumerate(records):
            expected[j] += norm.logpdf(phi, middle(inside), std_in) - norm.logpdf(phi, middle(outside), std_out)
    np.testing.assert_allclose(Lira("residual", centre)(TARGET), expected / 3, rtol=1e-9)  # type: ignore[arg-type]


def test_lira_raw_takes_the_spread_over_all_records() -> None:
    """The published fix_variance: the standard deviation of all signals trained with their record, for both sides."""
    signals = POOL.target(0)
    expected = np.zeros(len(signals))
    for view in (signals, *signals.queries):
        std = view.reference[view.included].std()
        for j, (phi, inside, outside) in enumerate(split(view)):
            expected[j] += norm.logpdf(phi, inside.mean(), std) - norm.logpdf(phi, outside.mean(), std)
    np.testing.assert_allclose(Lira("raw")(signals), expected / 3, rtol=1e-9)


def test_lira_shrunk_is_the_posterior_predictive() -> None:
    """Inverse-gamma prior around the pooled variance, flat prior on the mean: a Student-t, record by record."""
    signals = POOL.target(5)
    expected = np.zeros(len(signals))
    for view in (signals, *signals.queries):
        records = split(view)
        for groups, sign in (([r[1] for r in records], 1.0), ([r[2] for r in records], -1.0)):
            n = groups[0].size
            variances = np.array([group.var(ddof=1) for group in groups])
            pooled = variances.mean()
            ratio = np.mean(variances**2) / (1 + 2 / (n - 1)) / pooled**2
            prior = (4 * ratio - 2) / (ratio - 1) if ratio > 1 else 1e6
            for j, group in enumerate(groups):
                degrees = prior + n - 1
                squares = ((prior - 2) * pooled + np.sum((group - group.mean()) ** 2)) / degrees * (1 + 1 / n)
                expected[j] += sign * student.logpdf(view.phi[j], degrees, group.mean(), np.sqrt(squares))
    np.testing.assert_allclose(Lira()(signals), expected / 3, rtol=1e-7, atol=1e-7)


def test_shrinkage_goes_from_pooled_to_per_record() -> None:
    """With one variance for all, the shrunk ratio is the residual-pooled one; with many different ones, per record.

    At 2,000 references both predictive laws are normal, so the two ends can be compared directly.
    """
    rng = np.random.default_rng(2)
    included = pairs(2000, 30, rng)
    for spread, variance in ((np.ones(30), "residual"), (np.geomspace(1, 4, 30), "per-record")):
        phi = spread * (rng.normal(size=included.shape) + included)
        signals = Signals(phi[0], reference=phi[2:], included=included[2:])
        np.testing.assert_allclose(Lira()(signals), Lira(variance)(signals), rtol=0.05, atol=0.02)  # type: ignore[arg-type]
