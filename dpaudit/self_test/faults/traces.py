"""Who took part in which step: recorded trainings, right and wrong, at one rate under each sampler."""

from dataclasses import replace

import numpy as np

from dpaudit.accounting.claim import FixedSize, GaussianSteps, Poisson, Shuffled, TruncatedPoisson
from dpaudit.inspection.recorded import RecordedBatches
from dpaudit.runtime.check import IntArray

TRACED = GaussianSteps(1.0, 200, Poisson(0.05))
TRACED_RECORDS = 1000
OF_FIXED_SIZE = replace(TRACED, sampling=FixedSize(50, TRACED_RECORDS))
LARGEST = 60  # of truncated batches
CUT = replace(TRACED, sampling=TruncatedPoisson(0.05, LARGEST, TRACED_RECORDS))
IN_EPOCHS = replace(TRACED, sampling=Shuffled(20))


def poisson(rng: np.random.Generator, rate: float = 0.05) -> RecordedBatches:
    """Batches by independent coins, as accounted."""
    batches = [np.flatnonzero(rng.random(TRACED_RECORDS) < rate) for _ in range(TRACED.steps)]
    return RecordedBatches(TRACED_RECORDS, batches, noise_draws=TRACED.steps, accounted_steps=TRACED.steps)


def cut(rng: np.random.Generator, largest: int = LARGEST) -> RecordedBatches:
    """Batches by independent coins, of which a part is kept where they are too large for the machine."""
    drawn = poisson(rng)
    return replace(drawn, batches=[rng.permutation(batch)[:largest] for batch in drawn.batches])


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


def fixed_size(rng: np.random.Generator, size: int = 50) -> RecordedBatches:
    """So many records at every step, drawn afresh."""
    return RecordedBatches(
        TRACED_RECORDS, [rng.choice(TRACED_RECORDS, size, replace=False) for _ in range(TRACED.steps)]
    )


def weighted(rng: np.random.Generator, share: float, factor: float) -> RecordedBatches:
    """A share of the records is drawn so many times as often; the mean rate is the accounted one."""
    few = np.arange(TRACED_RECORDS) < share * TRACED_RECORDS
    rates = np.where(few, factor * 0.05, 0.05 * (1 - share * factor) / (1 - share))
    return RecordedBatches(
        TRACED_RECORDS, [np.flatnonzero(rng.random(TRACED_RECORDS) < rates) for _ in range(TRACED.steps)]
    )


def pinned(rng: np.random.Generator) -> RecordedBatches:
    """One record is in every batch."""
    drawn = poisson(rng)
    return replace(drawn, batches=[np.union1d(batch, [0]) for batch in drawn.batches])


def pinned_fixed_size(rng: np.random.Generator) -> RecordedBatches:
    """One record is in every batch of a fixed size."""
    others = [1 + rng.choice(TRACED_RECORDS - 1, 49, replace=False) for _ in range(TRACED.steps)]
    return RecordedBatches(TRACED_RECORDS, [np.append(0, batch) for batch in others])


def paired(rng: np.random.Generator) -> RecordedBatches:
    """Of the first twenty records every two share one coin."""
    drawn = poisson(rng)
    first = [batch[(batch >= 20) | (batch % 2 == 0)] for batch in drawn.batches]
    return replace(drawn, batches=[np.union1d(batch, batch[batch < 20] + 1) for batch in first])


def in_blocks(rng: np.random.Generator) -> RecordedBatches:
    """Blocks of 25 neighbours are drawn, as from a file that is read in chunks."""
    blocks = np.arange(TRACED_RECORDS).reshape(-1, 25)
    return RecordedBatches(
        TRACED_RECORDS, [blocks[rng.random(blocks.shape[0]) < 0.05].ravel() for _ in range(TRACED.steps)]
    )


def large_and_empty(rng: np.random.Generator) -> RecordedBatches:
    """Every second batch is empty, the others are twice as large."""
    rates = np.arange(TRACED.steps) % 2 * 0.1
    return RecordedBatches(TRACED_RECORDS, [np.flatnonzero(rng.random(TRACED_RECORDS) < rate) for rate in rates])


def upsampled(rng: np.random.Generator) -> RecordedBatches:
    """A tenth of the records is in each epoch twice."""
    twice = np.append(np.arange(TRACED_RECORDS), np.arange(TRACED_RECORDS // 10))
    epochs = [np.array_split(rng.permutation(twice), 20) for _ in range(TRACED.steps // 20)]
    return RecordedBatches(TRACED_RECORDS, [np.unique(batch) for epoch in epochs for batch in epoch])


def first_in_epoch(rng: np.random.Generator) -> RecordedBatches:
    """One record is in the first batch of every epoch."""
    epochs = [np.append(0, 1 + rng.permutation(TRACED_RECORDS - 1)) for _ in range(TRACED.steps // 20)]
    return RecordedBatches(TRACED_RECORDS, [batch for epoch in epochs for batch in np.split(epoch, 20)])


def replayed(rng: np.random.Generator) -> RecordedBatches:
    """A resume draws the last five batches once more."""
    drawn = list(poisson(rng).batches)
    return RecordedBatches(TRACED_RECORDS, [*drawn[:100], *drawn[95:100], *drawn[105:]])


def one_half_after_the_other(rng: np.random.Generator) -> RecordedBatches:
    """The first half of the steps sees the first half of the records, at twice the rate."""
    early = np.arange(TRACED.steps) < TRACED.steps // 2
    first = np.arange(TRACED_RECORDS) < TRACED_RECORDS // 2
    return RecordedBatches(
        TRACED_RECORDS, [np.flatnonzero((rng.random(TRACED_RECORDS) < 0.1) & (first == part)) for part in early]
    )


def shards_in_turn(rng: np.random.Generator) -> RecordedBatches:
    """Two workers hold half of the records each and take turns."""
    of_worker = np.arange(TRACED_RECORDS) % 2
    return RecordedBatches(
        TRACED_RECORDS,
        [np.flatnonzero((rng.random(TRACED_RECORDS) < 0.1) & (of_worker == step % 2)) for step in range(TRACED.steps)],
    )


def shuffle_buffer(rng: np.random.Generator) -> RecordedBatches:
    """Records are read in their order and shuffled within a buffer of a hundred."""
    batches: list[IntArray] = []
    for _ in range(TRACED.steps // 20):
        held, order = list(range(100)), []
        for record in range(100, TRACED_RECORDS + 100):
            place = int(rng.integers(len(held)))
            order.append(held[place])
            held[place] = record
            if record >= TRACED_RECORDS:
                held.pop(place)
        batches += np.split(np.array(order), 20)
    return RecordedBatches(TRACED_RECORDS, batches)


def resumed(rng: np.random.Generator) -> RecordedBatches:
    """The accountant forgot half of the steps."""
    return replace(poisson(rng), accounted_steps=TRACED.steps // 2)


def noise_per_accumulation(rng: np.random.Generator) -> RecordedBatches:
    """Noise at one update in four."""
    return replace(poisson(rng), noise_draws=TRACED.steps // 4)
