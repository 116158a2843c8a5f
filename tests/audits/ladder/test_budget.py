"""What a budget chooses: by power and time alone, before any score is seen, and once for a run folder."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import binom, norm

from dpaudit.accounting.claim import Claim, GaussianSteps, Poisson
from dpaudit.accounting.composed import epsilon_under
from dpaudit.accounting.mechanism import epsilon
from dpaudit.audits.ladder import budget
from dpaudit.audits.ladder.budget import allot_budget
from dpaudit.audits.ladder.run import CHOICES, audit_ladder
from dpaudit.audits.ladder.settings import LadderSettings
from dpaudit.bounds.lower_bound import Skipped
from dpaudit.bounds.step_canary_power import visible_to_steps
from dpaudit.inspection.mechanism import Mechanism
from dpaudit.reports.terminal import choices
from dpaudit.runtime.errors import InputError
from dpaudit.training.function import Function
from tests.audits.ladder.test_run import audit_of, memoriser

EVERYTHING = LadderSettings(budget="1h")
STEPS = GaussianSteps(1.0, 100, Poisson(0.05))
FIGURE = epsilon(STEPS, delta=1e-5, adjacency="add-remove", grid=1e-3).epsilon
CLAIM = Claim(FIGURE, 1e-5, "record", "add-remove", "the test", STEPS)
NOISY = Mechanism(lambda gradients: [g.sum(axis=0) for g in gradients])


def subject_of(tmp_path, claim=CLAIM):
    audit = audit_of(Function(memoriser), tmp_path)
    return audit, replace(audit.subjects[0], claim=claim)


def chosen(tmp_path, seconds, *, claim=CLAIM, mechanism=NOISY, monkeypatch, training=0.01):
    """The choices by rung, with trainings of known length."""
    monkeypatch.setattr(budget, "seconds_per_training", lambda audit, subject: training)
    monkeypatch.setattr(budget, "seconds_per_question", lambda mechanism: 0.001)
    audit, subject = subject_of(tmp_path, claim)
    allotment = allot_budget(EVERYTHING, audit, subject, mechanism, seconds)
    return allotment.settings, {choice.rung: choice for choice in allotment.choices}


def test_all_rungs_are_chosen_from_unless_some_are_named():
    """A budget alone means all five."""
    assert EVERYTHING.rungs == [0, 1, 2, 3, 4]
    assert LadderSettings(budget="90s", rungs=[2]).rungs == [2]


@pytest.mark.long
def test_more_time_sees_more(tmp_path, monkeypatch):
    """The smallest ε a rung could see falls, or stays, when there is more time; what is chosen fits in it."""
    before = math.inf
    for seconds in (1.0, 8.0):
        _, made = chosen(tmp_path, seconds, monkeypatch=monkeypatch)
        assert sum(choice.seconds for choice in made.values()) <= seconds + 1
        seen = min(choice.visible for choice in made.values() if choice.visible is not None)
        assert seen <= before
        before = seen


@pytest.mark.long
def test_a_rung_stops_at_enough(tmp_path, monkeypatch):
    """With an hour rung 2 takes no more steps than 1.25 times the claim needs; the next smaller offer is too few."""
    settings, made = chosen(tmp_path, 3600.0, monkeypatch=monkeypatch)
    assert made[2].visible <= 1.25 * CLAIM.epsilon
    assert settings.steps == 200
    assert "enough for 1.25 times the claim" in made[2].reason


@pytest.mark.long
def test_the_power_of_steps_is_that_of_the_exact_test():
    """Brute force: the factor by which noise must be too small for the binomial test to see it with probability 0.8."""
    figure = visible_to_steps(CLAIM, 1000, 0.05, power=0.8)
    needed = next(v for v in range(1001) if binom.sf(v - 1, 1000, norm.cdf(0.5)) <= 0.05)
    factor = next(f for f in np.linspace(1, 1.5, 5001) if binom.sf(needed - 1, 1000, norm.cdf(f / 2)) >= 0.8)
    expected = epsilon_under(CLAIM)(1 / factor)
    assert figure == pytest.approx(expected, rel=1e-3)
    # A claim of twice the ε of its own steps is that of steps with less noise, and those are what is looked for.
    noise = brentq(lambda sigma: (epsilon_under(CLAIM)(sigma) or 0.0) - 2 * FIGURE, 0.3, 1.0)
    same = replace(CLAIM, epsilon=2 * FIGURE, mechanism=replace(STEPS, noise_multiplier=noise))
    stated = replace(CLAIM, epsilon=2 * FIGURE)
    found = [visible_to_steps(claim, 1000, 0.05, power=0.8) for claim in (same, stated)]
    assert found[1] == pytest.approx(found[0], rel=1e-2)


@pytest.mark.long
def test_what_could_contradict_nothing_is_left_out(tmp_path, monkeypatch):
    """ε = 20 is beyond what 6,400 runs or 3,200 canaries can certify; no claim leaves nothing to contradict."""
    _, made = chosen(tmp_path, 3600.0, claim=replace(CLAIM, epsilon=20.0), monkeypatch=monkeypatch)
    assert not made[4].chosen
    assert "no leak, however large, would contradict ε = 20" in made[4].reason
    _, made = chosen(tmp_path, 3600.0, claim=None, monkeypatch=monkeypatch)
    assert [made[rung].reason for rung in (2, 3, 4)] == ["nothing is claimed"] * 3


def test_no_time_leaves_what_costs_nothing(tmp_path, monkeypatch):
    """Rungs 0 and 1 always run; the others say how long they would have taken."""
    _, made = chosen(tmp_path, 0.001, mechanism=Skipped("its gradients cannot be chosen"), monkeypatch=monkeypatch)
    assert [rung for rung, choice in made.items() if choice.chosen] == [0, 1]
    assert made[2].reason == "its gradients cannot be chosen"
    assert "are left for it" in made[4].reason
    _, made = chosen(tmp_path, -1.0, monkeypatch=monkeypatch)
    assert made[2].reason == "no time is left for it"


def test_a_run_that_goes_on_keeps_its_choices(tmp_path):
    """The choices are in the folder before the first rung is climbed, and are not made again."""
    audit, subject = subject_of(tmp_path)
    settings = LadderSettings(budget="1s", rungs=[3, 4], stop_early=True)
    outcome = audit_ladder(settings, replace(audit, subjects=(subject,)))
    assert [rung.choice is not None for rung in outcome.rungs] == [True, True]
    kept = (tmp_path / CHOICES).read_bytes()
    again = audit_ladder(settings, replace(audit, subjects=(subject,), begun=audit.begun + 1000))
    assert (tmp_path / CHOICES).read_bytes() == kept
    assert [rung.choice for rung in again.rungs] == [rung.choice for rung in outcome.rungs]
    result: Any = SimpleNamespace(ladder=outcome)
    lines = choices(result)
    assert lines[0].startswith("model: rung 3, one run: left out: ")
    assert outcome.rungs[0].skipped.startswith("left out by the budget: ")
    (tmp_path / CHOICES).write_text("{}]")
    with pytest.raises(InputError, match="does not hold what a budget chose; remove it"):
        audit_ladder(settings, audit)
