"""Planning an audit: exact powers, against an independent table and simulation."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from dpaudit.accounting import gaussian_epsilon, gaussian_mu
from dpaudit.bounds.accuracy import accuracy_bound
from dpaudit.bounds.clopper_pearson import clopper_pearson
from dpaudit.bounds.counts import Counts, Guesses
from dpaudit.bounds.null import GaussianCurve, accuracy
from dpaudit.bounds.one_run_trade_off import refutes
from dpaudit.chances import METHODS, Hypothesis, floor, guessing
from dpaudit.errors import InputError
from dpaudit.evidence import LowerBound
from dpaudit.planning import ReachBasis, _required, planned_as, power, reach, visible

REFERENCE: dict[str, Any] = json.loads((Path(__file__).parent / "bounds" / "reference.json").read_text())
TABLE = {(1, 2): 734, (1, 4): 98, (2, 4): 240, (4, 8): 97, (8, 16): 50, (8, 32): 14}
FLOOR = {(1, 2): 454, (1, 4): 58, (2, 4): 138, (4, 8): 46, (8, 16): 18, (8, 32): 4}


def _trials(claimed: float, suspected: float, method: str = "accuracy, Gaussian") -> int:
    found = _required(method, gaussian_mu(suspected, 1e-5), Hypothesis(claimed, 1e-5, 0.05), 0.8).trials
    assert found is not None
    return found


@pytest.mark.parametrize(("pair", "known"), TABLE.items(), ids=str)
def test_the_accuracy_column(pair: tuple[int, int], known: int) -> None:
    """Binomial power is a sawtooth: the published number lies between the first that gets there and the last that does

    not; ours is the first.
    """
    found = _trials(*pair)
    null, truth = (accuracy(GaussianCurve(gaussian_mu(figure, 1e-5))) for figure in pair)
    n = np.arange(2, 2000)
    enough = binom.sf(binom.isf(0.05, n, null), n, truth) >= 0.8
    assert found == n[enough].min()
    assert found <= known <= n[~enough].max() + 1


@pytest.mark.parametrize(("pair", "known"), FLOOR.items(), ids=str)
def test_the_floor_is_the_mean_test(pair: tuple[int, int], known: int) -> None:
    """The z-test of the published table, to the trial."""
    assert floor(gaussian_mu(pair[1], 1e-5), Hypothesis(pair[0], 1e-5, 0.05), 0.8) == known


@pytest.mark.parametrize(("factor", "known"), [(1.2, 1125), (math.sqrt(2), 272), (2.0, 52), (10.0, 9)])
def test_step_level_bugs(factor: float, known: int) -> None:
    """Noise too small by a factor at σ = 1: published numbers of steps, within the width of one tooth."""
    found = _trials(gaussian_epsilon(1.0, 1e-5), gaussian_epsilon(factor, 1e-5))
    assert 0.95 * known <= found <= known


POWERS = REFERENCE["P_power_analysis_gaussian_leak_alpha.05_power.8"]


@pytest.mark.parametrize(
    "case",
    # Telling 2 from 1 takes tens of thousands of trials, and the planner seconds.
    [pytest.param(case, marks=pytest.mark.slow) if case["true_eps"] == 2 else case for case in POWERS],
    ids=lambda case: f"{case['claimed_eps']} against {case['true_eps']}",
)
def test_the_other_columns(case: dict[str, Any]) -> None:
    """The published searches ran on coarse grids with fixed shares of guesses: exact planning never needs more."""
    plan = power(case["claimed_eps"], case["true_eps"], delta=1e-5)
    found = {row.method: row.trials for row in plan.rows}
    for method, column in (
        ("one-run", "one_run_steinke_canaries_delta1e5"),
        ("one-run trade-off, Gaussian", "one_run_fdp_canaries"),
        ("clopper-pearson", "multi_run_CP_runs"),
    ):
        trials = found[method]
        if case[column] is None:
            assert trials is None  # no number of canaries is enough
        else:
            assert trials is not None
            assert case[column] / 5 < trials <= case[column]
    assert plan.best is not None
    assert plan.best.method == "accuracy, Gaussian"


def test_one_run_collapses_with_many_canaries() -> None:
    """8 against 16 at δ = 1e-5: no number of canaries is enough for the plain one-run bound, as published."""
    mu, test = gaussian_mu(16.0, 1e-5), Hypothesis(8.0, 1e-5, 0.05)
    assert max(METHODS["one-run"].chance(n, mu, test) for n in (1000, 10_000, 100_000, 1_000_000)) < 0.8
    assert METHODS["one-run trade-off, Gaussian"].chance(1300, mu, test) > 0.8


@pytest.mark.parametrize("method", ["one-run trade-off, Gaussian", "clopper-pearson"])
def test_powers_are_what_a_simulation_gives(method: str) -> None:
    """4,000 simulated audits at the planner's own best choice; tolerance four standard errors (false alarms 1e-4)."""
    rng, mu = np.random.default_rng(0), gaussian_mu(8.0, 1e-5)
    claimed = Hypothesis(1.0, 1e-5, 0.05)
    if method == "clopper-pearson":
        n, hits = 400, 0
        known = METHODS[method].chance(n, mu, claimed)
        best = 0.0
        for threshold in np.linspace(0.5, 3.0, 11):  # a chance for every threshold; the planner takes the best
            tp = rng.binomial(200, 1 - _normal(threshold - mu), 4000)
            fp = rng.binomial(200, 1 - _normal(threshold), 4000)
            pairs, times = np.unique(np.stack([tp, fp], 1), axis=0, return_counts=True)
            seen = [
                clopper_pearson(Counts(int(t), 200 - int(t), int(f), 200 - int(f)), 1e-5, 0.05) > 1 for t, f in pairs
            ]
            best = max(best, float(times[seen].sum()) / 4000)
        assert abs(best - known) < 4 * math.sqrt(0.25 / 4000)
        return
    n, made = 60, 24
    curve = GaussianCurve(gaussian_mu(1.0, 1e-5))
    needed = next(v for v in range(made + 1) if refutes(Guesses(n, made, v), curve, 0.05))
    member = rng.random((4000, n)) < 0.5
    score = rng.normal(size=member.shape) + mu * member - mu / 2
    far = np.argsort(-np.abs(score), axis=1)[:, :made]
    right = np.take_along_axis((score > 0) == member, far, axis=1).sum(axis=1)
    hits = int((right >= needed).sum())
    known = guessing(made / n, n, mu, lambda guesses: refutes(guesses, curve, 0.05))
    assert abs(hits / 4000 - known) < 4 * math.sqrt(0.25 / 4000)


