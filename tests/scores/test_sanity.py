"""What is looked at before predictions are attacked."""

import numpy as np
import pytest

from dpaudit.runtime.errors import InputError
from dpaudit.scores.from_outputs import observe
from dpaudit.scores.sanity import learned_nothing, refuse_probabilities, shared_rows


def binary(positive: np.ndarray, labels: np.ndarray) -> str:  # type: ignore[type-arg]
    """What is said of probabilities of class 1."""
    signals = observe(positive, labels, task="binary", kind="probabilities")
    return learned_nothing(signals, np.ones(labels.size, bool), "m")


def test_a_model_no_better_than_its_most_common_class_is_told_from_one_that_is() -> None:
    """Of models that answer by the majority share alone at most 1 % pass, so 3 of 100 once in 50 such tests; a model
    that is right in 85 % instead of 76 % of 2,000 records passes."""
    said = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        labels = (rng.random(2000) < 0.24).astype(int)
        said.append(binary(0.24 + 0.05 * rng.normal(size=2000).clip(-4, 4), labels))
    assert sum("it learned nothing" in each for each in said) >= 97
    rng = np.random.default_rng(0)
    labels = (rng.random(2000) < 0.24).astype(int)
    right = rng.random(2000) < 0.85
    assert binary(np.where(right, labels, 1 - labels) * 0.6 + 0.2, labels) == ""


def test_a_rare_class_that_is_ranked_is_something_learned() -> None:
    """With 1 % positives a good model may answer "no" always: its accuracy is that of the class, its ranking is not."""
    rng = np.random.default_rng(1)
    labels = (rng.random(5000) < 0.01).astype(int)
    said = binary(0.01 + 0.2 * labels * rng.random(5000) + 0.01 * rng.random(5000), labels)
    assert "no better than always giving the most common class (0.99" in said
    assert "do rank the classes" in said
    assert "it learned nothing" in binary(0.01 + 0.01 * rng.random(5000), labels)


def test_training_records_decide() -> None:
    """A model that knows its training records by heart has learned something, however bad it is on others."""
    labels = np.tile([0, 1], 500)
    member = np.arange(1000) < 500
    outputs = np.where(member, labels, 1 - labels) * 0.6 + 0.2
    signals = observe(outputs, labels, task="binary", kind="probabilities")
    assert learned_nothing(signals, member, "m") == ""
    assert learned_nothing(signals, ~member, "m") != ""


def test_one_class_and_no_classes_say_nothing() -> None:
    """Where there is nothing to compare with."""
    assert binary(np.full(10, 0.1), np.zeros(10, int)) == ""
    regression = observe(np.ones((4, 1)), np.ones(4), task="regression")
    assert learned_nothing(regression, np.ones(4, bool), "m") == ""


def test_the_same_rows_twice_are_refused_and_some_are_counted() -> None:
    """All rows on both sides in any order: refused. A third: counted. Those of a tree, which repeat anyway: nothing."""
    rng = np.random.default_rng(0)
    outputs, labels = rng.normal(size=(300, 3)), rng.integers(0, 3, 300)
    member = np.arange(600) < 300
    order = rng.permutation(300)
    with pytest.raises(InputError, match="all 300 rows"):
        shared_rows(np.concatenate([outputs, outputs[order]]), np.concatenate([labels, labels[order]]), member)
    other = np.where(np.arange(300)[:, None] < 100, outputs, rng.normal(size=(300, 3)))
    said = shared_rows(np.concatenate([outputs, other]), np.concatenate([labels, labels]), member)
    assert said.startswith("100 of 300 non-members")
    leaves = rng.integers(0, 4, 600).astype(float)
    assert shared_rows(leaves, np.zeros(600, int), member) == ""
    assert shared_rows(rng.normal(size=(600, 3)), np.zeros(600, int), member) == ""


def test_probabilities_are_not_logits() -> None:
    """Rows that sum to one in [0, 1] are refused; logits pass, also where all are positive."""
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="--outputs probabilities"):
        refuse_probabilities(rng.dirichlet([1, 1, 1], 50))
    refuse_probabilities(rng.random((50, 3)))
    refuse_probabilities(rng.normal(size=(50, 3)))
