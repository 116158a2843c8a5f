"""What a mechanism costs, against dp-accounting, closed forms and published figures."""

import json
import math
from dataclasses import replace
from itertools import combinations, combinations_with_replacement, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dp_accounting.pld import PLDAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri
from scipy.stats import binom, norm

from dpaudit.accounting.claim import Adjacency, FixedSize, GaussianSteps, Poisson, Shuffled, TruncatedPoisson
from dpaudit.accounting.gaussian import gaussian_delta, gaussian_epsilon, gaussian_mu
from dpaudit.accounting.mechanism import epsilon, event, trade_off
from dpaudit.accounting.privacy_loss import Profile, spacing
from dpaudit.accounting.shuffling import shuffle_lower_bound
from dpaudit.accounting.trade_off_curve import from_profile, gaussian_trade_off
from dpaudit.runtime.errors import InputError

REFERENCE: dict[str, Any] = json.loads((Path(__file__).parents[1] / "bounds" / "reference.json").read_text())
BY_PEERS: dict[str, Any] = json.loads((Path(__file__).parent / "reference.json").read_text())
DP_SGD = GaussianSteps(1.0, 1000, Poisson(0.01))


def slowly(rows: list[dict[str, Any]], steps: tuple[int, ...]) -> list[Any]:
    """Rows as parameters; those that are not of so many steps take long."""
    return [pytest.param(row, marks=[] if row["steps"] in steps else pytest.mark.slow) for row in rows]


@pytest.mark.parametrize("row", REFERENCE["R_accountants"], ids=lambda row: f"q={row['q']:.4f} T={row['T']}")
def test_epsilon_is_that_of_dp_accounting(row: dict[str, float]) -> None:
    """Figures of dp-accounting 0.4.3 (its PLD accountant), also reproduced by 0.6."""
    steps = GaussianSteps(row["sigma"], int(row["T"]), Poisson(row["q"]))
    assert epsilon(steps, delta=row["delta"]).epsilon == pytest.approx(row["pld_eps"], abs=1e-6)


@pytest.mark.parametrize("row", slowly(BY_PEERS["truncated_poisson"], (500, 5000)), ids=str)
@pytest.mark.long
def test_truncated_batches_cost_what_dp_accounting_says(row: dict[str, Any]) -> None:
    """Its 0.6 has them in the PLD accountant; what is certain of them is that of a record that is kept less often."""
    sampling = TruncatedPoisson(row["rate"], row["largest_batch"], row["records"])
    steps = GaussianSteps(row["noise_multiplier"], row["steps"], sampling)
    found = epsilon(steps, delta=row["delta"], adjacency=row["adjacency"])
    assert found.epsilon == pytest.approx(row["epsilon"], rel=1e-6)
    seldom = replace(steps, sampling=Poisson(sampling.kept))
    assert found.at_least == epsilon(seldom, delta=row["delta"], adjacency=row["adjacency"]).at_least
    assert sampling.kept < row["rate"]


@pytest.mark.parametrize(("rate", "largest", "records"), [(0.5, 1, 2), (0.3, 2, 5), (0.9, 4, 5)])
def test_what_a_cut_keeps_by_enumeration(rate: float, largest: int, records: int) -> None:
    """Every draw of the other records, with and without the one at hand, and every part that may be kept."""
    sampling = TruncatedPoisson(rate, largest, records)
    others = binom.pmf(np.arange(records), records - 1, rate)
    full = np.minimum(1.0, largest / np.arange(1, records + 1))
    assert sampling.cut == pytest.approx(others[largest:].sum())
    assert sampling.kept == pytest.approx(rate * (others * full).sum())
    assert sampling.kept_of_cut == pytest.approx(rate * (others * full)[largest:].sum() / others[largest:].sum())


