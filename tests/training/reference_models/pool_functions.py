"""A trainer in plain numpy, slow enough to be killed in the middle."""

import time
from typing import Any

import numpy as np

from dpaudit.data.dataset import Dataset
from dpaudit.runtime.check import BoolArray


def train(dataset: Dataset, included: BoolArray, *, seed: int) -> Any:
    """One class mean per class plus a little seeded noise."""
    time.sleep(0.03)
    rng = np.random.default_rng(seed)
    classes = range(dataset.outputs)
    means = np.stack([dataset.features[included & (dataset.classes == c)].mean(axis=0) for c in classes], axis=1)
    kept = means + 0.01 * rng.normal(size=means.shape)
    return lambda features: features @ kept


def data() -> Dataset:
    """Two clouds."""
    rng = np.random.default_rng(5)
    labels = rng.integers(2, size=40)
    return Dataset("clouds", rng.normal(size=(40, 3)) + labels[:, None], labels)
