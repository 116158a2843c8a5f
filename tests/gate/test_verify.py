"""The gate: verdicts on audits whose truth is known, and how often a correct model fails."""

import json
from typing import Any

import pytest
from scipy.stats import binom

from dpaudit.accounting.gaussian import gaussian_epsilon
from dpaudit.gate.verify import verify
from dpaudit.results.result import Result
from dpaudit.runtime.errors import InputError
from tests.small_audits import (
    DELTA,
    around,
    auc,
    ceiling,
    claims,
    edited,
    epsilon_claim,
    gaussian_audit,
    gaussian_scores,
    growth,
    on_data,
    tpr,
    unbounded,
    with_references,
)

DP_SGD = {"noise_multiplier": 1.0, "steps": 400, "sampling": {"rate": 0.05}, "slack": 0.0}
CLAIMED = {
    "kind": "mechanism", "noise_multiplier": 1.0, "steps": 400, "sampling": "poisson", "rate": 0.05, "delta": DELTA,
    "unit": "record", "adjacency": "add-remove",
}  # fmt: skip


@pytest.fixture(scope="module")
def leaky() -> Any:
    """An audit of a mechanism of ε ≈ 17 at δ = 1e-5."""
    return gaussian_audit(3.0, seed=1, records=4000)


@pytest.fixture(scope="module")
def quiet() -> Any:
    """An audit of a mechanism of ε ≈ 1.2 at δ = 1e-5."""
    return gaussian_audit(0.3, seed=2, records=4000)


@pytest.fixture(scope="module")
def many() -> Any:
    """The same mechanism on records enough to contradict a claim of ε = 6.7."""
    return gaussian_audit(0.3, seed=2, records=20_000)


def trained(result: Any, mechanism: Any, **parameters: Any) -> Any:
    """The result with what its only model was trained by."""
    model = json.loads(result.json())["models"][0]
    return edited(result, models=[{**model, "mechanism": mechanism, "parameters": parameters}])


def verdicts(gate: Any) -> Any:
    """Verdicts in the order of the claims."""
    return [each.verdict for each in gate.judgements]


@pytest.mark.long
def test_epsilon_both_ways(leaky: Result, quiet: Result) -> None:
    """A mechanism of ε = 17 contradicts a claim of 2; one of 1.2 does not; one bound sees no claim of 20."""
    assert gaussian_epsilon(3.0, DELTA) > 10
    assert verdicts(verify(leaky, claims(epsilon_claim(2.0)))) == ["contradicted"]
    assert verdicts(verify(quiet, claims(epsilon_claim(2.0)))) == ["consistent"]
    assert verdicts(verify(quiet, claims(epsilon_claim(20.0)))) == ["too weak"]


def test_ceilings_are_judged_by_the_edges(leaky: Result) -> None:
    """Below the interval: contradicted. Above it: consistent. Inside it: too weak. The truth is an AUC of 0.983."""
    gate = verify(leaky, claims(ceiling("auc", 0.9), ceiling("auc", 0.999), ceiling("auc", round(auc(3.0), 3))))
    assert verdicts(gate) == ["contradicted", "consistent", "too weak"]
    at = tpr(3.0, 0.01)
    gate = verify(leaky, claims(*(ceiling("tpr@fpr=0.01", limit) for limit in (at - 0.2, min(at + 0.2, 1), at))))
    assert verdicts(gate) == ["contradicted", "consistent", "too weak"]
    assert verdicts(verify(leaky, claims(ceiling("advantage", 0.5)))) == ["contradicted"]


def test_an_attack_that_ran_twice_is_judged_twice(leaky: Result, quiet: Result) -> None:
    """The same attack with other parameters hides nothing: the stronger run decides, whichever came first."""
    runs = [json.loads(result.json())["membership"]["attacks"][0] for result in (leaky, quiet)]
    for order in (runs, runs[::-1]):
        both = edited(leaky, membership={**json.loads(leaky.json())["membership"], "attacks": order})
        found = verify(both, claims(ceiling("auc", 0.9)))
        assert verdicts(found) == ["contradicted"]
        assert "the strongest of 2 attacks" in found.judgements[0].sentence


