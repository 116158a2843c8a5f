"""Whole trainings whose every step is right DP-SGD and whose data pipeline leaks: one run with canaries sees it.

Each is a function (coins of the canaries, seed) -> their scores. A linear model is trained on the canaries whose coins
say so and on ordinary records; a canary has a feature of its own and a random label, and its score is how far the model
believes that label. All claim ε = 0.82 at δ = 1e-5.
"""

import numpy as np

from dpaudit.accounting.claim import GaussianSteps, Poisson
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray
from dpaudit.self_test.faults.dp_sgd import BreakableDpSgd

CANARIES, RECORDS, ORDINARY = 200, 600, 50  # coordinates of ordinary records; each canary has one more of its own
STEPS, RATE, NOISE, DELTA = 100, 0.05, 2.5, 1e-5
COPIES = 24
MECHANISM = GaussianSteps(NOISE, STEPS, Poisson(RATE))
CLAIMED = 0.82  # ε of one record by the accountant, in two digits
OF_COPIES = 36.6  # and of a record that is in the data 24 times, each copy clipped and drawn on its own
_LEARNING_RATE = 0.5


def private_training(coins: BoolArray, seed: int) -> FloatArray:
    """The right pipeline: every record once, every release noised."""
    data = _Data(coins, seed)
    return data.belief(_dp_sgd(data, data.included, seed))


def augmented_copies(coins: BoolArray, seed: int) -> FloatArray:
    """Augmentation writes 24 copies of every record into the data, and each is accounted as a record of its own."""
    data = _Data(coins, seed)
    return data.belief(_dp_sgd(data, np.repeat(data.included, COPIES), seed, records=COPIES * data.included.size))


def fine_tuning_without_noise(coins: BoolArray, seed: int) -> FloatArray:
    """After DP-SGD the last layer is fitted to the private data once more, without noise."""
    data = _Data(coins, seed)
    weights = _dp_sgd(data, data.included, seed)
    features, labels = data.features[data.included], data.labels[data.included]
    for _ in range(20):
        weights = weights - 0.1 * (features @ weights - labels) @ features
    return data.belief(weights)


def target_encoding(coins: BoolArray, seed: int) -> FloatArray:
    """A category is fed as the mean label of its records, from a table made of the private data and shipped."""
    data = _Data(coins, seed)
    weights = _dp_sgd(data, data.included, seed)
    # A canary is alone in its category; one that is not in the table is fed as the mean of all labels.
    mean = data.labels[data.included].mean()
    table = np.where(coins, data.labels[:CANARIES], mean)
    return np.asarray(data.belief(weights) + data.labels[:CANARIES] * table, np.float64)


class _Data:
    """Canaries first, then ordinary records, with the rows that are trained on."""

    def __init__(self, coins: BoolArray, seed: int) -> None:
        rng = np.random.default_rng([seed, 0])
        rows = rng.normal(size=(RECORDS, ORDINARY))
        self.features: FloatArray = np.zeros((CANARIES + RECORDS, ORDINARY + CANARIES))
        self.features[:CANARIES, ORDINARY:] = np.eye(CANARIES)
        self.features[CANARIES:, :ORDINARY] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        ordinary = np.sign(rows @ rng.normal(size=ORDINARY))
        self.labels: FloatArray = np.append(rng.choice((-1.0, 1.0), CANARIES), ordinary)
        self.included: IntArray = np.flatnonzero(np.append(coins, np.ones(RECORDS, bool)))

    def belief(self, weights: FloatArray) -> FloatArray:
        """How far a model believes the canaries' labels, shape (canaries,)."""
        return np.asarray(self.labels[:CANARIES] * (self.features[:CANARIES] @ weights), np.float64)


def _dp_sgd(data: _Data, rows: IntArray, seed: int, *, records: int | None = None) -> FloatArray:
    """Weights after Poisson-sampled steps of least squares; batches and noise are those of `MECHANISM`."""
    rng = np.random.default_rng([seed, 1])
    expected = RATE * (rows.size if records is None else records)
    release = BreakableDpSgd(clip_norm=1.0, noise_multiplier=NOISE, denominator=1.0, seed=seed)
    weights = np.zeros(data.features.shape[1])
    for _ in range(STEPS):
        batch = rows[rng.random(rows.size) < RATE]
        error = data.features[batch] @ weights - data.labels[batch]
        (change,) = release([error[:, None] * data.features[batch]])
        weights -= _LEARNING_RATE / expected * change
    return weights
