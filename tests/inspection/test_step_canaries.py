"""Rung 2: the noise there really is, with confidence, and the ε it composes to."""

import numpy as np
import pytest

from dpaudit.accounting.claim import Claim, GaussianSteps, Poisson
from dpaudit.accounting.gaussian import gaussian_epsilon
from dpaudit.inspection.mechanism import Stated
from dpaudit.inspection.step_canaries import StepCanaries
from dpaudit.runtime.errors import InputError


def claim_of(sigma, adjacency="add-remove"):
    steps = GaussianSteps(sigma, 1, Poisson(1.0))
    factor = 2 if adjacency == "replace-one" else 1
    return Claim(gaussian_epsilon(factor / sigma, 1e-5), 1e-5, "record", adjacency, "closed form", steps)


def mechanism(stated, sigma, seed):
    rng = np.random.default_rng(seed)

    def release(gradients):
        exact = stated.clipped_sum(gradients)
        return [g + rng.normal(0.0, sigma * stated.clip / stated.divisor(32), g.shape) for g in exact]

    return release


@pytest.mark.parametrize("adjacency", ["add-remove", "zero-out", "replace-one"])
def test_the_bound_is_close_to_and_not_above_the_truth(adjacency):
    """Balle and Wang (2018): σ = 1 is ε 4.377 at δ 1e-5 (9.997 when a record is replaced). Level 5 %, fixed seed."""
    stated, claim = Stated(2.0, 1.0, 32.0, adjacency), claim_of(1.0, adjacency)
    found = StepCanaries(steps=300)(mechanism(stated, 1.0, 1), stated, claim, confidence=0.95, seed=4)
    assert 0.9 * claim.epsilon < found.bound.epsilon <= claim.epsilon
    assert found.noise_multiplier == pytest.approx(1.0, rel=0.05)
    assert found.noise_multiplier_at_most >= 1.0
    assert found.p_value > 0.01


@pytest.mark.long
def test_half_the_noise_is_contradicted_within_52_steps():
    """Audit of one canary a step: noise half of what is claimed takes 52 steps at 95 % with power 0.8 (median less).

    In 60 audits of 52 steps about 48 contradict; 36 or fewer would be a 1-in-10,000 event.
    """
    stated, claim = Stated(1.0, 1.0, 1.0), claim_of(1.0)
    audits = [
        StepCanaries(steps=52, canaries=1)(mechanism(stated, 0.5, seed), stated, claim, confidence=0.95, seed=seed)
        for seed in range(60)
    ]
    assert sum(audit.p_value < 0.05 for audit in audits) > 36


@pytest.mark.long
def test_early_stopping_refutes_in_a_few_steps_and_keeps_its_level():
    """Half the noise at level 5 %: median of 30 audits within 100 steps. The right noise is refuted by at most 5 of 30
    audits of 100 steps, a 1-in-100 event at level 5 %; Ville's inequality makes it rarer."""
    stated, claim = Stated(1.0, 1.0, 1.0), claim_of(1.0)
    canaries = StepCanaries(steps=400, canaries=1, stop_early=True)
    broken = [canaries(mechanism(stated, 0.5, seed), stated, claim, confidence=0.95, seed=seed) for seed in range(30)]
    assert np.median([audit.steps for audit in broken]) <= 100
    assert all(audit.p_value <= 0.05 for audit in broken)
    short = StepCanaries(steps=100, canaries=1, stop_early=True)
    right = [short(mechanism(stated, 1.0, seed), stated, claim, confidence=0.95, seed=seed) for seed in range(30)]
    assert sum(audit.p_value <= 0.05 for audit in right) <= 5


@pytest.mark.long
def test_the_bound_is_above_the_truth_no_more_often_than_stated():
    """120 audits at 90 %: more than 22 misses would be a 1-in-1,000 event for an exact bound."""
    stated, claim = Stated(1.0, 2.0, 1.0), claim_of(2.0)
    above = [
        StepCanaries(steps=20, canaries=16)(mechanism(stated, 2.0, seed), stated, claim, confidence=0.9, seed=seed)
        .bound.epsilon > claim.epsilon
        for seed in range(120)
    ]  # fmt: skip
    assert sum(above) <= 22


def test_a_claim_of_another_adjacency_is_refused():
    """Sensitivities differ by two, so the comparison would mean nothing."""
    stated = Stated(1.0, 1.0, 1.0, "replace-one")
    with pytest.raises(InputError, match="claim and mechanism differ in adjacency: add-remove and replace-one"):
        StepCanaries()(mechanism(stated, 1.0, 0), stated, claim_of(1.0), confidence=0.95, seed=0)


def test_too_many_canaries_are_refused():
    """80 coordinates have 80 orthogonal directions."""
    stated, canaries = Stated(1.0, 1.0, 1.0), StepCanaries(canaries=81, placement=2)
    with pytest.raises(InputError, match="at most 80 canaries have orthogonal directions there, got 81"):
        canaries(mechanism(stated, 1.0, 0), stated, claim_of(1.0), confidence=0.95, seed=0)
