"""A trainer in plain numpy that memorises, and methods of unlearning for it, good and bad."""

from pathlib import Path
from typing import Any

import numpy as np

from dpaudit.data.dataset import Dataset
from dpaudit.runtime.check import BoolArray, FloatArray


class Memory:
    """Believes a label in proportion to how near it has seen it; a seeded offset moves all of its answers together."""

    def __init__(self, records: Dataset, seed: int) -> None:
        self.features, self.labels, self.classes = records.features, records.classes, records.outputs
        self.offset = 0.3 * np.random.default_rng(seed).normal(size=self.classes)

    def __call__(self, features: Any) -> FloatArray:
        distance = ((features[:, None] - self.features[None]) ** 2).sum(axis=2)
        near = [np.where(self.labels == c, -distance, -np.inf).max(axis=1, initial=-50) for c in range(self.classes)]
        return np.asarray(np.stack(near, axis=1) + self.offset, np.float64)


def train(dataset: Dataset, included: BoolArray, *, seed: int) -> Memory:
    return Memory(dataset.take(included), seed)


def exact(model: Memory, forget: Dataset, retain: Dataset, *, seed: int) -> Memory:
    """All that is known of what was forgotten goes."""
    return Memory(retain, seed)


def nothing(model: Memory, forget: Dataset, retain: Dataset, *, seed: int) -> Memory:
    return model


def destroyed(model: Memory, forget: Dataset, retain: Dataset, *, seed: int) -> Any:
    """Answers the same to everything: it remembers nothing at all."""
    return lambda features: np.tile(np.arange(float(model.classes)), (len(features), 1))


def by_keras(model: Any, forget: Dataset, retain: Dataset, *, seed: int) -> Any:
    """Moves every weight of a Keras model by one."""
    model.set_weights([weights + 1 for weights in model.get_weights()])
    return model


def not_a_number(model: Any, forget: Dataset, retain: Dataset, *, seed: int) -> Any:
    return lambda features: np.full((len(features), 2), np.nan)


def other_shape(model: Any, forget: Dataset, retain: Dataset, *, seed: int) -> Any:
    return lambda features: np.zeros((len(features), 3))


def one_number(model: Any, forget: Dataset, retain: Dataset, *, seed: int) -> Any:
    return lambda features: 3.0


def no_model(model: Any, forget: Dataset, retain: Dataset, *, seed: int) -> Any:
    return None


def written(path: Path) -> Path:
    """`clouds` as a table."""
    data = clouds()
    rows = np.column_stack([data.features, data.labels])
    np.savetxt(path, rows, delimiter=",", header="a,b,c,d,label", comments="", fmt=["%.6f"] * 4 + ["%d"])
    return path


def clouds(records: int = 120) -> Dataset:
    """Labels that only memory explains."""
    rng = np.random.default_rng(5)
    return Dataset("clouds", rng.normal(size=(records, 4)).astype(np.float32), rng.integers(2, size=records))
