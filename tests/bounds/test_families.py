"""Sequential wealth, shared levels, federated one-shot, and curves of a mechanism."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from dpaudit.accounting.claim import GaussianSteps, Poisson
from dpaudit.accounting.gaussian import gaussian_mu
from dpaudit.accounting.mechanism import epsilon
from dpaudit.accounting.trade_off_curve import TradeOff
from dpaudit.bounds.accuracy import Accuracy, accuracy_bound
from dpaudit.bounds.choosing import Fixed, FixedGuesses
from dpaudit.bounds.clopper_pearson import ClopperPearson
from dpaudit.bounds.conditional import Conditional
from dpaudit.bounds.hypothesis import Definition, Gaussian, GaussianCurve, Kept, MechanismFamily, accuracy
from dpaudit.bounds.one_run import OneRun
from dpaudit.bounds.one_run_trade_off import one_run_trade_off
from dpaudit.bounds.one_shot import OneShot, OneShotBound, two_normals
from dpaudit.bounds.sequential import Sequential, Wealth, log_wealth
from dpaudit.bounds.trial_counts import Counts, Guesses
from dpaudit.bounds.whole_curve import counts_refute, whole_curve
from dpaudit.runtime.errors import InputError
from dpaudit.scores.scores import Scores

REFERENCE: dict[str, Any] = json.loads((Path(__file__).parent / "reference.json").read_text())
RECORD: Any = {"adjacency": "add-remove", "unit": "record"}
CLAIM = MechanismFamily(GaussianSteps(1.5, 10, Poisson(0.3)), "add-remove")


def test_a_strength_far_below_the_claim_is_found() -> None:
    """Noise 61 times as large as claimed: one full batch is a Gaussian release, whose bound has a closed form."""
    null = MechanismFamily(GaussianSteps(0.06, 1, Poisson(1.0)), "add-remove")
    known = accuracy_bound(580, 1000, 1e-5, 0.05, null=Gaussian())
    assert 0.99 * known < accuracy_bound(580, 1000, 1e-5, 0.05, null=null) <= known * (1 + 1e-6)


def test_the_wealth_is_a_fair_game() -> None:
    """Under the null its mean is 1 at every number of trials: summed over all outcomes, exactly."""
    for rate in (0.5, 0.62, 0.9):
        for n in (1, 7, 60):
            v = np.arange(n + 1)
            mean = float(binom.pmf(v, n, rate) @ np.exp(log_wealth(v.astype(float), float(n), rate)))
            assert mean == pytest.approx(1.0, rel=1e-9)


def test_the_wealth_is_the_integral() -> None:
    """The closed form beside numerical integration over the bets."""
    p = (np.arange(200_000) + 0.5) / 200_000 * 0.4 + 0.6
    known = np.mean((p / 0.6) ** 40 * ((1 - p) / 0.4) ** 10)
    assert float(log_wealth(40, 50, 0.6)) == pytest.approx(math.log(known), abs=1e-6)


@pytest.mark.parametrize("case", REFERENCE["S_sequential_betting_accuracy_stop_times"], ids=str)
def test_stopping_times(case: dict[str, float]) -> None:
    """An independent betting audit: median within 50 %, 80 % quantile within 25 % (200 audits each, seed fixed)."""
    null, truth = (accuracy(GaussianCurve(gaussian_mu(case[key], 1e-5))) for key in ("claimed", "true"))
    rng = np.random.default_rng(7)
    n = np.arange(1.0, 3001.0)
    stops = []
    for _ in range(200):
        wealth = log_wealth(np.cumsum(rng.random(3000) < truth).astype(float), n, null)
        stops.append(int(np.argmax(wealth >= math.log(20))) + 1)
    assert 0.55 < np.median(stops) / case["median_stop"] < 1.5
    assert 0.75 < np.quantile(stops, 0.8) / case["q80_stop"] < 1.25


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


@pytest.mark.parametrize("case", [c for c in REFERENCE["D_one_shot_epe"] if "std" in c], ids=str)
def test_one_shot_is_that_of_its_authors(case: dict[str, float]) -> None:
    """Closed form of google-research/federated for normals of different standard deviation."""
    std = 1 / math.sqrt(case["dim"])
    found = two_normals(0.0, std, case["mu"], case["std"], delta=case["delta"])
    assert found == pytest.approx(case["eps_closed_form_null_gaussian_alt"], rel=1e-7)


@pytest.mark.parametrize("difference", [0.0, 2.3e-16, 1e-15, 1e-13, 1e-12, 1e-10, 1e-8])
def test_one_shot_is_stable_for_nearly_equal_normals(difference: float) -> None:
    """The authors' form gives 31.2 instead of 42.836 when the standard deviations differ by one float step."""
    assert two_normals(0.0, 1.0, 6.0, 1.0 + difference, delta=1e-5) == pytest.approx(42.83601, abs=1e-5)


