"""A synthetic pool of models whose signals leak a known amount."""

import numpy as np

from dpaudit.runtime.check import BoolArray
from dpaudit.scores.signals import PoolSignals


def pairs(models: int, records: int, rng: np.random.Generator) -> BoolArray:
    """Who is in which model: pairs of complementary halves."""
    included = np.empty((models, records), bool)
    for first in range(0, models, 2):
        included[first] = rng.permutation(records) < records // 2
        included[first + 1] = ~included[first]
    return included


def synthetic(
    models: int = 8, records: int = 40, population: int = 25, *, seed: int = 0, shift: float = 1.0, queries: int = 0
) -> PoolSignals:
    """φ is normal around a difficulty of the record, with a spread of its own, and ``shift`` higher for members."""
    rng = np.random.default_rng(seed)
    included = pairs(models, records, rng)
    difficulty, spread = rng.normal(0, 2, records), rng.uniform(0.5, 1.5, records)

    def phi() -> np.ndarray:  # type: ignore[type-arg]
        return difficulty + spread * rng.normal(size=(models, records)) + shift * included

    return PoolSignals(
        phi(),
        included,
        labels=rng.integers(0, 3, records),
        population=rng.normal(0, 2, population) + rng.normal(size=(models, population)),
        population_labels=rng.integers(0, 3, population),
        queries=tuple(phi() for _ in range(queries)),
    )
