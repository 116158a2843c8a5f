"""BaVarIA against the posterior predictive integrated numerically."""

import numpy as np
import pytest
from scipy.stats import invgamma, norm

from dpaudit.attacks.membership._moments import Moments, SideMoments, variance_prior
from dpaudit.attacks.membership.bavaria import Bavaria, predictive
from dpaudit.runtime.errors import InputError
from dpaudit.scores.signals import Signals
from tests.attacks.membership.one_target import TARGET
from tests.attacks.membership.pool import synthetic


def test_the_predictive_is_the_integral_over_mean_and_variance() -> None:
    """p(φ | data) = ∫∫ N(φ; μ, s²) ∏ N(x; μ, s²) N(μ; m, s²/κ) IG(s²; ν/2, (ν-2)v/2), normalised, to 1e-4.

    The prior of the mean is computed here by its definition, and the integrals are sums over a fine grid.
    """
    rng = np.random.default_rng(4)
    data = rng.normal(0, 2, 12) + rng.uniform(0.5, 1.5, 12) * rng.normal(size=(3, 12))
    every = np.ones((3, 12), bool)
    side = Moments.of(data, every)
    prior = variance_prior(side)
    assert prior is not None
    variance, degrees = prior
    centre = data.mean()
    models = variance / (data.mean(axis=0).var() - variance / 3)

    means, logs = np.meshgrid(np.linspace(-20, 20, 801), np.linspace(-9, 9, 801))
    spread = np.exp(logs)
    density = invgamma.pdf(spread, degrees / 2, scale=(degrees - 2) * variance / 2) * spread
    density *= norm.pdf(means, centre, np.sqrt(spread / models))

    def mass(values: list[float]) -> float:
        return float((density * np.prod([norm.pdf(x, means, np.sqrt(spread)) for x in values], axis=0)).sum())

    law = predictive(SideMoments(side, side), side)
    seen = list(data[:, 0])
    for phi in (-1.0, 2.0):
        expected = mass([*seen, phi]) / mass(seen)
        assert np.exp(law.log_density(np.full(12, phi)))[0] == pytest.approx(expected, rel=1e-4)


def test_a_record_nobody_saw_much_of_is_drawn_to_the_others() -> None:
    """With one reference a side the location lies between the record's φ and the mean of all, nearer the former."""
    signals = synthetic(4, 200, seed=3).target(0)
    means = [Moments.of(signals.reference, where) for where in (signals.included, ~signals.included)]
    both = SideMoments(*means)
    law = predictive(both, both.inside)
    share = (law.location - both.inside.mean) / (both.inside.mean.mean() - both.inside.mean)
    np.testing.assert_allclose(share, share[0])
    assert 0 < share[0] < 0.5


def test_queries_are_averaged() -> None:
    """The score is the mean of those of the three views."""
    views = [Bavaria()(Signals(v.phi, reference=v.reference, included=v.included)) for v in (TARGET, *TARGET.queries)]
    np.testing.assert_allclose(Bavaria()(TARGET), np.mean(views, axis=0))


def test_a_record_without_references_on_a_side_is_named() -> None:
    """Nothing is made up for it."""
    with pytest.raises(InputError, match="first at index 1"):
        Bavaria()(Signals(np.zeros(2), reference=np.eye(2), included=np.array([[True, True], [False, True]])))
