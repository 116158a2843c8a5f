"""The part of the page for who signs says what the numbers mean, and what would change them."""

import math
import re

import numpy as np
import pytest
from scipy.stats import norm

from dpaudit import Result, audit_scores
from dpaudit.data.text_canaries import AUDITED
from dpaudit.reports import figures
from dpaudit.reports.attack_words import found_shares
from dpaudit.reports.attackers import attackers
from dpaudit.reports.html import page
from dpaudit.reports.scope_words import first_screen
from dpaudit.reports.summary import plain_verdict, risk, summary_row, would_change
from tests.reports import sections
from tests.reports.results import three


def scored(shift: float, epsilon: float | None, records: int = 2000, **more: object) -> Result:
    """An audit of normal scores, those of members shifted; fixed seed."""
    rng = np.random.default_rng(3)
    member = np.arange(records) % 2 == 0
    return audit_scores(rng.normal(size=records) + shift * member, member, epsilon=epsilon, **more)  # type: ignore[arg-type]


def test_the_risk_is_that_of_two_normals() -> None:
    """Scores that are μ = 1.5 apart: the best threshold is right of Φ(μ/2) of the records, 773 of 1,000 (± 4 standard
    errors of 10), and its advantage is 2Φ(μ/2) - 1."""
    result = scored(1.5, None)
    found = risk(result, result.models[0])
    assert found is not None
    assert int(found.right or 0) == pytest.approx(1000 * norm.cdf(0.75), abs=40)
    assert found.advantage == pytest.approx(2 * norm.cdf(0.75) - 1, abs=0.08)
    assert (found.allowed, found.picked, found.mu, found.little) == (None, None, None, False)


def test_the_risk_that_a_claim_allows_is_that_of_its_curve() -> None:
    """A claim of μ = 0.8 allows Φ(0.4) of 1,000, 655, and picking one of ten with Φ(Φ⁻¹(0.1) + 0.8) (closed forms)."""
    claimed = next(model for model in three().models if model.accounted is not None)
    found = risk(three(), claimed)
    assert found is not None
    assert int(found.allowed or 0) == round(1000 * norm.cdf(0.4))
    assert found.picked == pytest.approx(norm.cdf(norm.ppf(0.1) + 0.8), abs=1e-3)
    assert found.mu == pytest.approx(0.8, abs=1e-6)
    assert not found.little


@pytest.mark.long
def test_a_large_claim_is_said_to_protect_little() -> None:
    """ε = 30 allows an attacker to be right almost always, whatever the verdict; ε = 1 (at most 0.731) does not."""
    assert "protects little" in page(scored(0.0, 30.0))
    assert "protects little" not in page(scored(0.0, 1.0))


@pytest.mark.parametrize(
    ("shift", "epsilon", "verdict", "says"),
    [
        (4.0, 0.5, "contradicted", "It leaks at least ε = "),
        (0.0, 0.5, "consistent", "Nothing contradicts the claim of ε ≤ 0.5."),
        (
            0.0,
            12.0,
            "too weak",
            "This audit could not have contradicted the claim of ε ≤ 12: even a perfect attack certifies",
        ),
        (-4.0, 0.5, "no verdict", "Nothing that was measured says anything about the claim of ε ≤ 0.5."),
        (4.0, None, "no claim", "It claims nothing, so there is nothing to contradict; it leaks at least ε = "),
    ],
)
@pytest.mark.long
def test_each_verdict_has_one_plain_sentence(shift: float, epsilon: float | None, verdict: str, says: str) -> None:
    """It stands on the card, with the whole sentence of the judge behind it."""
    result = scored(shift, epsilon, chosen_by="coin")
    assert summary_row(result, "scores").verdict == verdict
    assert plain_verdict(result, "scores").startswith(says)
    assert plain_verdict(result, "scores") in page(result)


def test_the_row_keeps_bounds_for_any_mechanism_apart_from_those_within_a_family() -> None:
    """Each is the largest of its kind, and the largest certifiable ε is that of the wider kind."""
    result = sections.ladder()
    for model in result.models:
        row, bounds = summary_row(result, model.name), result.bounds(model.name)
        for found, kind in ((row.general, False), (row.family, True)):
            assert (found.epsilon if found else -math.inf) == max(
                (bound.epsilon for bound in bounds if bool(bound.family) == kind), default=-math.inf
            )
        if row.general is not None:
            assert row.ceiling == max(bound.ceiling for bound in bounds if not bound.family)
    assert any(summary_row(result, model.name).family for model in result.models)


