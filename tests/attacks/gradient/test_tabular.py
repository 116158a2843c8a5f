import numpy as np
import pytest

from dpaudit.attacks.gradient.baselines import prior_rows
from dpaudit.attacks.gradient.metrics import assignment, column_accuracy
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


def test_rows_leak_far_above_the_prior() -> None:
    """A batch of four rows through an untrained MLP: the columns come back far above medians and modes."""
    from dpaudit.attacks.gradient.observed_gradient import batch_gradient
    from dpaudit.attacks.gradient.tableak import Tabular
    from dpaudit.attacks.gradient.victims import Victims
    from dpaudit.runtime.tensorflow import keras

    rows, labels = people(400, seed=0)
    columns = EncodedColumns(np.zeros(10), np.ones(10), ((2, 7), (7, 10)))
    start = keras.initializers.GlorotUniform
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((10,)),
            layers.Dense(60, "relu", kernel_initializer=start(0)),
            layers.Dense(60, "relu", kernel_initializer=start(1)),
            layers.Dense(2, kernel_initializer=start(2)),
        ]
    )
    view = batch_gradient(Victims.of(model), rows[:4], labels[:4], knows=("labels",))
    found = Tabular(model, columns, restarts=7, iterations=600)(view)
    matched = found.rows.records[assignment(found.rows.records, rows[:4])]
    tolerance = 0.319 * rows[100:, :2].std(0)  # TabLeak's
    right = column_accuracy(matched, rows[:4], columns, tolerance=tolerance)
    floor = column_accuracy(prior_rows(rows[100:], columns, 4), rows[:4], columns, tolerance=tolerance)
    assert right.mean() >= 0.9
    assert right.mean() > floor.mean() + 0.3
    assert found.confidence.shape == (4, 2)
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()


def test_column_accuracy_counts_columns() -> None:
    """Computed by hand on two rows: one number in tolerance of two, one category right of two."""
    columns = EncodedColumns(np.zeros(3), np.ones(3), ((1, 3),))
    rows, truth = np.array([[0.5, 1, 0], [0.9, 1, 0]]), np.array([[0.55, 1, 0], [0.1, 0, 1]])
    assert column_accuracy(rows, truth, columns, tolerance=np.array([0.1])).tolist() == [0.5, 0.5]


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
