"""Bounds from counts, against other implementations, closed forms and brute force."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import binom

from dpaudit.accounting.gaussian import gaussian_epsilon
from dpaudit.bounds.accuracy import accuracy_bound
from dpaudit.bounds.clopper_pearson import clopper_pearson
from dpaudit.bounds.conditional import conditional
from dpaudit.bounds.hypothesis import ApproximateCurve, Curve, Definition, Gaussian, GaussianCurve
from dpaudit.bounds.joint_beta import joint_beta
from dpaudit.bounds.one_run import one_run, one_run_p_value
from dpaudit.bounds.one_run_trade_off import guesses_refute, one_run_trade_off
from dpaudit.bounds.ratios import RATIOS, ratio
from dpaudit.bounds.trial_counts import Counts, Guesses
from dpaudit.bounds.whole_curve import whole_curve
from dpaudit.runtime.errors import InputError

REFERENCE: dict[str, Any] = json.loads((Path(__file__).parent / "reference.json").read_text())
FIXED = REFERENCE["A_fixed_threshold_counts"]
ONE_RUN = REFERENCE["B_one_run_counts"]


def _counts(case: dict[str, Any]) -> Counts:
    return Counts(case["TP"], case["FN"], case["FP"], case["TN"])


@pytest.mark.parametrize("case", FIXED, ids=lambda case: f"{case['TP']}/{case['FN']}/{case['FP']}/{case['TN']}")
def test_clopper_pearson_is_that_of_jax_privacy(case: dict[str, Any]) -> None:
    """jax-privacy's one-sided bound. Microsoft's also covers an attack that errs on purpose (300/700/900/100: 1.72);

    here a higher score means a member, so that attack is worth nothing.
    """
    found = clopper_pearson(_counts(case), case["delta"], case["alpha"])
    assert found == pytest.approx(case["jax_cp_explicit_one_sided"], abs=1e-9)


@pytest.mark.parametrize("case", FIXED, ids=lambda case: f"{case['TP']}/{case['FN']}/{case['FP']}/{case['TN']}")
def test_joint_beta_is_that_of_microsoft(case: dict[str, Any]) -> None:
    """privacy_estimates stops its search at 1e-2, which is the tolerance."""
    found = joint_beta(_counts(case), case["delta"], 1 - 2 * case["alpha"])
    assert found.low == pytest.approx(case["ms_joint_beta"], abs=1.01e-2)
    assert found.low <= found.high


def test_joint_beta_never_fails_and_is_bayesian() -> None:
    """Counts on which the two-dimensional integration of privacy_estimates raises; and the law under Monte Carlo."""
    assert joint_beta(Counts(100_000, 0, 1000, 99_000), 1e-5, 0.9).low == pytest.approx(10.85, abs=0.02)
    rng = np.random.default_rng(0)
    fnr, fpr = rng.beta(10.5, 90.5, 400_000), rng.beta(5.5, 95.5, 400_000)
    largest = np.maximum.reduce([np.log(np.maximum((1 - fnr) / fpr, 1)), np.log(np.maximum((1 - fpr) / fnr, 1))])
    found = joint_beta(Counts(90, 10, 5, 95), 0.0, 0.9)
    assert np.mean(largest <= found.low) == pytest.approx(0.05, abs=0.002)  # four standard errors: 0.0014
    assert np.mean(largest <= found.high) == pytest.approx(0.95, abs=0.002)


@pytest.mark.parametrize("method", sorted(RATIOS))
@pytest.mark.parametrize("case", FIXED, ids=lambda case: f"{case['TP']}/{case['FN']}/{case['FP']}/{case['TN']}")
def test_ratios_are_those_of_tensorflow_privacy(case: dict[str, Any], method: str) -> None:
    """Including what TensorFlow Privacy does with empty and full cells."""
    known = case["tfp_log_ratio_bounds_delta0"][method]
    assert ratio(_counts(case), case["alpha"], method) == pytest.approx(known, abs=1e-9)


@pytest.mark.parametrize("case", ONE_RUN, ids=lambda case: f"{case['m']}/{case['n_guess']}/{case['n_correct']}")
def test_one_run_is_that_of_jax_privacy(case: dict[str, Any]) -> None:
    """ε to the tolerance of jax-privacy's root finder, p-values to 1e-12."""
    guesses = Guesses(case["m"], case["n_guess"], case["n_correct"])
    assert one_run(guesses, case["delta"], case["alpha"]) == pytest.approx(case["steinke_eps_jax"], abs=1e-6)
    for figure in (1, 2, 4):
        found = one_run_p_value(guesses, figure, case["delta"])
        assert found == pytest.approx(case[f"p_at_eps{figure}"], abs=1e-12)


