"""Users, and the exposure of secrets, against brute force and closed forms."""

import numpy as np
import pytest
from scipy.stats import skewnorm

from dpaudit.attacks.membership.exposure import exposure, extrapolated_exposure
from dpaudit.attacks.membership.user_level import user_scores


def test_user_scores_by_a_loop() -> None:
    """Group by hand."""
    rng = np.random.default_rng(2)
    scores, users = rng.normal(size=50), rng.integers(0, 9, 50)
    found = user_scores(scores, users)
    for user, score in zip(found.users, found.scores, strict=True):
        assert score == pytest.approx(scores[users == user].mean())


def test_exposure_by_sorting() -> None:
    """log2(n + 1) - log2(rank), the rank counted by hand: as likely a reference counts against the secret."""
    rng = np.random.default_rng(5)
    reference, secrets = rng.normal(size=63), rng.normal(-1, 1, 10)
    for secret, bits in zip(secrets, exposure(secrets, reference), strict=True):
        assert bits == pytest.approx(6 - np.log2(1 + np.sum(reference <= secret)))


def test_extrapolated_exposure_has_no_infinite_tail() -> None:
    """Where the fitted distribution function is above rounding it is -log2 of it; far out it keeps falling like z².

    The fit of TensorFlow Privacy's code takes the logarithm of skewnorm.cdf, which is 0 below about eight standard
    deviations.
    """
    reference = np.random.default_rng(6).normal(10, 2, 2000)
    shape, location, scale = skewnorm.fit(reference)
    near = np.array([4.0, 5.0, 8.0])
    expected = -np.log2(skewnorm.cdf(near, shape, location, scale))
    np.testing.assert_allclose(extrapolated_exposure(near, reference), expected, rtol=1e-4)
    bits = extrapolated_exposure([-20.0, -40.0, -80.0], reference)
    assert np.isfinite(bits).all()
    assert bits[1] > 2 * bits[0]


def test_extrapolated_exposure_of_a_normal_tail() -> None:
    """At zero skew the tail is the normal one: log Φ(-12) from scipy, to 1e-6."""
    from scipy.stats import norm

    from dpaudit.attacks.membership.exposure import log_tail

    assert log_tail(-12.0, 0.0) == pytest.approx(norm.logcdf(-12.0), rel=1e-6)
