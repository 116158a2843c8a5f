"""Rung 1: right mechanisms pass, each broken one is caught by the check that is made for it."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from dpaudit.accounting.claim import Claim, GaussianSteps, Poisson
from dpaudit.inspection.inspect import inspect_mechanism
from dpaudit.inspection.mechanism import Mechanism, Stated
from dpaudit.inspection.samples import noise_scale
from dpaudit.runtime.errors import InputError

STATED = Stated(clip=2.0, noise_multiplier=1.0, denominator=32.0)
EFFORT = 0.25  # 750 calls; scales, half of the noise and what is right: the same in 10 of 10 seeds


def release_of(rng, *, scale=1.0, noise=2.0):
    """DP-SGD in ten lines, written for this test."""

    def release(gradients):
        flat = np.concatenate([np.reshape(g, (len(g), int(np.prod(g.shape[1:])))) for g in gradients], axis=1)
        flat = np.where(np.isfinite(flat), flat, 0.0).astype(np.float64)
        flat = np.clip(flat, -1e30, 1e30)
        norms = np.sqrt((flat**2).sum(axis=1))
        total = (flat * np.minimum(1.0, 2.0 / np.maximum(norms, 1e-30))[:, None]).sum(axis=0)
        noisy = (total + rng.normal(0.0, noise, total.shape)) * scale / 32.0
        edges = np.cumsum([int(np.prod(g.shape[1:])) for g in gradients])[:-1]
        return [part.reshape(g.shape[1:]) for part, g in zip(np.split(noisy, edges), gradients, strict=True)]

    return release


@pytest.mark.long
def test_a_right_mechanism_has_no_finding():
    """Level 1e-6 over all checks; fixed seed."""
    found = inspect_mechanism(release_of(np.random.default_rng(0)), STATED, seed=0, effort=EFFORT)
    assert found.findings == ()
    assert found.noise_multiplier == pytest.approx(1.0, rel=0.1)


@pytest.mark.long
def test_right_mechanisms_raise_no_alarm_in_five_inspections():
    """False-alarm rate 1e-6 per inspection: 5 seeds, other shapes, no alarm."""
    for seed in range(5):
        stated = Stated(clip=2.0, noise_multiplier=1.0, denominator=32.0)
        mechanism = Mechanism(release_of(np.random.default_rng(seed)), shapes=((8, 5), (8, 5), (50,)), batch_size=16)
        assert inspect_mechanism(mechanism, stated, seed=seed, effort=EFFORT).violations == ()


@pytest.mark.long
def test_a_learning_rate_is_a_warning_and_no_violation():
    """Noise and sensitivity scaled together leave the privacy as it was."""
    found = inspect_mechanism(release_of(np.random.default_rng(0), scale=0.1), STATED, seed=0, effort=EFFORT)
    assert found.violations == ()
    assert [finding.check for finding in found.findings] == ["scale"]
    assert found.noise_multiplier == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize(
    ("scale", "noise", "words"),
    [(1.0, 2.3, "more noise than stated"), (1.4, 2.0, "both are scaled alike"), (0.5, 2.0, "both are scaled alike")],
)
@pytest.mark.long
def test_a_scale_says_whether_noise_alone_is_larger(scale, noise, words):
    """Noise 1.15 times the stated alone; both 1.4 times and half. No violation, and the right reason."""
    found = inspect_mechanism(
        release_of(np.random.default_rng(0), scale=scale, noise=noise), STATED, seed=0, effort=EFFORT
    )
    assert found.violations == ()
    assert words in found.findings[0].observed


@pytest.mark.long
def test_true_epsilon_follows_from_the_measured_noise():
    """Noise for half the clip: μ = 2 instead of 1, and ε 9.997 instead of 4.377 at δ 1e-5 (Balle and Wang 2018)."""
    claim = Claim(
        4.377,
        1e-5,
        "record",
        "add-remove",
        "test",
        GaussianSteps(noise_multiplier=1.0, steps=1, sampling=Poisson(1.0)),
    )
    right = release_of(np.random.default_rng(0))
    stated = Stated(clip=4.0, noise_multiplier=1.0, denominator=32.0)
    twice = inspect_mechanism(lambda gs: [2 * g for g in right(gs)], stated, seed=0, claim=claim, effort=EFFORT)
    assert twice.findings == ()  # clip 2 and noise 2, both doubled, are clip 4 and noise 4

    noise = np.random.default_rng(1)

    def half(gradients):
        summed = right_sum(gradients)
        return [(g + noise.normal(0.0, 1.0, g.shape)) / 32.0 for g in summed]

    def right_sum(gradients):
        clean = [np.clip(np.nan_to_num(g, nan=0, posinf=0, neginf=0), -1e15, 1e15) for g in gradients]
        return [32.0 * g for g in STATED.clipped_sum(clean)]

    found = inspect_mechanism(half, STATED, seed=0, claim=claim, effort=EFFORT)
    assert [finding.check for finding in found.violations] == ["noise"]
    assert found.violations[0].true_epsilon == pytest.approx(9.997, rel=0.1)


def test_noise_interval_is_the_chi_squared_one():
    """The textbook interval for a standard deviation, written out."""
    samples = np.random.default_rng(0).normal(0, 3.0, 500)
    found = noise_scale(samples, level=0.05)
    squares = (samples**2).sum()
    assert found.low == pytest.approx(math.sqrt(squares / stats.chi2(500).ppf(0.95)))
    assert found.high == pytest.approx(math.sqrt(squares / stats.chi2(500).ppf(0.05)))


@pytest.mark.long
def test_published_state_is_compared_under_equal_noise():
    """A moving average of raw gradients leaks; one of releases does not."""
    memory: dict[str, Any] = {}

    def mechanism(raw):
        rng = np.random.default_rng(5)
        inner = [release_of(rng)]

        def reset():
            inner[0] = release_of(np.random.default_rng(5))
            memory["average"] = np.zeros(80)

        def release(gradients):
            out = inner[0](gradients)
            seen = gradients[2].sum(axis=0) if raw else out[2]
            memory["average"] = 0.9 * memory.get("average", np.zeros(80)) + np.nan_to_num(seen)
            return out

        return Mechanism(release, reset=reset, state=lambda: [memory["average"]])

    assert [f.check for f in inspect_mechanism(mechanism(True), STATED, seed=0, effort=EFFORT).violations] == [
        "released state"
    ]
    assert inspect_mechanism(mechanism(False), STATED, seed=0, effort=EFFORT).violations == ()


@pytest.mark.long
def test_noise_that_is_the_same_in_every_training_is_seen():
    """A seed in the program: two mechanisms built anew draw the same noise."""

    def build(seed=None):
        return Mechanism(release_of(np.random.default_rng(seed)), fresh=lambda: build(seed))

    assert "frozen seed" in {f.check for f in inspect_mechanism(build(3), STATED, seed=0, effort=EFFORT).violations}
    assert inspect_mechanism(build(), STATED, seed=0, effort=EFFORT).violations == ()


@pytest.mark.parametrize(
    ("release", "message"),
    [
        (lambda gs: [g.sum(axis=0).ravel() for g in gs], r"must return shape \(12, 8\) for variable 0, got \(96,\)"),
        (lambda gs: gs[0].sum(axis=0), "must return a list of 3 arrays, got ndarray"),
        (lambda gs: [g.sum(axis=0) for g in gs[:2]], "must return a list of 3 arrays, got 2 arrays"),
        (lambda gs: [g.sum(axis=0) * np.nan for g in gs], "NaN or infinity in 272 of 272 coordinates"),
        (lambda gs: 1 / 0, "raised ZeroDivisionError on a batch of 32 gradients"),
        (3, "must be a callable"),
    ],
)
def test_a_mechanism_that_does_not_answer_is_a_clear_error(release, message):
    """Never a pass: one line that says what it did."""
    with pytest.raises(InputError, match=message):
        inspect_mechanism(release, STATED, seed=0, effort=EFFORT)


@pytest.mark.parametrize("how", ["divides", "raises"])
@pytest.mark.long
def test_a_gradient_whose_square_is_zero_is_an_ordinary_one(how):
    """1e-30 in float32: a norm of 0 to divide by. What blows up, or stops, tells that the record is there."""
    right = release_of(np.random.default_rng(0))

    def wrong(gradients):
        smallest = min((np.abs(g[g != 0]).min() for g in gradients if g.any()), default=1.0)
        if 0 < smallest < 1e-20:
            if how == "raises":
                raise FloatingPointError("division by zero")
            return [np.full_like(out, np.inf) for out in right(gradients)]
        return right(gradients)

    found = inspect_mechanism(wrong, STATED, seed=0, effort=EFFORT).violations
    assert [(f.check, f.true_epsilon) for f in found] == [("tiny gradient", math.inf)]


@pytest.mark.long
def test_a_mechanism_that_takes_no_empty_batch_is_a_finding():
    """It raises where Poisson sampling draws nobody: a violation that names the batch and the error, not a pass."""
    right = release_of(np.random.default_rng(0))

    def release(gradients):
        if len(gradients[0]) == 0:
            raise ValueError("need at least one array to stack")
        return right(gradients)

    violations = inspect_mechanism(release, STATED, seed=0, effort=EFFORT).violations
    assert [finding.check for finding in violations] == ["empty batch"]
    assert "raised ValueError on a batch of 0 gradients: need at least one array" in violations[0].observed


def test_a_mechanism_that_is_not_the_same_twice_may_not_say_so():
    """A reset that resets nothing is refused."""
    mechanism = Mechanism(release_of(np.random.default_rng(0)), reset=lambda: None)
    with pytest.raises(InputError, match="gave two releases that differ"):
        inspect_mechanism(mechanism, STATED, seed=0, effort=EFFORT)
