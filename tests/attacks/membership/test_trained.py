"""Attackers that learn: they find a leak, find none where there is none, and never see what they score."""

from dataclasses import replace

import numpy as np
import pytest

from dpaudit.attacks.membership._shadow import folds
from dpaudit.attacks.membership.classifier import MODELS, Classifier, ClassifierOnTarget
from dpaudit.attacks.membership.gap import Gap, Robustness
from dpaudit.attacks.membership.pools import audited_part
from dpaudit.attacks.membership.quantile import Quantile
from dpaudit.attacks.membership.risk_score import RiskScore
from dpaudit.attacks.membership.trajectory import Trajectory
from dpaudit.runtime.errors import InputError
from dpaudit.scores.roc import Roc
from dpaudit.scores.scores import Scores
from dpaudit.scores.signals import PoolSignals, Signals
from tests.attacks.membership.pool import pairs, synthetic


def auc(scores: object, member: object) -> float:
    return Roc.of(Scores.join(scores, member)).auc


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.long
def test_classifiers_learn_from_references_what_a_member_looks_like(model: str) -> None:
    """φ two units higher for members: the classifier's AUC is within 0.08 of the plain threshold on φ, never above.

    φ is all there is and larger means member, so no classifier can beat the threshold by more than chance (0.03).
    """
    pool = synthetic(6, 300, seed=1, shift=2.0)
    signals = pool.target(0)
    plain = auc(signals.phi, pool.included[0])
    learnt = auc(Classifier(model)(signals), pool.included[0])  # type: ignore[arg-type]
    assert plain - 0.08 < learnt < plain + 0.03


def test_classifiers_use_all_probabilities_when_they_have_them() -> None:
    """Members share the wrong answers' probability out evenly, others do not; φ is the same. The full features tell."""
    rng = np.random.default_rng(2)
    included = pairs(6, 400, rng)
    right = rng.uniform(0.2, 0.3, (6, 400))
    share = np.where(included, 0.5, 0.7) + rng.normal(0, 0.02, (6, 400))
    log_p = np.log(np.stack([right, (1 - right) * share, (1 - right) * (1 - share)], axis=-1))
    phi = np.log(right) - np.log1p(-right)
    pool = PoolSignals(phi, included, labels=np.zeros(400, int), log_probabilities=log_p)
    assert auc(Classifier()(pool.target(0)), included[0]) > 0.95
    only_phi = PoolSignals(phi, included, labels=np.zeros(400, int)).target(0)
    assert auc(Classifier()(only_phi), included[0]) < 0.7


@pytest.mark.parametrize("model", MODELS)
def test_learning_on_the_target_spends_what_it_is_told(model: str) -> None:
    """φ two units higher for members: learnt on half of the records, the other half's AUC is close to the threshold's.

    On noise, which a nearest neighbour or a forest could recite, the AUC of the records not told is 0.5: with 300 of
    them its standard error is 0.033, and four are allowed for a fixed seed.
    """
    rng = np.random.default_rng(3)
    member = rng.random(600) < 0.5
    attack = ClassifierOnTarget(model)  # type: ignore[arg-type]
    leaking, noise = Signals(rng.normal(size=600) + 2 * member), Signals(rng.normal(size=600))
    seen, kept = audited_part(attack, leaking, member)
    assert kept.sum() == len(seen) == 300
    assert auc(attack(seen), member[kept]) > auc(seen.phi, member[kept]) - 0.08
    seen, kept = audited_part(attack, noise, member)
    assert abs(auc(attack(seen), member[kept]) - 0.5) < 4 * 0.033


def test_the_truth_of_audited_records_does_not_reach_an_attack_that_is_told_some() -> None:
    """Turning the membership of every record that is audited leaves every score as it is."""
    rng = np.random.default_rng(4)
    member, signals, attack = rng.random(200) < 0.5, Signals(rng.normal(size=200)), ClassifierOnTarget("forest")
    seen, kept = audited_part(attack, signals, member)
    turned, _ = audited_part(attack, signals, np.where(kept, ~member, member))
    np.testing.assert_array_equal(attack(seen), attack(turned))