def test_what_would_change_the_decision_follows_from_the_verdict() -> None:
    """A contradiction names the claim that would hold; an unstated choice of members is asked about; three at most."""
    broken = would_change(scored(4.0, 0.5, chosen_by="coin"))
    assert broken[0].startswith("A claim for scores of at least ε = ")
    assert "at most 5.0 % of such audits" in broken[1]
    assert any("nobody said" in sentence for sentence in would_change(scored(0.0, 0.5)))
    assert not any("nobody said" in sentence for sentence in would_change(scored(0.0, 0.5, chosen_by="split")))
    assert would_change(scored(0.0, 12.0, chosen_by="coin"))[0].startswith("More records")
    assert "chosen at random" in would_change(scored(-4.0, 0.5, chosen_by="coin"))[0]
    assert all(len(would_change(result)) <= 3 for result in (three(), scored(4.0, 0.5), sections.gradient()))


def test_exposed_records_are_summed_up_by_quantiles() -> None:
    """Shares of 1, 0.75 and 0.625: median 0.75 and the middle half is 0.6875 to 0.875; without them no sentence."""
    exposed = three().membership.exposed[0]  # type: ignore[union-attr]
    said = found_shares(exposed)
    assert "in 69 % to 88 % of the reference models trained with them (median 75 %, least 62 %, most 100 %)" in said
    assert found_shares(exposed.model_copy(update={"rates": None})) == ""


def test_the_attackers_are_those_of_the_audit() -> None:
    """Membership knows outputs, the ladder its rungs, a gradient its client; what was not run has no attacker."""
    assert len(attackers(scored(0.0, 1.0))) == 1
    assert "reference" not in attackers(scored(0.0, 1.0))[0]
    assert any("rung 2" in sentence for sentence in attackers(sections.ladder()))
    assert any("gradient" in sentence for sentence in attackers(sections.gradient()))
    assert not any("gradient or update" in sentence for sentence in attackers(three()))


def test_a_consistent_claim_that_protects_little_says_so_on_its_card() -> None:
    """ε of 4.3 at δ = 1e-5 alone allows (1 + tanh(2.15)) / 2 of the cases; one of 1 is only said to be consistent."""
    said = plain_verdict(scored(0.0, 4.3, chosen_by="coin"), "scores")
    right = re.fullmatch(
        r"Nothing contradicts the claim of ε ≤ 4\.3, which protects little: it allows an attacker to be right about "
        r"(\d+) of 1,000 records\.",
        said,
    )
    assert right is not None
    assert int(right[1]) == pytest.approx(500 * (1 + math.tanh(2.15)), abs=1)
    assert plain_verdict(scored(0.0, 1.0, chosen_by="coin"), "scores") == "Nothing contradicts the claim of ε ≤ 1."


def test_the_risk_is_told_of_the_attack_that_is_right_most_often() -> None:
    """Not of the one with the largest bound: a weaker bound can belong to an attack that finds more members."""
    result = three()
    attacks = figures.attacks_on(result, "dp-low-noise")
    found = risk(result, next(model for model in result.models if model.name == "dp-low-noise"))
    assert found is not None
    assert found.advantage == max(attack.advantage for attack in attacks)


def test_what_was_run_on_a_release_is_counted() -> None:
    """A release has no measured ε: its row says how many reconstructions were right, and its card too."""
    result = sections.gradient()
    assert result.reconstructions
    for name, tried in result.reconstructions.items():
        assert f"{tried.trials} reconstruction" in summary_row(result, name).attacks
        assert f"{tried.successes} right" in summary_row(result, name).attacks
        if result.comparison(name) is not None:
            assert plain_verdict(result, name).startswith(f"{tried.successes} of {tried.trials} hidden record")


def test_attackers_of_a_federation_are_those_of_its_views() -> None:
    """Who saw the final model is named only when somebody attacked it, and likewise for single clients."""
    everything = attackers(sections.everything())
    assert any("single clients of a federation" in sentence for sentence in everything)
    federated = sections.everything().federated
    assert federated is not None
    views: set[str] = {each.view for each in federated.canaries} | {each.view for each in federated.users}
    assert any("final model of a federation" in sentence for sentence in everything) == (
        "final-model" in views or bool(federated.lifted)
    )


def test_planted_canaries_are_said_on_the_first_screen() -> None:
    """The figures of an audit of canaries are not about ordinary texts."""
    note = f"{AUDITED} 300 canaries of kind 'random', each there with probability 1/2."
    result = three()
    held = result.model_copy(update={"data": result.data.model_copy(update={"notes": [note]})})
    assert any("ordinary texts usually leak less" in sentence for sentence in first_screen(held))
    assert not any("canaries" in sentence for sentence in first_screen(result))