@pytest.mark.parametrize("adjacency", ["add-remove", "zero-out", "replace-one"])
@pytest.mark.long
def test_truncated_batches_bound_every_small_data_set(adjacency: Adjacency) -> None:
    """δ of one step by numerical integration, four records of gradients in {-1, 0, 1}, batches cut at two."""
    sampling, sigma = TruncatedPoisson(0.6, 2, 4), 1.0
    figures, grid = np.array([0.0, 0.3, 1.0, 2.0]), np.linspace(-11, 11, 4001)

    def density(gradients: tuple[int, ...]) -> Any:
        total = np.zeros(grid.size)
        for size in range(len(gradients) + 1):
            weight = binom.pmf(size, len(gradients), 0.6)
            kept = list(combinations(gradients, min(size, 2)))
            total += weight * np.mean([norm.pdf(grid, sum(batch), sigma) for batch in kept], axis=0)
        return total

    profile = Profile(GaussianSteps(sigma, 1, sampling), adjacency, 1, 1e-4)
    bound = np.array([profile(e) for e in figures])
    for others in combinations_with_replacement((-1, 0, 1), 3):
        for own in (-1, 0, 1):
            changes: dict[str, list[tuple[int, ...]]]
            changes = {"add-remove": [()], "zero-out": [(0,)], "replace-one": [(-1,), (1,)]}
            for change in changes[adjacency]:
                one, two = density((own, *others)), density((*change, *others))
                for p, q in ((one, two), (two, one)):
                    shown = [np.maximum(p - math.exp(e) * q, 0).sum() * (grid[1] - grid[0]) for e in figures]
                    assert (bound >= np.array(shown) - 1e-6).all()


def test_a_cut_that_never_happens_costs_nothing() -> None:
    """A largest batch of all records is Poisson sampling; groups are not accounted, nor is every batch cut."""
    whole = replace(DP_SGD, sampling=TruncatedPoisson(0.01, 500, 500))
    assert epsilon(whole, delta=1e-5).epsilon == pytest.approx(epsilon(DP_SGD, delta=1e-5).epsilon, rel=1e-9)
    with pytest.raises(InputError, match="group privacy of truncated batches"):
        epsilon(whole, delta=1e-5, group=2)
    with pytest.raises(InputError, match="state fixed-size batches"):
        TruncatedPoisson(1.0, 5, 10)
    with pytest.raises(InputError, match="no accounting by Rényi"):
        event(whole)


def test_fixed_size_lies_between_its_bounds() -> None:
    """Below dp-accounting's Rényi bound, which takes the noise relative to two clip norms; above what is certain."""
    known = next(row for row in REFERENCE["R_accountants"] if row["q"] == 0.01)
    steps = GaussianSteps(2.0, 1000, FixedSize(600, 60_000))
    found = epsilon(steps, delta=1e-5, adjacency="replace-one")
    assert found.at_least <= found.epsilon < known["rdp_fixed_size_wor_replace_one_eps"]
    # The pair of data sets whose other gradients are all 0 is that of Poisson batches.
    assert (
        found.at_least >= epsilon(replace(steps, sampling=Poisson(0.01)), delta=1e-5, adjacency="replace-one").epsilon
    )
    assert not found.exact


@pytest.mark.parametrize(("records", "size", "sigma"), [(2, 1, 1.0), (3, 1, 2.0), (3, 2, 1.5), (4, 2, 1.0)])
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.long
def test_fixed_size_bounds_every_small_data_set(records: int, size: int, sigma: float, steps: int) -> None:
    """δ by numerical integration over all batches, for all gradients in {-1, 0, 1}: tight for one step."""
    figures = np.array([0.0, 0.3, 1.0, 2.0])
    grid = np.linspace(-size - 8 * sigma, size + 8 * sigma, 20_001 if steps == 1 else 601)

    def density(gradients: tuple[int, ...]) -> Any:
        one = np.mean([norm.pdf(grid, sum(batch), sigma) for batch in combinations(gradients, size)], axis=0)
        return one if steps == 1 else np.outer(one, one)

    worst = np.zeros(figures.size)
    for others in combinations_with_replacement((-1, 0, 1), records - 1):
        for own, new in permutations((-1, 0, 1), 2):
            p, q = density((own, *others)), density((new, *others))
            shown = [np.maximum(p - math.exp(e) * q, 0).sum() * (grid[1] - grid[0]) ** steps for e in figures]
            worst = np.maximum(worst, shown)
    profile = Profile(GaussianSteps(sigma, steps, FixedSize(size, records)), "replace-one", 1, 1e-4)
    bound = np.array([profile(e) for e in figures])
    assert (bound >= worst - 1e-6).all()
    if steps == 1:
        assert bound == pytest.approx(worst, abs=1e-6)


def test_the_whole_data_as_a_batch_is_gaussian() -> None:
    """Rate 1 is the Gaussian mechanism in closed form (Balle and Wang 2018), whatever draws it; both ways."""
    for sampling in (Poisson(1.0), FixedSize(50, 50), Shuffled(1)):
        found = epsilon(GaussianSteps(4.0, 100, sampling), delta=1e-6, adjacency="replace-one")
        assert found.exact
        assert found.epsilon == pytest.approx(gaussian_epsilon(2 * 10 / 4.0, 1e-6))