def reconstructing(result: Any, *cells: tuple[str, int, int], refused: str | None = None) -> Any:
    """The result with gradients attacked: of each defence so many of its victims' records were picked out of ten."""
    table: list[dict[str, Any]] = [
        {
            "scenario": "one record", "defence": defence, "attack": "dense", "epsilon": None, "refused": refused,
            "psnr": [20.0] * victims, "ssim": [], "floor": [9.0] * victims, "nearest": [],
            "label_accuracy": None, "identified": identified, "victims": victims, "decoys": 9,
            "p_value": 1.0, "verdict": None,
        }
        for defence, identified, victims in cells
    ]  # fmt: skip
    return edited(result, gradient={"cells": table, "gallery": [], "costs": [], "delta": DELTA}, models=[])


def test_reconstruction_is_judged_by_the_edges(quiet: Result) -> None:
    """30 of 100 picked out lies between the 5 % quantile of Beta(30, 71) and the 95 % one of Beta(31, 70)."""
    found = reconstructing(quiet, ("noise", 30, 100))
    limits = (0.2, 0.22, 0.23, 0.3, 0.38, 0.39, 0.5)
    words = [verdicts(verify(found, claims(ceiling("reconstruction", limit))))[0] for limit in limits]
    assert words == ["contradicted"] * 2 + ["too weak"] * 3 + ["consistent"] * 2
    gate = verify(found, claims(ceiling("reconstruction", 0.2)))
    assert gate.judgements[0].measured == "0.3 (0.225 to 0.384)"
    assert gate.judgements[0].model == "every release"
    assert gate.false_alarms == pytest.approx(0.05)


def test_reconstruction_from_chosen_releases(quiet: Result) -> None:
    """A pattern chooses among the releases; without one the worst of all counts, each by a wider interval."""
    found = reconstructing(quiet, ("none", 100, 100), ("noise", 0, 100))
    protected = ceiling("reconstruction", 0.1, release="*, noise, *")
    assert verdicts(verify(found, claims(protected))) == ["consistent"]
    assert verdicts(verify(found, claims(ceiling("reconstruction", 0.1)))) == ["contradicted"]
    with pytest.raises(InputError, match=r"'\*, nose, \*', and no result tried it; tried were 'one record, none"):
        verify(found, claims(ceiling("reconstruction", 0.1, release="*, nose, *")))
    with pytest.raises(InputError, match="no result tried it; tried were none"):
        verify(quiet, claims(ceiling("reconstruction", 0.1)))


def test_attack_that_refused_is_no_all_clear(quiet: Result) -> None:
    """Nothing was picked out because nothing was tried: that is not evidence of safety."""
    found = reconstructing(quiet, ("noise", 0, 100), refused="the gradient has too many layers")
    with pytest.raises(InputError, match="no result tried it"):
        verify(found, claims(ceiling("reconstruction", 0.1)))


def test_growth_of_reconstruction(quiet: Result) -> None:
    """From 5 to 60 in a hundred is growth beyond 0.1; from 5 to 5 of a thousand is not; other releases do not mix."""
    before, after = (reconstructing(quiet, ("noise", hits, 100)) for hits in (5, 60))
    claim = claims(growth("reconstruction", 0.1))
    assert verdicts(verify(after, claim, baseline=before)) == ["contradicted"]
    many = reconstructing(quiet, ("noise", 50, 1000))
    assert verdicts(verify(many, claim, baseline=many)) == ["consistent"]
    gate = verify(after, claim, baseline=reconstructing(quiet, ("none", 5, 100)))
    assert verdicts(gate) == ["too weak"]
    assert "the baseline has no release 'one record, noise, dense'" in gate.judgements[0].sentence


def test_growth_is_a_test_on_the_difference(leaky: Result, quiet: Result) -> None:
    """A leak that appeared is caught; the same model twice is not; a tolerance inside the interval is left open."""
    claim = claims(growth("auc", 0.05))
    assert verdicts(verify(leaky, claim, baseline=quiet)) == ["contradicted"]
    assert verdicts(verify(quiet, claim, baseline=leaky)) == ["consistent"]
    again = gaussian_audit(0.3, seed=3, records=4000)
    assert verdicts(verify(again, claim, baseline=quiet)) == ["consistent"]
    assert verdicts(verify(again, claims(growth("auc", 0.001)), baseline=quiet)) == ["too weak"]


def held_against(now: Result, before: Result, **claim: Any) -> Any:
    """The only judgement of a gate on growth."""
    gate = verify(now, claims(growth("auc", 0.05, **claim)), baseline=before)
    return gate.judgements[0]


