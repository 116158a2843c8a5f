"""Claims of other laws of noise, against dp-accounting's own events and closed forms."""

import json
import math
from pathlib import Path
from typing import Any

import dp_accounting
import numpy as np
import pytest
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from scipy import optimize

from dpaudit.accounting.claim import Claim, GaussianSteps, LawSteps, Poisson, Shuffled, TruncatedPoisson
from dpaudit.accounting.composed import epsilon_under
from dpaudit.accounting.law_epsilon import claim_of_law
from dpaudit.audits.plan_tables import ClaimSettings
from dpaudit.inspection.inspect import inspect_mechanism
from dpaudit.inspection.mechanism import Stated
from dpaudit.runtime.errors import InputError
from dpaudit.self_test.faults import unusual

DELTA = 1e-5
BY_PEERS: dict[str, Any] = json.loads((Path(__file__).parent / "reference.json").read_text())


def by_dp_accounting(accountant, event):
    """ε of an event by one of its accountants."""
    accountant.compose(event)
    return accountant.get_epsilon(DELTA)


def test_laplace_is_dp_accountings_figure():
    """100 Poisson-sampled Laplace releases by its PLD accountant; one release without δ is 1 / scale."""
    claim = claim_of_law(LawSteps("laplace", 4.0, 100, Poisson(0.1)), delta=DELTA, adjacency="add-remove")
    step = dp_accounting.PoissonSampledDpEvent(0.1, dp_accounting.LaplaceDpEvent(4.0))
    expected = by_dp_accounting(PLDAccountant(), dp_accounting.SelfComposedDpEvent(step, 100))
    assert claim.epsilon == pytest.approx(expected, rel=1e-9)
    once = claim_of_law(LawSteps("laplace", 4.0, 1, Poisson(1.0)), delta=0.0, adjacency="add-remove")
    assert once.epsilon == pytest.approx(0.25)


def test_discrete_gaussian_is_its_zcdp_bound():
    """ρ = steps / 2σ² (Canonne et al. 2020, theorem 4); ε = ρ + min over α by Rényi orders, minimised numerically."""
    claim = claim_of_law(LawSteps("discrete-gaussian:0.01", 5.0, 10, Poisson(1.0)), delta=DELTA, adjacency="add-remove")
    rho = 10 / (2 * 5.0**2)

    def epsilon(order: float) -> float:
        return rho * order + math.log((order - 1) / order) - (math.log(DELTA) + math.log(order)) / (order - 1)

    best = optimize.minimize_scalar(epsilon, bounds=(1.01, 200), method="bounded").fun
    assert claim.epsilon == pytest.approx(best, rel=1e-3)


@pytest.mark.parametrize("row", BY_PEERS["banded"] + BY_PEERS["banded_truncated"], ids=str)
def test_banded_matrices_cost_what_jax_privacy_says(row):
    """Its `amplified_bandmf_event` in dp-accounting 0.6, over a grid; both connect the dots, so no figure differs."""
    sampling: Poisson | TruncatedPoisson = Poisson(row["rate"])
    if "records" in row:
        sampling = TruncatedPoisson(row["rate"], row["largest_batch"], row["records"])
    law = f"banded:{','.join('1' * row['bands'])}:{row['steps']}"
    steps = LawSteps(law, row["noise_multiplier"], row["steps"], sampling)
    claim = claim_of_law(steps, delta=row["delta"], adjacency=row["adjacency"])
    assert claim.epsilon == pytest.approx(row["epsilon"], rel=1e-6)


@pytest.mark.parametrize("row", BY_PEERS["tree"], ids=str)
def test_trees_cost_what_dp_accounting_says(row):
    """To 1e-3: its default Rényi orders lie further apart than ours, and the fine ones closer."""
    steps = LawSteps(f"tree:{row['steps']}", row["noise_multiplier"], row["steps"], Shuffled(row["steps"]))
    claim = claim_of_law(steps, delta=row["delta"], adjacency="zero-out")
    assert claim.epsilon == pytest.approx(row["epsilon"], rel=1e-3)


@pytest.mark.long
def test_a_banded_matrix_is_one_release_of_each_cycle():
    """Theorem 4 of Choquette-Choo et al. (2023): 64 steps of 4 bands at rate 1/16 are 16 releases at rate 1/4."""
    claim = claim_of_law(
        LawSteps("banded:1,0.5,0.25,0.125:64", 2.0, 64, Poisson(1 / 16)), delta=DELTA, adjacency="add-remove"
    )
    step = dp_accounting.PoissonSampledDpEvent(0.25, dp_accounting.GaussianDpEvent(2.0))
    expected = by_dp_accounting(PLDAccountant(), dp_accounting.SelfComposedDpEvent(step, 16))
    assert claim.epsilon == pytest.approx(expected, rel=1e-6)