@pytest.mark.long
def test_a_tiny_delta_is_bounded_by_renyi() -> None:
    """At 1.13e-18 no composed distribution has the digits; Rényi's bound (0.147, published in an issue) is kept."""
    steps = GaussianSteps(4.0, 10_000, Poisson(250 / 750_000))
    found = epsilon(steps, delta=1.13e-18)
    assert found.method == "RDP"
    assert 0.14 < found.epsilon < 0.15
    assert 0 < found.at_least < found.epsilon
    assert not found.exact
    figures = [epsilon(steps, delta=delta).epsilon for delta in (1e-9, 1e-12, 1e-14, 1.1e-15, 1e-15, 1e-16, 1e-18)]
    assert figures == sorted(figures)


@pytest.mark.parametrize(
    ("sigma", "rate", "steps", "grid"), [(1.0, 0.001, 2000, 1e-3), (8.0, 0.001, 200_000, 1e-4), (1.0, 1.6e-4, 8, 1e-4)]
)
@pytest.mark.long
def test_losses_are_told_apart_where_they_lie_close(sigma: float, rate: float, steps: int, grid: float) -> None:
    """With a spacing ten times as narrow as is taken ε is the same to 0.2 %, so that the figure is exact as it says."""
    mechanism = GaussianSteps(sigma, steps, Poisson(rate))
    found = epsilon(mechanism, delta=1e-5, grid=grid)
    assert found.exact
    narrow = epsilon(mechanism, delta=1e-5, grid=spacing(mechanism, grid) / 10).epsilon
    assert narrow <= found.epsilon <= 1.002 * narrow


def test_slack_makes_a_figure_less_certain() -> None:
    """A procedure that may be left with probability 1e-7 has more ε at most, and less for certain."""
    plain = epsilon(DP_SGD, delta=1e-5)
    left = epsilon(replace(DP_SGD, slack=1e-7), delta=1e-5)
    assert left.at_least < plain.at_least <= plain.epsilon < left.epsilon


def test_shuffled_batches_are_certain_of_less_than_coins() -> None:
    """The sum of each epoch is a Gaussian release of the whole data, with the noise of its 20 batches."""
    found = epsilon(GaussianSteps(2.0, 200, Shuffled(20)), delta=1e-5)
    assert found.at_least == pytest.approx(gaussian_epsilon(math.sqrt(10 / 20) / 2, 1e-5))
    assert found.at_least < found.epsilon
    assert not found.exact


def test_replace_one_of_poisson_batches() -> None:
    """2.8434 by dp-accounting 0.6 (PLD, REPLACE_ONE), which 0.4.3 cannot compute; ours works on both."""
    assert epsilon(DP_SGD, delta=1e-5, adjacency="replace-one").epsilon == pytest.approx(2.8434458, abs=1e-5)


def test_one_step_of_replace_one_by_brute_force() -> None:
    """δ(ε) of 0.7 N(0) + 0.3 N(±1) by numerical integration."""
    x = np.linspace(-12, 12, 400_001)

    def density(shift: float) -> Any:
        return 0.7 * np.exp(-(x**2) / 2) + 0.3 * np.exp(-((x - shift) ** 2) / 2)

    p, q = density(1) / np.sqrt(2 * np.pi), density(-1) / np.sqrt(2 * np.pi)
    figure = epsilon(GaussianSteps(1.0, 1, Poisson(0.3)), delta=1e-3, adjacency="replace-one").epsilon
    delta = np.maximum(p - math.exp(figure) * q, 0).sum() * (x[1] - x[0])
    assert delta == pytest.approx(1e-3, rel=1e-4)


def test_a_group_of_one_step_by_brute_force() -> None:
    """Two records of one user: P = Binomial(2, q) clip norms, Q = none; both directions by numerical integration."""
    x = np.linspace(-12, 14, 400_001)
    step = x[1] - x[0]
    weights = [0.49, 0.42, 0.09]
    p = sum(w * np.exp(-((x - k) ** 2) / 2) for k, w in enumerate(weights)) / np.sqrt(2 * np.pi)
    q = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    figure = epsilon(GaussianSteps(1.0, 1, Poisson(0.3)), delta=1e-3, group=2).epsilon
    deltas = [np.maximum(a - math.exp(figure) * b, 0).sum() * step for a, b in ((p, q), (q, p))]
    assert max(deltas) == pytest.approx(1e-3, rel=1e-4)


