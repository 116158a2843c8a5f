"""Sequential audits: the wealth is a fair game, stops where another implementation does, and goes on later."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from dpaudit.accounting.gaussian import gaussian_mu
from dpaudit.bounds.hypothesis import GaussianCurve, accuracy
from dpaudit.bounds.sequential import Wealth, log_wealth
from dpaudit.runtime.errors import InputError
from tests.bounds.claimed import REFERENCE


def test_the_wealth_is_a_fair_game() -> None:
    """Under the null its mean is 1 at every number of trials: summed over all outcomes, exactly."""
    for rate in (0.5, 0.62, 0.9):
        for n in (1, 7, 60):
            v = np.arange(n + 1)
            mean = float(binom.pmf(v, n, rate) @ np.exp(log_wealth(v.astype(float), float(n), rate)))
            assert mean == pytest.approx(1.0, rel=1e-9)


def test_the_wealth_is_that_of_gamblers_who_bet_trial_by_trial() -> None:
    """Each puts all it has on its own rate at every trial; together they own what the closed form says."""
    rates = 1 / (1 + np.exp(-(np.log(0.6 / 0.4) + np.geomspace(0.1, 4.0, 16))))
    owned = np.geomspace(0.1, 4.0, 16) ** -0.5
    owned /= owned.sum()
    for right in np.random.default_rng(0).permutation([True] * 40 + [False] * 10):
        owned *= rates / 0.6 if right else (1 - rates) / 0.4
    assert float(log_wealth(40, 50, 0.6)) == pytest.approx(math.log(owned.sum()), abs=1e-9)


@pytest.mark.parametrize(("null", "leak"), [(0.5, 0.6), (0.69, 0.79), (0.95, 0.99)])
@pytest.mark.long
def test_looking_after_every_trial_keeps_the_level(null: float, leak: float) -> None:
    """False alarms within 500 trials at a level of 5 %, summed over all paths: exact, so nothing is left to chance.

    At a rate above the null, and with a stake of three times the level, the alarm is as frequent as it must be.
    """
    assert 0.01 < _alarms(null, null, math.log(20)) <= 0.05
    assert _alarms(null, null - 0.02, math.log(20)) < 0.05
    assert _alarms(null, leak, math.log(20)) > 0.5
    assert _alarms(null, null, math.log(20 / 3)) > 0.05


def _alarms(null: float, truth: float, goal: float) -> float:
    """Probability that the wealth against ``null`` reaches e^goal within 500 trials, right at rate ``truth``."""
    alive, alarms = np.array([1.0]), 0.0
    for n in range(1, 501):
        alive = np.append(alive * (1 - truth), 0.0) + np.append(0.0, alive * truth)
        rich = log_wealth(np.arange(n + 1.0), float(n), null) >= goal
        alarms += float(alive[rich].sum())
        alive[rich] = 0.0
    return alarms


@pytest.mark.parametrize("case", REFERENCE["S_sequential_betting_accuracy_stop_times"], ids=str)
@pytest.mark.long
def test_stopping_times(case: dict[str, float]) -> None:
    """An independent betting audit: median within 50 %, 80 % quantile within 35 % (200 audits each, seed fixed)."""
    null, truth = (accuracy(GaussianCurve(gaussian_mu(case[key], 1e-5))) for key in ("claimed", "true"))
    rng = np.random.default_rng(7)
    n = np.arange(1.0, min(3001.0, 5 * case["q80_stop"] + 50))
    stops = []
    for _ in range(200):
        wealth = log_wealth(np.cumsum(rng.random(n.size) < truth).astype(float), n, null)
        stops.append(int(np.argmax(wealth >= math.log(20))) + 1)
    assert 0.55 < np.median(stops) / case["median_stop"] < 1.5
    assert 0.65 < np.quantile(stops, 0.8) / case["q80_stop"] < 1.35


def test_an_audit_goes_on_in_the_next_release() -> None:
    """Saved and loaded, and in several looks, the wealth is that of one long audit; another claim multiplies."""
    once = Wealth(0.6).observe(correct=150, trials=200)
    saved = Wealth(0.6).observe(correct=70, trials=90).to_json()
    assert Wealth.from_json(saved).observe(correct=80, trials=110) == once
    later = once.under(0.7).observe(correct=45, trials=50)
    assert later.log_wealth == pytest.approx(once.log_wealth + float(log_wealth(45, 50, 0.7)))
    assert later.refutes(0.05)
    assert not Wealth(0.6).observe(correct=60, trials=100).refutes(0.05)
    assert once.e_value == pytest.approx(math.exp(once.log_wealth))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be JSON"),
        ("{}", "must hold exactly"),
        ('{"null_accuracy": 1.0, "trials": 1, "correct": 1, "carried": 0}', "null_accuracy must be in"),
        ('{"null_accuracy": 0.6, "trials": 1, "correct": 2, "carried": 0}', "at most 1"),
    ],
)
def test_a_broken_wealth_is_refused(text: str, message: str) -> None:
    """A file of another version, or edited by hand, does not quietly start from 1."""
    with pytest.raises(InputError, match=message):
        Wealth.from_json(text)