def test_two_normals_by_brute_force() -> None:
    """δ(ε) by numerical integration, in the worse direction."""
    x = np.linspace(-40, 40, 800_001)
    for mean, std in ((1.0, 1.5), (1.0, 0.6), (0.0, 2.0)):
        found = two_normals(0.0, 1.0, mean, std, delta=1e-3)
        p = np.exp(-(((x - mean) / std) ** 2) / 2) / std / math.sqrt(2 * math.pi)
        q = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
        deltas = [np.maximum(a - math.exp(found) * b, 0).sum() * 1e-4 for a, b in ((p, q), (q, p))]
        assert max(deltas) == pytest.approx(1e-3, rel=1e-5)


def test_one_shot_estimate_and_bound_from_the_same_cosines() -> None:
    """The bound pairs every canary with a fresh one, is halved for add-remove, and stays below the estimate."""
    rng = np.random.default_rng(0)
    seen, fresh = rng.normal(0.004, 0.001, 1000), rng.normal(0.0, 0.001, 1000)
    estimate = OneShot(1_000_000)(seen, delta=1e-6)
    replaced, added = (
        OneShotBound(seed=0)(Scores(seen, fresh), delta=1e-6, confidence=0.95, adjacency=adjacency, unit="user")
        for adjacency in ("replace-one", "add-remove")
    )
    assert 0 < added.epsilon < replaced.epsilon < estimate.epsilon
    assert added.epsilon == pytest.approx(replaced.epsilon / 2, rel=0.02)
    with pytest.raises(InputError, match="one fresh canary"):
        OneShotBound(seed=0)(Scores(seen, fresh[:5]), delta=1e-6, confidence=0.95, adjacency="replace-one", unit="user")
    with pytest.raises(InputError, match="cosines must be"):
        OneShot(10)(np.array([2.0, 0.1]), delta=1e-6)


def test_the_noise_there_really_is() -> None:
    """Guesses as good as the claim allows certify less than it; at half of the noise they certify more."""
    truth = epsilon(CLAIM.steps, delta=1e-5).epsilon
    rate = accuracy(CLAIM.curve(1.0, 1e-5))
    honest = accuracy_bound(round(4000 * rate), 4000, 1e-5, 0.05, null=CLAIM)
    assert 0.8 * truth < honest < truth
    broken = accuracy_bound(round(4000 * accuracy(CLAIM.curve(2.0, 1e-5))), 4000, 1e-5, 0.05, null=CLAIM)
    assert truth < broken < CLAIM.epsilon(2.0, 1e-5)
    assert CLAIM.strength(CLAIM.epsilon(2.0, 1e-5), 1e-5) == pytest.approx(2.0, rel=1e-3)