def test_a_tree_is_dp_accountings_figure():
    """One epoch of 64 steps by its Rényi accountant of single-epoch trees."""
    claim = claim_of_law(LawSteps("tree:64", 4.0, 64, Shuffled(64)), delta=DELTA, adjacency="zero-out")
    accountant = RdpAccountant(neighboring_relation=dp_accounting.NeighboringRelation.REPLACE_SPECIAL)
    expected = by_dp_accounting(accountant, dp_accounting.SingleEpochTreeAggregationDpEvent(4.0, 64))
    assert claim.epsilon == pytest.approx(expected, rel=1e-3)
    assert claim.epsilon <= expected * (1 + 1e-9)  # by more orders, so no larger


@pytest.mark.parametrize("law", ["laplace", "discrete-gaussian:0.01", "banded:1,0.5:8"])
@pytest.mark.long
def test_half_of_the_noise_costs_what_the_law_says(law):
    """ε of the noise there is, by the claim's own law and not by that of Gaussian steps."""
    steps = LawSteps(law, 2.0, 8, Poisson(0.5))
    claim = claim_of_law(steps, delta=DELTA, adjacency="add-remove")
    half = claim_of_law(LawSteps(law, 1.0, 8, Poisson(0.5)), delta=DELTA, adjacency="add-remove")
    assert epsilon_under(claim)(1.0) == half.epsilon
    assert epsilon_under(claim)(2.0) == claim.epsilon
    assert epsilon_under(claim)(0.0) == math.inf


@pytest.mark.long
def test_an_inspection_is_judged_against_the_claim_of_its_law():
    """Laplace noise of half the stated scale, one release without δ: ε = 1 instead of 0.5, within 15 %.

    It is that of the largest of several measured moves, which is too large by chance rather than too small.
    """
    mechanism, _ = unusual.RIGHT["Laplace noise"](3)
    claim = claim_of_law(LawSteps("laplace", 2.0, 1, Poisson(1.0)), delta=0.0, adjacency="add-remove")
    assert claim.noise is not None
    stated = Stated(2.0, 2.0, 32.0, law=claim.noise.noise)
    found = inspect_mechanism(mechanism, stated, seed=5, claim=claim)
    assert [finding.check for finding in found.violations] == ["noise"]
    assert claim.epsilon == pytest.approx(0.5)
    assert found.violations[0].true_epsilon == pytest.approx(1.0, rel=0.15)


def test_a_plan_states_a_law_in_the_place_of_an_epsilon():
    """The claim is the accountant's figure, and half of a statement is refused."""
    told: dict[str, Any] = {"law": "laplace", "noise_multiplier": 4.0, "steps": 1, "rate": 1.0, "delta": 0.0}
    claim = ClaimSettings(**told).stated()
    assert claim.epsilon == pytest.approx(0.25)
    assert claim.noise == LawSteps("laplace", 4.0, 1, Poisson(1.0))
    tree = ClaimSettings(law="tree:8", noise_multiplier=4.0, steps=8, rate=0.125, delta=DELTA, adjacency="zero-out")
    steps = tree.stated().noise
    assert steps is not None
    assert steps.sampling == Shuffled(8)
    for wrong in ({"delta": 0.0}, told | {"epsilon": 1.0}, {key: told[key] for key in ("law", "steps", "delta")}):
        with pytest.raises(ValueError, match="give epsilon, or law"):
            ClaimSettings(**wrong)


def test_a_claim_has_one_mechanism():
    """Gaussian steps or another law; a law that is none is refused where it is written."""
    steps = LawSteps("laplace", 4.0, 1, Poisson(1.0))
    with pytest.raises(InputError, match="not both"):
        Claim(1.0, 0.0, "record", "add-remove", "a slide", GaussianSteps(1.0, 1, Poisson(1.0)), steps)
    with pytest.raises(InputError, match="a law of noise is"):
        LawSteps("cauchy", 4.0, 1, Poisson(1.0))
    assert np.isfinite(claim_of_law(steps, delta=0.0, adjacency="add-remove").epsilon)