def test_full_batches_are_one_gaussian_release() -> None:
    """T steps of noise σ are one of σ / √T; replacing moves twice as far, a group of k moves k times as far."""
    steps = GaussianSteps(10.0, 100, Poisson(1.0))
    assert epsilon(steps, delta=1e-5).epsilon == pytest.approx(gaussian_epsilon(1.0, 1e-5), abs=1e-9)
    assert epsilon(steps, delta=1e-5, adjacency="replace-one").epsilon == pytest.approx(gaussian_epsilon(2, 1e-5))
    assert epsilon(steps, delta=1e-5, group=3).epsilon == pytest.approx(gaussian_epsilon(3, 1e-5))


def test_shuffled_batches_are_named_optimistic() -> None:
    """No upper bound is known; the Poisson figure is given and says what it is."""
    found = epsilon(GaussianSteps(1.0, 1000, Shuffled(100)), delta=1e-5)
    assert found.optimistic
    assert "shuffled" in found.note
    assert found.epsilon == epsilon(DP_SGD, delta=1e-5).epsilon
    assert not epsilon(DP_SGD, delta=1e-5).optimistic


@pytest.mark.long
def test_shuffling_costs_more_than_poisson_says() -> None:
    """Simulation says ε ≥ 4.0 for one epoch of 100 batches at σ = 1 where Poisson accounting says 0.72.

    False-alarm rate of the bound 1e-3; the figure of an independent simulation is 4.01, ours holds with confidence.
    """
    steps = GaussianSteps(1.0, 100, Shuffled(100))
    found = shuffle_lower_bound(steps, delta=1e-4, confidence=0.999, samples=20_000, seed=0)
    assert epsilon(steps, delta=1e-4).epsilon < 0.6
    assert 1.5 < found.epsilon < 4.01
    assert found.optimistic


def test_shuffling_bound_stays_below_no_amplification() -> None:
    """One batch per epoch is no shuffling: the truth is one Gaussian release of μ = 1, and the bound stays below it."""
    found = shuffle_lower_bound(
        GaussianSteps(1.0, 1, Shuffled(1)), delta=1e-2, confidence=0.999, samples=50_000, seed=1
    )
    assert 0.8 * gaussian_epsilon(1.0, 1e-2) < found.epsilon <= gaussian_epsilon(1.0, 1e-2)


def test_slack_is_paid_for() -> None:
    """With probability s the run left the procedure, in either world: δ(ε) + (1 + e^ε) s ≤ δ."""
    plain = epsilon(DP_SGD, delta=1e-5).epsilon
    slack = 1e-7
    found = epsilon(GaussianSteps(1.0, 1000, Poisson(0.01), slack), delta=1e-5).epsilon
    left = 1e-5 - (1 + math.exp(found)) * slack
    assert found > plain
    assert epsilon(DP_SGD, delta=left).epsilon == pytest.approx(found, abs=1e-6)
    assert epsilon(GaussianSteps(1.0, 1000, Poisson(0.01), 1e-5), delta=1e-5).epsilon == math.inf
    wide = trade_off(GaussianSteps(1.0, 1000, Poisson(0.01), 1e-3))
    assert wide.tpr_at(0.1) == pytest.approx(trade_off(DP_SGD).tpr_at(0.101) + 1e-3, abs=1e-6)


def test_hardly_any_noise_on_a_sampled_step() -> None:
    """Losses beyond e^709: one step has a closed form, and the curve stays one between 0 and 1."""
    step = GaussianSteps(0.05, 1, Poisson(0.01))
    # Removing: δ(ε) = q δ₀(log(1 + (e^ε - 1) / q)), with δ₀ that of the step on the whole data.
    known = gaussian_epsilon(1 / 0.05, 1e-5 / 0.01) + math.log(0.01)
    assert epsilon(step, delta=1e-5, grid=1e-2).epsilon == pytest.approx(known, rel=1e-6)
    curve = trade_off(step, grid=1e-2)
    assert np.isfinite(curve.fpr).all()
    assert np.isfinite(curve.tpr).all()
    # The record is in one batch of a hundred, and then it shows.
    assert curve.total_variation == pytest.approx(0.01, rel=1e-6)


