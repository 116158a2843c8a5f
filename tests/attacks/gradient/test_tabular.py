from typing import Any

import numpy as np
import pytest

from dpaudit.attacks.gradient.baselines import prior_rows
from dpaudit.attacks.gradient.metrics import assignment, surer_half, values_right
from dpaudit.attacks.gradient.table_columns import EncodedColumns
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import InputError

pytestmark = pytest.mark.tf


def people(number: int, *, seed: int) -> tuple[FloatArray, IntArray]:
    """Rows like a census: two numbers, a category of 5 that goes with the first number, a category of 3."""
    rng = np.random.default_rng(seed)
    numbers = rng.random((number, 2))
    job = np.clip((numbers[:, 0] * 5 + rng.normal(0, 0.7, number)).astype(int), 0, 4)
    place = rng.choice(3, number, p=[0.6, 0.3, 0.1])
    return np.hstack([numbers, np.eye(5)[job], np.eye(3)[place]]), (numbers.sum(1) > 1).astype(np.int64)


def network() -> Any:
    from dpaudit.runtime.tensorflow import keras

    start = keras.initializers.GlorotUniform
    hidden = [keras.layers.Dense(60, "relu", kernel_initializer=start(seed)) for seed in (0, 1)]
    return keras.Sequential([keras.Input((10,)), *hidden, keras.layers.Dense(2, kernel_initializer=start(2))])


def test_rows_leak_far_above_the_prior() -> None:
    """A batch of four rows through an untrained MLP: the columns come back far above medians and modes."""
    from dpaudit.attacks.gradient.observed_gradient import batch_gradient
    from dpaudit.attacks.gradient.tableak import Tabular
    from dpaudit.attacks.gradient.victims import Victims

    rows, labels = people(400, seed=0)
    columns, model = EncodedColumns(np.zeros(10), np.ones(10), ((2, 7), (7, 10))), network()
    view = batch_gradient(Victims.of(model), rows[:4], labels[:4], knows=("labels",))
    found = Tabular(model, columns, restarts=7, iterations=600)(view)
    matched = found.records[assignment(found.records, rows[:4])]
    tolerance = 0.319 * rows[100:, :2].std(0)  # TabLeak's
    right = values_right(matched, rows[:4], columns, tolerance=tolerance)
    floor = values_right(prior_rows(rows[100:], columns, 4), rows[:4], columns, tolerance=tolerance)
    assert right.mean() >= 0.9
    assert right.mean() > floor.mean() + 0.3
    assert found.confidence is not None
    assert found.confidence.shape == (4, 4)
    assert (found.confidence[:, :2] <= 0).all()
    assert ((found.confidence[:, 2:] >= 0) & (found.confidence[:, 2:] <= 1)).all()


@pytest.mark.slow
def test_the_attack_knows_which_values_are_right() -> None:
    """Six batches of eight rows: 81 % of the values are right, and 92 % of the half on which the restarts agree most. A
    half drawn at random would be 0.08 above with a probability of about 0.3 % (2.8 standard errors of 0.028)."""
    from dpaudit.attacks.gradient.observed_gradient import batch_gradient
    from dpaudit.attacks.gradient.tableak import Tabular
    from dpaudit.attacks.gradient.victims import Victims

    rows, labels = people(400, seed=0)
    columns, model = EncodedColumns(np.zeros(10), np.ones(10), ((2, 7), (7, 10))), network()
    attack, victims = Tabular(model, columns, restarts=7, iterations=400), Victims.of(model)
    right, confidence = [], []
    for at in range(0, 48, 8):
        truth = rows[at : at + 8]
        found = attack(batch_gradient(victims, truth, labels[at : at + 8], knows=("labels",)))
        assert found.confidence is not None
        order = assignment(found.records, truth)
        tolerance = 0.319 * rows[100:, :2].std(0)
        right.append(values_right(found.records[order], truth, columns, tolerance=tolerance))
        confidence.append(found.confidence[order])
    every = np.concatenate(right)
    assert surer_half(every, np.concatenate(confidence), 2) > every.mean() + 0.08


def test_each_value_is_right_or_wrong() -> None:
    """Computed by hand on two rows: one number in tolerance of two, one category right of two."""
    columns = EncodedColumns(np.zeros(3), np.ones(3), ((1, 3),))
    rows, truth = np.array([[0.5, 1, 0], [0.9, 1, 0]]), np.array([[0.55, 1, 0], [0.1, 0, 1]])
    assert values_right(rows, truth, columns, tolerance=np.array([0.1])).mean(0).tolist() == [0.5, 0.5]


def test_columns_must_fit_the_model() -> None:
    """An encoding of another width is refused."""
    from dpaudit.attacks.gradient.observed_gradient import batch_gradient
    from dpaudit.attacks.gradient.tableak import Tabular
    from dpaudit.attacks.gradient.victims import Victims
    from dpaudit.runtime.tensorflow import keras

    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(2)])
    rows, labels = people(1, seed=0)
    with pytest.raises(InputError, match="the columns encode 3 features"):
        Tabular(model, EncodedColumns(np.zeros(3), np.ones(3)))(batch_gradient(Victims.of(model), rows, labels))