def test_a_baseline_that_lacks_the_model_or_the_attack_is_too_weak_and_no_bad_input(quiet: Result) -> None:
    """The other claims are judged; with power required the exit code is 3; a claim on nothing measured is refused."""
    other = edited(quiet, models=[{**json.loads(quiet.json())["models"][0], "name": "other"}])
    gate = verify(quiet, claims(growth("auc", 0.05), ceiling("auc", 0.9)), baseline=other)
    assert verdicts(gate) == ["too weak", "consistent"]
    assert "the baseline holds no model 'model'" in gate.judgements[0].sentence
    assert (gate.exit_code(), gate.exit_code(require_power=True)) == (0, 3)
    found = held_against(quiet, edited(quiet, membership=None))
    assert (found.verdict, found.measured) == ("too weak", "not comparable")
    assert "the baseline has no attack 'attack-0' on model 'model'" in found.sentence
    with pytest.raises(InputError, match="has no attack 'rmia'"):
        verify(quiet, claims(growth("auc", 0.05, attack="rmia")), baseline=quiet)


def test_growth_on_part_of_the_attacks_contradicts_and_never_clears(quiet: Result, leaky: Result) -> None:
    """An attack the baseline lacks may have grown; one that both hold and that grew is enough to contradict."""
    assert quiet.membership is not None
    assert leaky.membership is not None
    second = quiet.membership.attacks[0].model_copy(update={"attack": "attack-1"})
    steady = around([quiet.membership.attacks[0], second])
    found = held_against(steady, quiet)
    assert found.verdict == "too weak"
    assert "within the allowed 0.05. The rest is not compared: the baseline has no attack 'attack-1'" in found.sentence
    assert held_against(around([leaky.membership.attacks[0], second]), quiet).verdict == "contradicted"


def test_a_number_is_never_held_against_that_of_other_data(quiet: Result, leaky: Result) -> None:
    """The same scores on other records, or with other references, are no growth and no all-clear."""
    for now in (leaky, quiet):
        found = held_against(on_data(now, "b" * 64), on_data(quiet, "a" * 64))
        assert found.verdict == "too weak"
        assert found.sentence == (
            "Not compared with the baseline: other data (fingerprint bbbbbbbb… against aaaaaaaa…)."
        )
    assert held_against(on_data(leaky, "a" * 64), on_data(quiet, "a" * 64)).verdict == "contradicted"
    found = held_against(with_references(leaky, 64), with_references(quiet, 8))
    assert (found.verdict, "64 reference models against 8" in found.sentence) == ("too weak", True)
    assert "Beside that the two differ: data unknown." in held_against(leaky, quiet).sentence


@pytest.mark.long
def test_training_that_accounts_to_more_contradicts_whatever_was_measured(quiet: Result) -> None:
    """σ = 1, q = 0.05, T = 400 gives ε = 6.70 at δ = 1e-5 (PLD); halving σ gives more, and more noise gives less."""
    ran = trained(quiet, DP_SGD)
    assert verdicts(verify(ran, claims(epsilon_claim(6.8)))) != ["contradicted"]
    gate = verify(ran, claims(epsilon_claim(6.0)))
    assert verdicts(gate) == ["contradicted"]
    assert "6.7" in gate.judgements[0].sentence
    assert verdicts(verify(trained(quiet, {**DP_SGD, "noise_multiplier": 0.0}), claims(epsilon_claim(6.8)))) == [
        "contradicted"
    ]


def test_sampling_that_was_not_done_contradicts(quiet: Result) -> None:
    """A number accounted for Poisson batches says nothing about shuffled ones."""
    shuffled = trained(quiet, {**DP_SGD, "sampling": {"batches_per_epoch": 20}})
    gate = verify(shuffled, claims(epsilon_claim(50.0, sampling="poisson")))
    assert verdicts(gate) == ["contradicted"]
    assert "shuffled" in gate.judgements[0].sentence


@pytest.mark.parametrize(
    ("ran", "verdict"),
    [
        (DP_SGD, "consistent"),
        ({**DP_SGD, "noise_multiplier": 1.2}, "consistent"),
        ({**DP_SGD, "noise_multiplier": 0.8}, "contradicted"),
        ({**DP_SGD, "steps": 800}, "contradicted"),
        ({**DP_SGD, "sampling": {"rate": 0.1}}, "contradicted"),
        ({**DP_SGD, "sampling": {"batches_per_epoch": 20}}, "contradicted"),
        ({**DP_SGD, "noise_multiplier": 0.0}, "contradicted"),
    ],
)
@pytest.mark.long
def test_mechanism_is_compared_with_what_was_run(many: Result, ran: Any, verdict: str) -> None:
    """Less noise, more steps, larger batches, other batches: each is caught without any attack.

    The rest is left to the attack, which finds little.
    """
    assert verdicts(verify(trained(many, ran), claims(CLAIMED))) == [verdict]