def test_an_epsilon_in_the_thousands() -> None:
    """Beyond e^709, where no power of e is a float: one step in closed form, and many of hardly any noise."""
    step = GaussianSteps(0.02, 1, Poisson(0.01))
    known = gaussian_epsilon(1 / 0.02, 1e-5 / 0.01) + math.log(0.01)
    assert known > 1000
    assert epsilon(step, delta=1e-5, grid=1e-2).epsilon == pytest.approx(known, rel=1e-5)
    # Whoever takes part k times is told at ε = k / (2σ²); more than 26 times is rarer than 1e-5.
    steps = GaussianSteps(0.005, 1000, Poisson(0.01))
    often = binom.isf(1e-5, 1000, 0.01)
    assert epsilon(steps, delta=1e-5, grid=2.0).epsilon == pytest.approx(often / (2 * 0.005**2), rel=3e-3)


def test_no_noise_is_no_privacy() -> None:
    """Noise 0: ε is infinite and every record can be told."""
    bare = GaussianSteps(0.0, 1, Poisson(0.5))
    assert epsilon(bare, delta=1e-5).epsilon == math.inf
    assert trade_off(bare).tpr_at(0.0) == 1.0
    assert trade_off(bare).fpr_at(0.5) == 0.0


@pytest.mark.parametrize("case", [c for c in REFERENCE["F_gdp_conversion"] if "mu" in c], ids=str)
def test_gaussian_epsilon_is_that_of_peers(case: dict[str, float]) -> None:
    """Peers invert on a grid; 1e-4 is their own tolerance."""
    assert gaussian_epsilon(case["mu"], case["delta"]) == pytest.approx(case["eps"], abs=1e-4)


@pytest.mark.parametrize("case", [c for c in REFERENCE["F_gdp_conversion"] if "sigma" in c], ids=str)
def test_gaussian_mu_is_that_of_dp_accounting(case: dict[str, float]) -> None:
    """σ for an ε by dp-accounting 0.6 `get_sigma_gaussian`."""
    assert 1 / gaussian_mu(case["eps"], case["delta"]) == pytest.approx(case["sigma"], abs=1e-6)


@given(mu=st.floats(0.01, 30), delta=st.sampled_from([1e-12, 1e-5, 1e-2, 0.3]))
@settings(max_examples=60, deadline=None)
def test_gaussian_conversions_undo_each_other(mu: float, delta: float) -> None:
    """ε(μ) and μ(ε) are inverse where ε is above 0."""
    figure = gaussian_epsilon(mu, delta)
    if figure > 1e-6:
        assert gaussian_mu(figure, delta) == pytest.approx(mu, rel=1e-6)
        assert gaussian_delta(mu, figure) == pytest.approx(delta, rel=1e-6)


def test_gaussian_epsilon_of_hardly_any_noise() -> None:
    """Where μ² has more digits than a float: ε = μ² / 2 + μ z(δ), and infinite where no float holds it."""
    assert gaussian_epsilon(1e8, 1e-5) == pytest.approx(1e16 / 2 + 1e8 * 4.264890794, rel=1e-12)
    assert gaussian_epsilon(1e200, 1e-5) == np.inf


@pytest.mark.parametrize("direction", ["tpr_bound_remove_dir", "tpr_exact"])
def test_the_curve_is_neyman_pearson(direction: str) -> None:
    """Analytic for the Gaussian (1e-9), and an independent computation for DP-SGD."""
    if direction == "tpr_exact":
        known = REFERENCE["R_tradeoff"]["gauss mu=1 h=0.0001"]
        curve = gaussian_trade_off(1.0)
    else:
        known = REFERENCE["R_tradeoff"]["dpsgd q=0.010000 s=1.0 T=1000"]
        curve = trade_off(DP_SGD)
    found = [curve.tpr_at(fpr) for fpr in REFERENCE["R_tradeoff"]["gauss mu=1 h=0.0001"]["alpha"]]
    assert np.allclose(found, known[direction], rtol=0, atol=2e-8)


def test_the_curve_says_more_than_one_epsilon() -> None:
    """At FPR 1 % the curve of DP-SGD allows TPR 2.9 %; the line of its single (ε, δ) would allow 6.2 %."""
    curve = trade_off(DP_SGD)
    point = epsilon(DP_SGD, delta=1e-5).epsilon
    assert curve.tpr_at(0.01) == pytest.approx(0.029139, abs=1e-5)
    assert from_profile(np.array([point]), np.array([1e-5])).tpr_at(0.01) == pytest.approx(0.0622395, abs=1e-5)
    assert curve.epsilon(1e-5) == pytest.approx(point, abs=1e-6)
    assert curve.total_variation == pytest.approx(0.16101842, abs=1e-6)


