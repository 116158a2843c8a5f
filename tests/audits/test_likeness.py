"""Target and references stand side by side, and a difference beyond chance is a caveat."""

from pathlib import Path

import numpy as np
import pytest

from dpaudit.audits.attack import attack_model
from dpaudit.audits.likeness import unlike
from dpaudit.audits.references import References
from dpaudit.results.result import Utility
from tests.audits.test_attack import MEMBERS, OTHERS


@pytest.mark.long
def test_accuracies_of_like_models_differ_by_chance_only() -> None:
    """Target and references from one normal distribution: said to be unlike in 1 % of cases. 2,000 draws, so more than
    33 of them (four standard errors) fail by chance below 1e-4; half a standard deviation of shift does not hide."""
    rng = np.random.default_rng(0)

    def alarms(shift: float) -> int:
        found = 0
        for _ in range(2000):
            train, test = rng.normal(0.8, 0.05, 9), rng.normal(0.6, 0.05, 9)
            utility = Utility(metric="accuracy", train=train[0] + shift, test=test[0])
            found += bool(unlike(utility, train[1:], test[1:]))
        return found

    assert alarms(0.0) <= 33 + 5
    assert alarms(0.5) == 2000


def test_steps_that_differ_are_said() -> None:
    """A tenth is allowed."""
    utility, same = Utility(metric="accuracy", train=0.8, test=0.6), np.array([0.79, 0.81, 0.8, 0.8])
    assert unlike(utility, same, same - 0.2, 520, 500) == []
    assert "made 520 steps and that of its references 260" in unlike(utility, same, same - 0.2, 520, 260)[0]


@pytest.mark.tf
def test_the_result_and_the_page_show_both(tmp_path: Path) -> None:
    """References that are trained for one epoch in place of 20 are unlike, and the caveat and the page say so; those
    of the same recipe are not."""
    from dpaudit.reports.html import page
    from dpaudit.runtime.tensorflow import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(64, "relu"), keras.layers.Dense(2, "softmax")])
    model.compile(keras.optimizers.RMSprop(0.02), "sparse_categorical_crossentropy")
    model.fit(*MEMBERS, epochs=20, verbose=0)
    model.save(tmp_path / "model.keras")
    results = [
        attack_model(
            tmp_path / "model.keras", MEMBERS, OTHERS, attacks=["base"], references=References(recipe, models=8)
        )
        for recipe in ({"epochs": 20}, {"epochs": 1})
    ]
    like, other = (result.membership for result in results)
    assert like is not None
    assert other is not None
    assert like.likeness is not None
    assert other.likeness is not None
    assert (like.likeness.references.optimizer, like.likeness.target.learning_rate) == ("rmsprop", "0.02")
    assert like.likeness.unlike == []
    assert len(other.likeness.unlike) > 0
    assert set(other.likeness.unlike) <= set(other.caveats)
    text = page(results[1])
    assert "The model and its references" in text
    assert "epochs, batch_size or records of the recipe are not those of the model" in text
