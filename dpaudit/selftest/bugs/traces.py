"""Who took part in which step: recorded trainings, right and wrong, all accounted as the same Poisson sampling."""

from dataclasses import replace

import numpy as np

from dpaudit.accounting.claim import GaussianSteps, Poisson
from dpaudit.inspection.participation import RecordedBatches

TRACED = GaussianSteps(1.0, 200, Poisson(0.05))
TRACED_RECORDS = 1000


def poisson(rng: np.random.Generator, rate: float = 0.05) -> RecordedBatches:
    """Batches by independent coins, as accounted."""
    batches = [np.flatnonzero(rng.random(TRACED_RECORDS) < rate) for _ in range(TRACED.steps)]
    return RecordedBatches(TRACED_RECORDS, batches, noise_draws=TRACED.steps, accounted_steps=TRACED.steps)


def shuffled(rng: np.random.Generator) -> RecordedBatches:
    """Every record once an epoch."""
    return RecordedBatches(
        TRACED_RECORDS, [p for _ in range(10) for p in np.split(rng.permutation(TRACED_RECORDS), 20)]
    )


def fixed(rng: np.random.Generator) -> RecordedBatches:
    """The same partition in every epoch."""
    return RecordedBatches(TRACED_RECORDS, np.split(rng.permutation(TRACED_RECORDS), 20) * 10)


def wrong_rate(rng: np.random.Generator) -> RecordedBatches:
    """Batches twice as large as accounted."""
    return poisson(rng, rate=0.1)


def truncated(rng: np.random.Generator) -> RecordedBatches:
    """Forty records are never drawn."""
    drawn = poisson(rng, rate=0.052)
    return RecordedBatches(TRACED_RECORDS, [batch[batch < 960] for batch in drawn.batches])


def resumed(rng: np.random.Generator) -> RecordedBatches:
    """The accountant forgot half of the steps."""
    return replace(poisson(rng), accounted_steps=TRACED.steps // 2)


def noise_per_accumulation(rng: np.random.Generator) -> RecordedBatches:
    """Noise at one update in four."""
    return replace(poisson(rng), noise_draws=TRACED.steps // 4)