def test_the_mechanisms_own_curve_refutes_more() -> None:
    """Subsampled noise leaks in rare large steps: its curve lies far below the line of its single (ε, δ)."""
    counts = Counts(300, 700, 10, 990)
    plain, curve = whole_curve(counts, 1e-5, 0.05, null=Gaussian()), CLAIM.curve(1.0, 1e-5)
    assert plain > 0
    assert counts_refute(counts, curve, 0.05)
    assert not counts_refute(Counts(100, 900, 10, 990), curve, 0.05)
    found = one_run_trade_off(Guesses(300, 60, 55), 1e-5, 0.05, null=CLAIM)
    assert found > one_run_trade_off(Guesses(300, 60, 40), 1e-5, 0.05, null=CLAIM)


def test_no_noise_is_no_null() -> None:
    """A mechanism without noise promises nothing that could be refuted."""
    with pytest.raises(InputError, match="without noise"):
        MechanismFamily(GaussianSteps(0.0, 1, Poisson(0.5)), "add-remove")


def test_canaries_of_one_run_are_independent_only_by_name() -> None:
    """The accuracy bound says on what it rests; there is no default."""
    with pytest.raises(TypeError):
        Accuracy(Fixed(0.0))  # type: ignore[call-arg]
    with pytest.raises(InputError, match="trials must be one of"):
        Accuracy(Fixed(0.0), "one-run")  # type: ignore[arg-type]
    scores = Scores(np.ones(50), np.zeros(50))
    named = Accuracy(Fixed(0.5), "one-run-assumed-independent")(scores, delta=1e-5, confidence=0.95, **RECORD)
    assert "assumed, not proved" in named.assumptions[1]
    assert named.family


def test_the_price_of_m_delta_is_said() -> None:
    """20,000 canaries at δ = 1e-3: the δ term alone caps the bound; the note has both ceilings, nobody is warned."""
    rng = np.random.default_rng(0)
    scores = Scores(rng.normal(3, 1, 10_000), rng.normal(0, 1, 10_000))
    found = OneRun(FixedGuesses(1000, 1000, seed=0))(scores, delta=1e-3, confidence=0.95, **RECORD)
    free = OneRun(FixedGuesses(1000, 1000, seed=0))(scores, delta=0.0, confidence=0.95, **RECORD)
    assert f"could certify ε = {found.ceiling:.2f}, and {free.ceiling:.2f} at δ = 0" in found.note
    assert not free.note


@pytest.mark.parametrize(
    "bound",
    [
        ClopperPearson(Fixed(0.5)),
        Conditional(Fixed(0.5)),
        Accuracy(Fixed(0.5), "runs", Definition()),
        Sequential(Fixed(0.5), "runs", Definition()),
    ],
    ids=lambda bound: type(bound).__name__,
)
def test_a_delta_that_leaves_nothing_is_said(bound: Any) -> None:
    """200 + 200 perfect trials at δ = 0.99 certify nothing, which the note says; at δ = 0.1 they do, without a word."""
    scores = Scores(np.ones(200), np.zeros(200))
    found = bound(scores, delta=0.99, confidence=0.95, **RECORD)
    assert found.note == "at δ = 0.99 not even a perfect attack on these trials could certify anything"
    assert found.epsilon == found.ceiling == 0
    smaller = bound(scores, delta=0.1, confidence=0.95, **RECORD)
    assert smaller.epsilon > 0
    assert not smaller.note


def test_curves_are_kept_up_to_so_many_bytes() -> None:
    """The curve that was not looked at for the longest time goes first, and is made again when it is asked for."""
    made: list[int] = []

    def curve(name: int) -> TradeOff:
        made.append(name)
        return TradeOff(np.linspace(0, 1, 100), np.linspace(0, 1, 100))

    kept = Kept(2 * 1600)
    for name in (0, 1, 0, 2, 0, 1):
        assert kept.get(name, lambda name=name: curve(name)).fpr.size == 100  # type: ignore[misc]
        assert kept.size == 1600 * len(kept.curves) <= kept.most
    assert made == [0, 1, 2, 1]
