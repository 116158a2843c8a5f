"""Attacks on the target alone, against their definitions computed in plain arithmetic."""

import numpy as np
import pytest

from dpaudit.attacks.membership.attack_p import AttackP
from dpaudit.attacks.membership.loss import Loss
from dpaudit.attacks.membership.modified_entropy import ModifiedEntropy
from dpaudit.runtime.errors import InputError
from dpaudit.scores.signals import Signals

LOGITS = np.random.default_rng(3).normal(0, 3, (50, 5))
LABELS = np.random.default_rng(4).integers(0, 5, 50)


def test_loss_orders_by_cross_entropy() -> None:
    """The order of the loss attack is that of -cross-entropy."""
    p = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    losses = -np.log(p[np.arange(50), LABELS])
    np.testing.assert_array_equal(np.argsort(Loss()(Signals.from_logits(LOGITS, LABELS))), np.argsort(-losses))


def test_modified_entropy_equals_its_definition() -> None:
    """Song and Mittal's formula, term by term."""
    scores = ModifiedEntropy()(Signals.from_logits(LOGITS, LABELS))
    for z, y, score in zip(LOGITS, LABELS, scores, strict=True):
        p = np.exp(z) / np.exp(z).sum()
        value = -(1 - p[y]) * np.log(p[y]) - sum(p[c] * np.log(1 - p[c]) for c in range(5) if c != y)
        assert score == pytest.approx(-np.log(value), rel=1e-9)


def test_modified_entropy_survives_sure_answers() -> None:
    """Margins of 50 to 900, where probabilities round to 0 and 1, keep their order: right ones rise, wrong ones fall.

    For a margin m against one other class both terms are m·exp(-m)-like: a right answer scores near 2m, a sure and
    wrong one near -log(2m).
    """
    margins = np.array([50.0, 400.0, 900.0])
    right = ModifiedEntropy()(Signals.from_logits(np.stack([margins, 0 * margins], 1), np.zeros(3, int)))
    wrong = ModifiedEntropy()(Signals.from_logits(np.stack([0 * margins, margins], 1), np.zeros(3, int)))
    np.testing.assert_allclose(right, 2 * margins - np.log(2), rtol=1e-9)
    np.testing.assert_allclose(wrong, -np.log(2 * margins), rtol=1e-9)


def test_modified_entropy_needs_all_classes() -> None:
    """From φ alone there is no entropy, and the message says so."""
    with pytest.raises(InputError, match="needs the probabilities of all classes"):
        ModifiedEntropy()(Signals(np.zeros(3)))


def test_attack_p_is_the_conformal_p_value() -> None:
    """1 - score is (1 + #{population at least as member-like}) / (n + 1), counted by hand; per class too."""
    rng = np.random.default_rng(0)
    population = Signals(rng.normal(size=30), labels=rng.integers(0, 2, 30))
    signals = Signals(rng.normal(size=20), labels=rng.integers(0, 2, 20), population=population)
    all_classes, per_class = AttackP()(signals), AttackP(per_class=True)(signals)
    for j in range(20):
        same = population.phi[population.labels == signals.labels[j]]  # type: ignore[index]
        assert 1 - all_classes[j] == pytest.approx((1 + np.sum(population.phi >= signals.phi[j])) / 31)
        assert 1 - per_class[j] == pytest.approx((1 + np.sum(same >= signals.phi[j])) / (same.size + 1))


def test_attack_p_threshold_keeps_its_false_positive_rate() -> None:
    """Over 2,000 fresh populations the share of non-members above the threshold for 5 % is at most 5 %.

    The exact expectation is floor(0.05·100)/100 = 5 %; the mean of 2,000 rates lies within four standard errors
    (of about 0.0005) of it for all but 1 in 15,000 seeds. The seed is fixed.
    """
    rng = np.random.default_rng(1)
    rates = [
        np.mean(rng.normal(size=500) > AttackP().threshold(Signals(rng.normal(size=99)), 0.05)) for _ in range(2000)
    ]
    assert np.mean(rates) == pytest.approx(0.05, abs=4 * np.std(rates) / np.sqrt(2000))


@pytest.mark.parametrize(
    ("attack", "signals", "message"),
    [
        (AttackP(), Signals(np.zeros(3)), "needs a population"),
        (AttackP(True), Signals(np.zeros(3), population=Signals(np.zeros(3))), "needs the true classes"),
        (
            AttackP(True),
            Signals(np.zeros(2), np.array([0, 3]), population=Signals(np.zeros(1), np.array([0]))),
            "class 3 has none",
        ),
    ],
)
def test_attack_p_says_what_is_missing(attack: AttackP, signals: Signals, message: str) -> None:
    """Missing knowledge is named, never replaced."""
    with pytest.raises(InputError, match=message):
        attack(signals)


def test_attack_p_refuses_a_rate_its_population_cannot_show() -> None:
    """A 1 % threshold needs 99 population records."""
    with pytest.raises(InputError, match="at least 99 records, got 50"):
        AttackP().threshold(Signals(np.zeros(50)), 0.01)
