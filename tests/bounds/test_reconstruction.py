import math

import numpy as np
import pytest
from scipy.stats import beta, norm

from dpaudit.accounting.claim import GaussianSteps, Poisson
from dpaudit.accounting.mechanism import trade_off
from dpaudit.accounting.trade_off_curve import gaussian_trade_off
from dpaudit.bounds.reconstruction import (
    Successes,
    from_definition,
    judge_reconstruction,
    noise_allowing,
    within_family,
)
from dpaudit.runtime.errors import InputError


@pytest.mark.parametrize(("kappa", "gamma"), [(0.1, 0.3891), (0.01, 0.0924)])
def test_gamma_of_a_full_batch_equals_the_closed_form(kappa: float, gamma: float) -> None:
    """q = 1, σ = 10, T = 100 is the Gaussian mechanism with μ = 1: Φ(Φ⁻¹(κ) + 1), to 2e-4."""
    curve = trade_off(GaussianSteps(10.0, 100, Poisson(1.0)))
    assert curve.reconstruction(kappa) == pytest.approx(gamma, abs=2e-4)
    assert norm.cdf(norm.ppf(kappa) + 1) == pytest.approx(gamma, abs=1e-4)


def test_gamma_of_sampled_steps() -> None:
    """q = 0.1, σ = 1, T = 100, κ = 0.1: 0.469 ± 0.002; the published Monte Carlo estimator gives 0.455 to 0.472."""
    assert trade_off(GaussianSteps(1.0, 100, Poisson(0.1))).reconstruction(0.1) == pytest.approx(0.469, abs=0.002)


def test_gamma_grows_and_lies_above_guessing() -> None:
    """γ is monotone in κ and never below κ."""
    curve = trade_off(GaussianSteps(1.0, 50, Poisson(0.1)))
    kappas = np.geomspace(1e-4, 0.9, 40)
    gammas = np.array([curve.reconstruction(k) for k in kappas])
    assert (np.diff(gammas) > 0).all()
    assert (gammas >= kappas).all()


# ε = 4 at δ = 1e-5 in 100 steps; noise multipliers and γ(0.1) from dp-accounting's PLD, rounded as printed.
@pytest.mark.parametrize(("rate", "sigma", "gamma"), [(1.0, 10.81, 0.361), (0.1, 1.39, 0.319), (0.01, 0.59, 0.187)])
def test_epsilon_alone_does_not_fix_gamma(rate: float, sigma: float, gamma: float) -> None:
    """At the same ε the bound falls from 0.361 to 0.187 with the sampling rate (Hayes et al. 2023)."""
    curve = trade_off(GaussianSteps(sigma, 100, Poisson(rate)))
    assert curve.reconstruction(0.1) == pytest.approx(gamma, abs=0.003)


def test_the_bound_by_definition_is_its_formula() -> None:
    """ln((s - δ) / κ) with s the Clopper-Pearson bound, computed here from scipy."""
    bound = from_definition(Successes(389, 1000, 0.1), delta=1e-5, confidence=0.95)
    assert bound.epsilon == pytest.approx(math.log((beta.ppf(0.05, 389, 612) - 1e-5) / 0.1))
    assert bound.ceiling <= math.log(10)


def test_within_the_family_the_true_epsilon_is_approached() -> None:
    """True ε 4.38 (μ = 1): 389 of 1,000 at M = 10 give 1.29 by definition and 4.0 within the Gaussian family."""
    result, mechanism = Successes(389, 1000, 0.1), GaussianSteps(1.0, 100, Poisson(1.0))
    family = within_family(result, mechanism, delta=1e-5, confidence=0.95)
    assert from_definition(result, delta=1e-5, confidence=0.95).epsilon < family.epsilon < 4.38
    assert family.family


@pytest.mark.slow
def test_the_noise_found_allows_just_the_success() -> None:
    """The inverse of γ: the success that σ = 1 allows gives σ = 1 back."""
    gamma = trade_off(GaussianSteps(1.0, 10, Poisson(0.1))).reconstruction(0.1)
    assert noise_allowing(gamma, 0.1, GaussianSteps(5.0, 10, Poisson(0.1))) == pytest.approx(1.0, abs=0.005)


def test_verdicts() -> None:
    """Certainly above γ: contradicted. Few trials: too weak. Otherwise consistent."""
    claimed = gaussian_trade_off(1.0)  # γ(1/8) = 0.440
    assert judge_reconstruction(Successes(90, 100, 1 / 8), claimed, confidence=0.95).verdict == "contradicted"
    assert judge_reconstruction(Successes(40, 100, 1 / 8), claimed, confidence=0.95).verdict == "consistent"
    assert judge_reconstruction(Successes(3, 3, 1 / 8), claimed, confidence=0.95).verdict == "too weak"
    assert judge_reconstruction(Successes(1, 1, 1 / 8), gaussian_trade_off(6.0), confidence=0.95).verdict == "too weak"


def test_false_alarms_are_at_most_the_level() -> None:
    """An attack exactly at γ is called contradicted in at most 5 % of 4,000 audits, up to the binomial's 99.9 %
    quantile (5.8 %)."""
    claimed = gaussian_trade_off(1.0)
    wins = np.random.default_rng(0).binomial(100, claimed.reconstruction(1 / 8), 4000)
    verdicts = {
        int(w): judge_reconstruction(Successes(int(w), 100, 1 / 8), claimed, confidence=0.95).verdict for w in set(wins)
    }
    assert np.mean([verdicts[int(w)] == "contradicted" for w in wins]) <= 0.058


def test_more_successes_than_trials_are_refused() -> None:
    """Counts that cannot be are an input error."""
    with pytest.raises(InputError, match="successes must be at most 10"):
        Successes(11, 10, 0.1)