def test_clip_norm_of_a_mechanism(many: Result) -> None:
    """A stated clip norm must be the recorded one; where none is recorded the claim cannot be judged."""
    claim = claims({**CLAIMED, "l2_norm_clip": 1.0})
    assert verdicts(verify(trained(many, DP_SGD, l2_norm_clip=1.0), claim)) == ["consistent"]
    assert verdicts(verify(trained(many, DP_SGD, l2_norm_clip=2.0), claim)) == ["contradicted"]
    with pytest.raises(InputError, match="recorded none"):
        verify(trained(many, DP_SGD), claim)


@pytest.mark.long
def test_curve_of_a_mechanism_is_tested_where_counts_are_binomial() -> None:
    """A TPR above the claimed curve contradicts it, but only when every score is a training of its own.

    The claimed mechanism allows a TPR of 0.08 at an FPR of 1 %; a Gaussian of μ = 1 has 0.09 there and its ε bound is
    far below the claim, so that only the curve can see it. Fixed seed.
    """
    weak = {**CLAIMED, "noise_multiplier": 4.0}
    many = around([unbounded(gaussian_scores(1.0, seed=5, records=20_000))], design="many-runs")
    gate = verify(many, claims(weak))
    assert verdicts(gate) == ["contradicted"]
    assert "true-positive rate" in gate.judgements[0].sentence
    one = around([unbounded(gaussian_scores(1.0, seed=5, records=20_000))], design="one-run")
    assert verdicts(verify(one, claims(weak))) != ["contradicted"]


@pytest.mark.long
def test_level_is_shared_and_printed(quiet: Result) -> None:
    """Lower bounds cost what their audit spent; tests on metrics share the rest."""
    assert verify(quiet, claims(epsilon_claim(2.0))).false_alarms == pytest.approx(0.05)
    assert verify(quiet, claims(ceiling("auc", 0.7), ceiling("advantage", 0.7))).false_alarms == pytest.approx(0.05)
    both = verify(quiet, claims(epsilon_claim(2.0), epsilon_claim(3.0), ceiling("auc", 0.7)))
    assert both.false_alarms == pytest.approx(0.10)  # the same bounds are not paid for twice
    assert "at most 10 % of the time" in both.flakiness
    stated = claims(epsilon_claim(2.0), ceiling("auc", 0.7)).model_copy(update={"confidence": 0.92})
    assert verify(quiet, stated).false_alarms == pytest.approx(0.08)
    with pytest.raises(InputError, match=r"a confidence of 0.96 cannot be held.*0.05"):
        verify(quiet, stated.model_copy(update={"confidence": 0.96}))


def test_more_tests_widen_every_interval(quiet: Result) -> None:
    """Ten ceilings are judged by wider intervals than one: that is what holding the level costs."""
    one = verify(quiet, claims(ceiling("auc", 0.7))).judgements[0].measured
    ten = verify(quiet, claims(*[ceiling("auc", 0.7)] * 10)).judgements[0].measured
    low = [float(text.split("(")[1].split(" ")[0]) for text in (one, ten)]
    assert low[1] < low[0]


@pytest.mark.parametrize("other", [{"unit": "user"}, {"adjacency": "replace-one"}, {"delta": 1e-3}])
def test_a_claim_about_something_else_is_exit_3(leaky: Result, other: Any) -> None:
    """Another unit, adjacency or smaller δ of the bounds: no verdict, and no pass whatever power is asked for."""
    gate = verify(leaky, claims(epsilon_claim(2.0, **other)))
    assert (verdicts(gate), gate.exit_code()) == (["no verdict"], 3)


def test_nothing_attacked_is_no_pass(quiet: Result) -> None:
    """A result without attacks is too weak for every claim on ε."""
    gate = verify(edited(quiet, membership=None), claims(epsilon_claim(2.0)))
    assert (verdicts(gate), gate.exit_code(require_power=True)) == (["too weak"], 3)


