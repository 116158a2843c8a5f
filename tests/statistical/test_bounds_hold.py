"""Slow truths about bounds: the full self-test's shape at 2,000 audits a cell, and mechanisms' own curves."""

import numpy as np
import pytest
from scipy.stats import binom

from dpaudit.accounting.claim import GaussianSteps, Poisson
from dpaudit.bounds.accuracy import accuracy_bound
from dpaudit.bounds.hypothesis import MechanismFamily, accuracy
from dpaudit.self_test.methods import METHODS
from dpaudit.self_test.table import selftest, table_as_text

pytestmark = pytest.mark.slow


def test_every_bound_holds_at_two_thousand_audits() -> None:
    """All judged cells at once, false-alarm rate 1 % (seed fixed)."""
    table = selftest(seed=1, trials=2000, methods=METHODS, jobs=2)
    assert table.passed, table_as_text(table)


@pytest.mark.parametrize("steps", [GaussianSteps(0.8, 20, Poisson(0.2)), GaussianSteps(1.2, 200, Poisson(0.05))])
def test_the_noise_there_really_is_is_not_overstated(steps: GaussianSteps) -> None:
    """Against the mechanism's own curve the best attack's right guesses are binomial: miscoverage summed exactly."""
    null, trials = MechanismFamily(steps, "add-remove"), 300
    truth, rate = null.epsilon(1.0, 1e-5), accuracy(null.curve(1.0, 1e-5))
    counts = np.arange(trials + 1)
    first = next(int(v) for v in counts[trials // 2 :] if accuracy_bound(int(v), trials, 1e-5, 0.05, null=null) > truth)
    miscoverage = float(binom.sf(first - 1, trials, rate))
    assert 0.02 < miscoverage <= 0.05