@pytest.mark.parametrize(
    ("guesses", "delta", "known"),
    [
        (Guesses(1000, 1000, 1000), 1e-5, 5.78228),
        (Guesses(1000, 1000, 800), 1e-5, 1.25398),
        (Guesses(1000, 100, 100), 1e-5, 3.46538),
        (Guesses(100_000, 1000, 1000), 1e-8, 5.80640),
        (Guesses(100_000, 100_000, 100_000), 1e-5, 8.12769),
    ],
)
def test_one_run_known_values(guesses: Guesses, delta: float, known: float) -> None:
    """Values of jax-privacy and of the authors' code."""
    assert one_run(guesses, delta, 0.05) == pytest.approx(known, abs=2e-5)


@pytest.mark.parametrize("guesses", [Guesses(50, 50, 40), Guesses(50, 20, 20), Guesses(200, 30, 17), Guesses(9, 5, 1)])
@pytest.mark.parametrize("epsilon", [0.0, 0.7, 3.0, 9.0])
def test_one_run_p_value_is_the_formula(guesses: Guesses, epsilon: float) -> None:
    """The maximum over all windows by brute force, beside the bisection."""
    rate = math.exp(epsilon) / (1 + math.exp(epsilon))
    v, r = guesses.correct, guesses.made
    windows = [(binom.cdf(v - 1, r, rate) - binom.cdf(v - 1 - i, r, rate)) / i for i in range(1, v + 1)]
    known = min(1.0, binom.sf(v - 1, r, rate) + 2 * guesses.canaries * 1e-3 * max(windows))
    assert one_run_p_value(guesses, epsilon, 1e-3) == pytest.approx(known, rel=1e-9, abs=1e-13)


@pytest.mark.parametrize("case", [c for c in ONE_RUN if "fdp_gaussian_eps_jax" in c], ids=str)
def test_one_run_trade_off_is_that_of_jax_privacy(case: dict[str, Any]) -> None:
    """jax-privacy stops its search at a relative 1e-6 and rounds up; ours rounds down."""
    guesses = Guesses(case["m"], case["n_guess"], case["n_correct"])
    found = one_run_trade_off(guesses, case["delta"], case["alpha"], null=Gaussian())
    assert found == pytest.approx(case["fdp_gaussian_eps_jax"], abs=1e-4)


@pytest.mark.parametrize("case", REFERENCE["B2_privacyguard_fdp"], ids=str)
def test_one_run_trade_off_has_no_floor(case: dict[str, Any]) -> None:
    """PrivacyGuard reports at least 0.341 whatever was measured (its σ grid ends at 10); jax-privacy and we do not."""
    guesses = Guesses(case["m"], case["n_guess"], case["n_correct"])
    found = one_run_trade_off(guesses, case["delta"], case["alpha"], null=Gaussian())
    assert found == pytest.approx(case["jax"], abs=1e-4)


def _every_step(guesses: Guesses, curve: Curve, level: float) -> bool:
    m, g, c = guesses.canaries, guesses.made, guesses.correct
    r, h = level * c / m, level * (g - c) / m
    for i in range(c - 1, -1, -1):
        new = max(h, curve.fpr_at(min(r, 1.0)))
        r += i / (g - i) * (new - h)
        h = new
    return r + h > g / m


@pytest.mark.parametrize("guesses", [Guesses(1000, 1000, 700), Guesses(500, 90, 80), Guesses(300, 300, 300)])
@pytest.mark.parametrize("kind", ["gaussian", "definition"])
def test_the_recursion_may_stop_early(guesses: Guesses, kind: str) -> None:
    """Stopping when nothing can change decides as the full recursion does, for strengths around the turning point."""
    null: Gaussian | Definition = Gaussian() if kind == "gaussian" else Definition()
    centre = null.strength(one_run_trade_off(guesses, 1e-5, 0.05, null=null), 1e-5)
    for factor in (0.5, 0.9, 0.99, 0.9999, 1.0001, 1.01, 1.1, 2.0):
        curve = null.symmetric(centre * factor, 1e-5)
        assert guesses_refute(guesses, curve, 0.05) == _every_step(guesses, curve, 0.05) == (factor < 1)