def test_exit_codes(leaky: Result, quiet: Result) -> None:
    """1 goes before 3, 3 needs the asking."""
    weak = verify(quiet, claims(epsilon_claim(20.0)))
    assert (weak.exit_code(), weak.exit_code(require_power=True)) == (0, 3)
    both = verify([leaky], claims(epsilon_claim(2.0), epsilon_claim(90.0)))
    assert both.exit_code(require_power=True) == 1
    assert verify(quiet, claims(epsilon_claim(2.0))).exit_code(require_power=True) == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda q: verify([], claims(epsilon_claim(2.0))), "needs results and claims, got 0 result"),
        (lambda q: verify(q, []), "got 1 result.* and 0 claims"),
        (lambda q: verify(q, claims(epsilon_claim(2.0, model="modle"))), "Did you mean 'model'"),
        (lambda q: verify(q, claims(ceiling("auc", 0.6, attack="atack-0"))), "Did you mean 'attack-0'"),
        (lambda q: verify(q, claims(growth("auc", 0.1))), "needs a baseline"),
        (lambda q: verify(q, claims(ceiling("auc", 0.6)), baseline=q), "no claim of kind 'no-growth' uses it"),
        (lambda q: verify(edited(q, models=[]), claims(ceiling("auc", 0.6))), "names no model"),
        (lambda q: verify(edited(q, membership=None), claims(ceiling("auc", 0.6))), "it has none"),
    ],
)
def test_what_cannot_be_judged_is_refused(quiet: Result, make: Any, message: str) -> None:
    """Nothing is ever judged by comparing what cannot be compared, and nothing unchecked passes."""
    with pytest.raises(InputError, match=message):
        make(quiet)


def test_recorded_verdicts_are_not_believed(leaky: Result) -> None:
    """A result that calls itself consistent is judged again from its bounds."""
    assert leaky.comparisons == []
    forged = edited(leaky, comparisons=[])
    assert verify(forged, claims(epsilon_claim(2.0))).contradicted


def test_claims_on_several_results(leaky: Result, quiet: Result) -> None:
    """A claim is judged on every result that holds its model."""
    gate = verify([quiet, leaky], [claims(epsilon_claim(2.0)), claims(ceiling("auc", 0.8))])
    assert verdicts(gate) == ["consistent", "contradicted", "consistent", "contradicted"]
    assert gate.exit_code() == 1


def gates(runs: Any, *, records: Any, bounded: Any) -> Any:
    """How many of these gates stop a model that keeps every claim, each claim at its very limit."""
    mu, fpr = 1.0, 0.01
    kept = [
        ceiling("auc", round(auc(mu), 9)),
        ceiling("tpr@fpr=0.01", round(tpr(mu, fpr), 9)),
        ceiling("tpr@fpr=0.1", round(tpr(mu, 0.1), 9)),
        growth("auc", 0.0),
        growth("tpr@fpr=0.01", 0.0),
    ]
    if bounded:
        kept.append(epsilon_claim(gaussian_epsilon(mu, DELTA)))
    held = claims(*kept).model_copy(update={"confidence": 0.9})
    stopped = 0
    for run in range(runs):
        if bounded:
            now, before = (gaussian_audit(mu, seed=2 * run + side, records=records) for side in (0, 1))
        else:
            now, before = (
                around([unbounded(gaussian_scores(mu, seed=2 * run + side, records=records))]) for side in (0, 1)
            )
        stopped += verify(now, held, baseline=before).contradicted
    return stopped


@pytest.mark.long
def test_correct_models_fail_no_more_often_than_printed() -> None:
    """With every claim at its very limit the gate stops at most 10 % of correct models.

    150 gates with fixed seeds; more than 26 stops would happen by chance with probability 0.002 at exactly 10 %.
    """
    assert gates(150, records=500, bounded=False) <= binom.isf(0.002, 150, 0.1)


@pytest.mark.slow
def test_flake_rate_over_two_thousand_gates() -> None:
    """Two thousand gates on a correct model, lower bounds on ε among the claims: at most 10 % are stopped.

    Fixed seeds; at exactly 10 % more than 239 stops would happen by chance with probability 0.002.
    """
    stopped = gates(2000, records=600, bounded=True)
    print(f"{stopped} of 2000 gates stopped a correct model; the level is 10 %")
    assert stopped <= binom.isf(0.002, 2000, 0.1)