def _normal(x: float) -> float:
    return math.erfc(-x / math.sqrt(2)) / 2


@pytest.mark.parametrize("method", sorted(METHODS))
def test_the_inverse_undoes_the_plan(method: str) -> None:
    """At the ε that an audit could have seen, the chance of seeing it is the wanted power."""
    found = visible(method, 800, claimed=1.0, delta=1e-5, power=0.7)
    assert found > 1.0
    if math.isfinite(found):
        chance = METHODS[method].chance(800, gaussian_mu(found, 1e-5), Hypothesis(1.0, 1e-5, 0.05))
        assert chance == pytest.approx(0.7, abs=0.02)


def test_what_an_audit_at_hand_could_have_seen() -> None:
    """From the bound alone; more trials see less, and a method without a computed power says that it is flattered."""
    common: Any = {"delta": 1e-5, "confidence": 0.95, "adjacency": "add-remove", "unit": "record", "assumptions": ()}
    small = LowerBound(0.0, method="one-run", ceiling=3.0, trials=200, **common)
    large = LowerBound(0.0, method="one-run", ceiling=6.0, trials=2000, **common)
    assert reach(small, 1.0).epsilon > reach(large, 1.0).epsilon > 1.0
    assert reach(small, 1.0).basis is ReachBasis.GAUSSIAN
    other = LowerBound(0.0, method="sequential", ceiling=3.0, trials=200, **common)
    assert reach(other, 1.0).epsilon == 3.0
    assert reach(other, 4.0).epsilon == math.inf
    assert reach(other, 1.0).basis is ReachBasis.PERFECT
    assert planned_as("whole-curve", "something else") is None


def test_nonsense_is_refused() -> None:
    """Neither or both suspicions, a suspicion that the claim allows, δ = 0, an unknown access."""
    for arguments, message in (
        ({}, "either suspected or bug_factor"),
        ({"suspected": 4.0, "bug_factor": 2.0}, "either suspected or bug_factor"),
        ({"suspected": 1.0}, "the claim allows it"),
        ({"suspected": 4.0, "delta": 0.0}, "delta must be above 0"),
        ({"suspected": 4.0, "access": "run"}, "access must be one of"),
    ):
        with pytest.raises(InputError, match=message):
            power(2.0, **{"delta": 1e-5, **arguments})  # type: ignore[arg-type]


def test_accuracy_needs_what_its_bound_needs() -> None:
    """The planner's rejection is the bound's: the first number of right guesses above the claim is the same."""
    n, claimed = 300, 3.0
    first = next(v for v in range(150, 301) if accuracy_bound(v, n, 1e-5, 0.05) > claimed)
    rate = accuracy(GaussianCurve(gaussian_mu(claimed, 1e-5)))
    assert first == int(binom.isf(0.05, n, rate)) + 1