@pytest.mark.parametrize(
    ("steps", "kappa", "known"),
    [
        (GaussianSteps(10.0, 100, Poisson(1.0)), 0.1, ndtr(ndtri(0.1) + 1.0)),
        (GaussianSteps(10.0, 100, Poisson(1.0)), 0.01, ndtr(ndtri(0.01) + 1.0)),
        (GaussianSteps(1.0, 100, Poisson(0.1)), 0.1, 0.4692),  # between two Monte-Carlo estimates, .455 and .472
    ],
)
def test_reconstruction_bound(steps: GaussianSteps, kappa: float, known: float) -> None:
    """γ(κ) = Φ(Φ⁻¹(κ) + μ) for full batches (Hayes et al. 2023); a published table value for sampled ones."""
    assert trade_off(steps).reconstruction(kappa) == pytest.approx(known, abs=1e-4)


@pytest.mark.parametrize(
    "curve",
    [
        gaussian_trade_off(0.3),
        gaussian_trade_off(6.0),
        from_profile(np.array([0.0, 1.0, 3.0]), np.array([0.4, 0.1, 1e-5])),
        trade_off(GaussianSteps(0.8, 5, Poisson(0.2))),
        trade_off(GaussianSteps(0.8, 5, Poisson(0.2))).symmetric(),
    ],
    ids=["gaussian", "strong gaussian", "profile", "dp-sgd", "symmetric"],
)
def test_a_curve_is_a_curve(curve: Any) -> None:
    """Increasing, from FPR 0 to 1, never below the diagonal, concave; `fpr_at` undoes `tpr_at` inside."""
    assert (np.diff(curve.fpr) >= 0).all()
    assert (np.diff(curve.tpr) >= 0).all()
    assert curve.fpr[0] == 0
    assert curve.fpr[-1] == curve.tpr[-1] == 1
    grid = np.linspace(0.001, 0.999, 201)
    heights = np.array([curve.tpr_at(float(x)) for x in grid])
    assert (heights >= grid - 1e-12).all()
    assert (np.diff(heights, 2) <= 1e-9).all()
    for fpr, tpr in zip(grid, heights, strict=True):
        if tpr < 1 - 1e-9:
            assert curve.fpr_at(float(tpr)) == pytest.approx(fpr, abs=1e-6)


def test_a_symmetric_curve_bounds_both_directions() -> None:
    """Above the curve, above its mirror image, and equal to its own mirror image."""
    one = trade_off(GaussianSteps(0.8, 5, Poisson(0.2)))
    both = one.symmetric()
    for x in np.linspace(0.01, 0.99, 50):
        assert both.tpr_at(float(x)) >= one.tpr_at(float(x)) - 1e-12
        assert both.tpr_at(float(x)) >= 1 - one.fpr_at(1 - float(x)) - 1e-9
        assert 1 - both.fpr_at(1 - float(x)) == pytest.approx(both.tpr_at(float(x)), abs=1e-9)


@pytest.mark.long
def test_events_are_what_dp_accounting_composes() -> None:
    """The event of a mechanism, put into dp-accounting's own accountant, gives our figure."""
    accountant = PLDAccountant()
    accountant.compose(event(DP_SGD))
    assert accountant.get_epsilon(1e-5) == pytest.approx(epsilon(DP_SGD, delta=1e-5).epsilon, abs=1e-6)


def test_bad_input_is_named() -> None:
    """One clear line: what, and what would be right."""
    with pytest.raises(InputError, match="adjacency must be one of"):
        epsilon(DP_SGD, delta=1e-5, adjacency="add")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"delta must be in \[0, 1\), got 1"):
        epsilon(DP_SGD, delta=1)
    with pytest.raises(InputError, match="needs Shuffled sampling"):
        shuffle_lower_bound(DP_SGD, delta=1e-5, confidence=0.95, samples=1000, seed=0)
    with pytest.raises(InputError, match="whole epochs of 7"):
        shuffle_lower_bound(GaussianSteps(1.0, 10, Shuffled(7)), delta=1e-5, confidence=0.95, samples=1000, seed=0)


@pytest.mark.parametrize("noise", [0.001, 0.1, 0.2])
def test_little_noise_has_a_curve(noise: float) -> None:
    """The closed form of one Gaussian release, never below it but for rounding; no array of 10^10 losses."""
    curve = trade_off(GaussianSteps(noise, 1, Poisson(1.0)))
    for fpr in (1e-6, 1e-3):
        exact = ndtr(ndtri(fpr) + 1 / noise)
        assert -1e-9 < curve.tpr_at(fpr) - exact < 1e-6