def test_a_part_of_the_signals_is_each_record_alone() -> None:
    """`take` cuts every array along its records, also those of queries and checkpoints."""
    pool = synthetic(6, 20, seed=2, queries=2)
    signals = replace(pool.target(0), checkpoints=(pool.target(0),), features=np.arange(20.0)[:, None])
    rows = np.arange(20) % 3 == 0
    part = signals.take(rows)
    np.testing.assert_array_equal(part.phi, signals.phi[rows])
    np.testing.assert_array_equal(part.reference, signals.reference[:, rows])
    np.testing.assert_array_equal(part.queries[1].reference, signals.queries[1].reference[:, rows])
    np.testing.assert_array_equal(part.checkpoints[0].included, signals.included[:, rows])
    np.testing.assert_array_equal(part.features, signals.features[rows])  # type: ignore[index, arg-type]


def test_folds_are_a_partition() -> None:
    """Every record is scored once, and never learnt from in the fold that scores it."""
    scored = []
    for learn, score in folds(23, number=4, seed=0):
        assert not set(learn) & set(score)
        assert len(learn) + len(score) == 23
        scored += score.tolist()
    assert sorted(scored) == list(range(23))


def test_risk_score_is_a_probability() -> None:
    """Among records with risk near r a share near r are members (calibration, within 0.08 for 3,000 records)."""
    pool = synthetic(8, 3000, seed=4, shift=1.5)
    risk = RiskScore()(pool.target(0))
    assert ((risk > 0) & (risk < 1)).all()
    for low, high in ((0.2, 0.4), (0.4, 0.6), (0.6, 0.8)):
        rows = (risk >= low) & (risk < high)
        assert pool.included[0][rows].mean() == pytest.approx(risk[rows].mean(), abs=0.08)


@pytest.mark.long
def test_quantile_regression_keeps_its_false_positive_rate_where_difficulty_varies() -> None:
    """φ of non-members is x + noise. At alpha 5 % near 5 % of fresh non-members are above 0, in every part of x.

    A threshold on φ alone accuses the easy records only. Limits are 5 ± 3 %
    for 3,000 records and a population of 3,000.
    """
    rng = np.random.default_rng(5)
    x, z = rng.uniform(-3, 3, (3000, 1)), rng.uniform(-3, 3, (3000, 1))
    population = Signals(z[:, 0] + rng.normal(size=3000), features=z)
    scores = Quantile(0.05)(Signals(x[:, 0] + rng.normal(size=3000), features=x, population=population))
    for part in (x[:, 0] < -1, np.abs(x[:, 0]) <= 1, x[:, 0] > 1):
        assert abs((scores[part] > 0).mean() - 0.05) < 0.03


def test_trajectory_sees_what_the_last_checkpoint_hides() -> None:
    """Membership shows at the first checkpoint only: the trajectory finds it, the final loss does not."""
    rng = np.random.default_rng(6)
    included = pairs(6, 400, rng)
    early, last = rng.normal(size=included.shape) + 2 * included, rng.normal(size=included.shape)
    first, final = PoolSignals(early, included).target(0), PoolSignals(last, included).target(0)
    assert auc(Trajectory()(replace(final, checkpoints=(first,))), included[0]) > 0.85
    assert auc(final.phi, included[0]) < 0.6


def test_robustness_counts_the_copies_that_are_still_right() -> None:
    """Share of right answers over the plain record and its copies; the gap is the plain record alone."""
    rng = np.random.default_rng(7)
    logits, labels = rng.normal(size=(5, 30, 3)), rng.integers(0, 3, 30)
    plain, *copies = (Signals.from_logits(z, labels) for z in logits)
    signals = replace(plain, queries=tuple(copies))
    np.testing.assert_allclose(Robustness()(signals), (logits.argmax(-1) == labels).mean(axis=0))
    np.testing.assert_array_equal(Gap()(signals), logits[0].argmax(-1) == labels)


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (Classifier(), "needs references"),
        (ClassifierOnTarget(), "needs records known to be members"),
        (RiskScore(), "needs references"),
        (Trajectory(), "needs checkpoints"),
        (Quantile(), "needs the records themselves"),
        (Robustness(), "needs queries"),
        (Gap(), "needs the probabilities"),
    ],
)
def test_what_is_missing_is_named(attack, message) -> None:  # type: ignore[no-untyped-def]
    """No attack makes do with less than it needs."""
    with pytest.raises(InputError, match=message):
        attack(Signals(np.zeros(20)))


def test_a_population_too_small_for_its_quantile_is_refused() -> None:
    """Ten records are needed above it."""
    small = Signals(np.zeros(50), features=np.zeros((50, 1)))
    signals = Signals(np.zeros(3), features=np.zeros((3, 1)), population=small)
    with pytest.raises(InputError, match="at least 200 records, got 50"):
        Quantile(0.05)(signals)