@pytest.mark.parametrize("case", REFERENCE["G_max_certifiable"], ids=lambda case: f"m={case['m']}")
def test_perfect_attacks(case: dict[str, Any]) -> None:
    """What can be certified at most, by five methods of peers."""
    m = case["m"]
    perfect, half = Guesses(m, m, m), Counts(m // 2, 0, 0, m // 2)
    assert clopper_pearson(half, 1e-5, 0.05) == pytest.approx(case["cp_perfect_attack_m/2_each_delta1e-5"], abs=1e-9)
    assert one_run(perfect, 0.0, 0.05) == pytest.approx(case["one_run_delta0"], abs=1e-6)
    assert one_run(perfect, 1e-5, 0.05) == pytest.approx(case["one_run_delta1e-5"], abs=1e-6)
    fdp = one_run_trade_off(perfect, 1e-5, 0.05, null=Gaussian())
    assert fdp == pytest.approx(case["one_run_fdp_delta1e-5"], abs=1e-4)
    gaussian = whole_curve(half, 1e-5, 0.05, null=Gaussian())
    assert gaussian == pytest.approx(case["gdp_eps_perfect_delta1e-5"], abs=1e-4)


@pytest.mark.parametrize(
    "case", REFERENCE["I_idealised_gaussian_canaries_deterministic_scores"], ids=lambda c: f"{c['m']}/{c['true_eps']}"
)
def test_accuracy_on_ideal_gaussian_canaries(case: dict[str, Any]) -> None:
    """Scores at normal quantiles, threshold midway; computed independently from the formula."""
    side = case["m"] // 2
    scores = ndtri((np.arange(side) + 0.5) / side)
    correct = int((scores + case["mu"] > case["mu"] / 2).sum() + (scores <= case["mu"] / 2).sum())
    found = accuracy_bound(correct, case["m"], 1e-5, 0.05)
    assert found == pytest.approx(case["accuracy_binomial_gdp"], abs=1e-6)
    assert found < case["true_eps"]


def test_conditional_is_tighter_than_clopper_pearson() -> None:
    """500 + 500 perfect trials: 5.81 against 4.91; at δ = 0 the law is that of one run."""
    assert conditional(Guesses(1000, 1000, 1000), 1e-5, 0.05) == pytest.approx(5.80906, abs=1e-5)
    assert clopper_pearson(Counts(500, 0, 0, 500), 1e-5, 0.05) == pytest.approx(4.90558, abs=1e-5)
    for guesses in (Guesses(1000, 100, 95), Guesses(1000, 1000, 800)):
        assert conditional(guesses, 0.0, 0.05) == pytest.approx(one_run(guesses, 0.0, 0.05), abs=1e-9)


def test_accuracy_inverts_its_own_null() -> None:
    """At the bound, so many right guesses or more have probability exactly the level."""
    figure = accuracy_bound(640, 1000, 1e-5, 0.05)
    mu = Gaussian().strength(figure, 1e-5)
    assert binom.sf(639, 1000, (1 + GaussianCurve(mu).total_variation) / 2) == pytest.approx(0.05, rel=1e-6)
    plain = accuracy_bound(640, 1000, 1e-2, 0.05, null=Definition())
    curve = ApproximateCurve(plain, 1e-2)
    assert binom.sf(639, 1000, (1 + curve.total_variation) / 2) == pytest.approx(0.05, rel=1e-6)


def test_whole_curve_is_the_gaussian_formula() -> None:
    """μ = Φ⁻¹(1 - FPR) - Φ⁻¹(FNR) at limits of half the level each (Nasr et al. 2023); bb-audit takes the whole level

    for each and gets 11.56 here.
    """
    fnr, fpr = binom_upper(10, 100, 0.025), binom_upper(5, 100, 0.025)
    known = gaussian_epsilon(float(ndtri(1 - fpr) - ndtri(fnr)), 1e-5)
    found = whole_curve(Counts(90, 10, 5, 95), 1e-5, 0.05, null=Gaussian())
    assert found == pytest.approx(known, abs=1e-9)
    assert found < 11.56


def binom_upper(hits: int, trials: int, level: float) -> float:
    """Upper limit by bisection on the binomial itself."""
    low, high = hits / trials, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if binom.cdf(hits, trials, middle) > level else (low, middle)
    return low


@pytest.mark.parametrize(
    "bad",
    [
        lambda: Counts(-1, 1, 1, 1),
        lambda: Counts(1.5, 1, 1, 1),  # type: ignore[arg-type]
        lambda: Counts(0, 0, 1, 1),
        lambda: Guesses(10, 11, 5),
        lambda: Guesses(10, 5, 6),
        lambda: Guesses(10, 5, -1),
        lambda: Guesses(0, 0, 0),
        lambda: accuracy_bound(11, 10, 0.0, 0.05),
        lambda: accuracy_bound(5, 10, 1.0, 0.05),
        lambda: one_run(Guesses(10, 5, 5), 1e-5, 0.0),
        lambda: ratio(Counts(1, 1, 1, 1), 0.05, "katz"),
    ],
)
def test_impossible_counts_are_refused(bad: Any) -> None:
    """Negative, fractional, or larger than the trials; δ of 1; a level of 0; an unknown name."""
    with pytest.raises(InputError):
        bad()
