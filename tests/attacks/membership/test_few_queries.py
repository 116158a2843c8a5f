"""Attacks over the queries of a plan, `ranges` and `label-only`, against naive loops."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from dpaudit.attacks.membership.gap import Robustness
from dpaudit.attacks.membership.label_only import LabelOnly
from dpaudit.attacks.membership.ranges import Ranges
from dpaudit.runtime.errors import InputError
from dpaudit.scores.roc import Roc
from dpaudit.scores.scores import Scores
from dpaudit.scores.signals import Signals
from tests.attacks.membership.one_target import split
from tests.attacks.membership.pool import pairs, synthetic

POOL = synthetic(queries=5)
TARGET = POOL.target(3)


def test_a_range_is_scored_by_its_samples_alone() -> None:
    """Sorted, cut on either side, averaged, record by record; and the record's own φ plays no part."""
    expected = np.empty(len(TARGET))
    for j in range(len(TARGET)):
        scores = [np.log(expit(q.phi[j])) - np.log(expit(q.reference[:, j]).mean()) for q in TARGET.queries]
        expected[j] = np.mean(sorted(scores)[2:4])
    attack = Ranges(low=0.4, high=0.2)
    np.testing.assert_allclose(attack(TARGET), expected, rtol=1e-9)
    np.testing.assert_array_equal(attack(replace(TARGET, phi=-TARGET.phi)), attack(TARGET))


def test_cutting_far_samples_off_helps_where_one_of_many_is_the_member() -> None:
    """One sample in ten is near the record: the highest alone has the higher AUC (fixed seed, clearly apart)."""
    rng = np.random.default_rng(0)
    member, included = np.arange(400) < 200, pairs(8, 400, rng)

    def sample(shift: float) -> Signals:
        phi = rng.normal(-3, 1, 400) + shift * member
        return Signals(phi, reference=rng.normal(-3, 1, (8, 400)), included=included)

    seen = replace(sample(0.0), queries=(sample(3.0), *(sample(0.0) for _ in range(9))))
    plain, cut = (Roc.of(Scores.join(attack(seen), member)).auc for attack in (Ranges(), Ranges(low=0.9)))
    assert cut > plain + 0.03


def test_cuts_that_leave_nothing_are_refused() -> None:
    """All shares cut off."""
    with pytest.raises(InputError, match="leave something over"):
        Ranges(low=0.6, high=0.4)


def labelled(seed: int, shift: float, *, models: int = 6, records: int = 300) -> tuple[Signals, np.ndarray]:  # type: ignore[type-arg]
    """A target of two classes with four queries, and who its members are: members are ``shift`` more confident."""
    rng = np.random.default_rng(seed)
    included, difficulty = pairs(models + 2, records, rng), rng.normal(0, 2, records)

    def view() -> Signals:
        phi = difficulty + rng.normal(size=included.shape) + shift * included
        logits = np.stack([phi[0], np.zeros(records)], axis=1)
        return Signals.from_logits(logits, np.zeros(records, int)).with_references(phi[2:], included[2:])

    return replace(view(), queries=tuple(view() for _ in range(4))), included[0]


def test_label_only_is_the_likelihood_ratio_of_right_and_wrong() -> None:
    """Bernoulli probabilities from the references' mean confidence on each side, multiplied over the queries."""
    seen, _ = labelled(1, 1.0)
    expected = np.zeros(len(seen))
    for view in (seen, *seen.queries):
        for j, (phi, inside, outside) in enumerate(split(view)):
            p, q = expit(inside).mean(), expit(outside).mean()
            expected[j] += np.log(p / q if phi > 0 else (1 - p) / (1 - q))
    np.testing.assert_allclose(LabelOnly()(seen), expected, rtol=1e-9)


def test_label_only_sees_classes_and_nothing_else_of_the_target() -> None:
    """Other confidences of the target with the same classes leave every score as it was."""
    seen, _ = labelled(2, 1.0)

    def louder(view: Signals) -> Signals:
        return replace(view, phi=view.phi * 7, queries=tuple(louder(one) for one in view.queries))

    np.testing.assert_array_equal(LabelOnly()(louder(seen)), LabelOnly()(seen))


def test_label_only_is_above_the_share_of_right_copies() -> None:
    """What hard records are is known from the references: mean AUC over 20 fixed targets, 0.03 and more apart."""
    aucs = []
    for seed in range(20):
        seen, member = labelled(seed, 1.0)
        aucs.append([Roc.of(Scores.join(attack(seen), member)).auc for attack in (LabelOnly(), Robustness())])
    ours, share = np.mean(aucs, axis=0)
    assert ours > share + 0.03
