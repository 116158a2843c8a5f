"""One run against the curve of the claimed mechanism."""

import pytest

from dpaudit.accounting.mechanism import epsilon
from dpaudit.bounds.accuracy import accuracy_bound
from dpaudit.bounds.hypothesis import accuracy
from tests.bounds.claimed import CLAIM


@pytest.mark.long
def test_the_noise_there_really_is() -> None:
    """Guesses as good as the claim allows certify less than it; at half of the noise they certify more."""
    truth = epsilon(CLAIM.steps, delta=1e-5).epsilon
    rate = accuracy(CLAIM.curve(1.0, 1e-5))
    honest = accuracy_bound(round(4000 * rate), 4000, 1e-5, 0.05, null=CLAIM)
    assert 0.8 * truth < honest < truth
    broken = accuracy_bound(round(4000 * accuracy(CLAIM.curve(2.0, 1e-5))), 4000, 1e-5, 0.05, null=CLAIM)
    assert truth < broken < CLAIM.epsilon(2.0, 1e-5)
    assert CLAIM.strength(CLAIM.epsilon(2.0, 1e-5), 1e-5) == pytest.approx(2.0, rel=1e-3)
