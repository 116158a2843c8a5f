"""Batches against earlier ones: bounds that hold for independent batches, and dependence that they find."""

import numpy as np
import pytest

from dpaudit.accounting.claim import FixedSize, Poisson, Sampling, Shuffled, TruncatedPoisson
from dpaudit.inspection.over_time import dependent, repeats
from dpaudit.runtime.check import IntArray

RECORDS = 60


def drawn(rng: np.random.Generator, sampling: Sampling, steps: int) -> list[IntArray]:
    """Batches as accounted."""
    if isinstance(sampling, Poisson):
        return [np.flatnonzero(rng.random(RECORDS) < sampling.rate) for _ in range(steps)]
    if isinstance(sampling, TruncatedPoisson):
        return [rng.permutation(batch)[: sampling.largest_batch] for batch in drawn(rng, Poisson(sampling.rate), steps)]
    if isinstance(sampling, FixedSize):
        return [rng.choice(RECORDS, sampling.batch_size, replace=False) for _ in range(steps)]
    epochs = steps // sampling.batches_per_epoch
    return [batch for _ in range(epochs) for batch in np.split(rng.permutation(RECORDS), sampling.batches_per_epoch)]


@pytest.mark.parametrize(
    "sampling", [Poisson(0.2), TruncatedPoisson(0.2, 12, RECORDS), FixedSize(12, RECORDS), Shuffled(10)]
)
def test_independent_batches_are_quiet_at_a_level_of_a_tenth(sampling: Sampling) -> None:
    """A tenth of alarms at most: in 200 trainings no more than 40, which a tenth passes with 6e-6; fixed seeds."""
    rng = np.random.default_rng(5)
    alarms = sum(dependent(drawn(rng, sampling, 40), RECORDS, sampling, 0.1) is not None for _ in range(200))
    assert alarms <= 40


@pytest.mark.parametrize("lag", [1, 3])
@pytest.mark.parametrize("sampling", [Poisson(0.2), FixedSize(12, RECORDS)])
def test_a_batch_that_keeps_half_of_an_earlier_one_is_found_at_its_distance(sampling: Sampling, lag: int) -> None:
    """Half of the records come from the batch so many steps before; expected is Σ sizes · sizes / records."""
    rng = np.random.default_rng(7)
    batches = drawn(rng, sampling, 100)
    for step in range(lag, 100):
        new = rng.permutation(batches[step])
        old = rng.permutation(batches[step - lag])[: len(new) // 2]
        batches[step] = np.append(old, np.setdiff1d(new, old))[: len(new)].astype(np.int64)
    found = dependent(batches, RECORDS, sampling, 1e-6)
    assert found is not None
    assert found.what.startswith(f"batches {lag} step")
    sizes = [len(batch) for batch in batches]
    assert found.expected == pytest.approx(sum(a * b for a, b in zip(sizes, sizes[lag:], strict=False)) / RECORDS)
    pairs = zip(batches, batches[lag:], strict=False)
    assert found.seen == sum(len(np.intersect1d(a, b)) for a, b in pairs)


def test_epochs_in_reverse_are_found() -> None:
    """Every second epoch runs backwards."""
    rng = np.random.default_rng(3)
    order = rng.permutation(1000)
    epochs = [np.split(order[:: 1 if e % 2 else -1], 20) for e in range(4)]
    found = dependent([batch for epoch in epochs for batch in epoch], 1000, Shuffled(20), 1e-6)
    assert found is not None


def test_small_batches_may_repeat() -> None:
    """Two of three records are a coincidence; fifty of a thousand are not."""
    rng = np.random.default_rng(1)
    assert repeats([np.array([0, 1])] * 5, 3, FixedSize(2, 3), 1e-6) == 0
    batch = rng.choice(1000, 50, replace=False)
    assert repeats([batch, rng.permutation(batch)], 1000, FixedSize(50, 1000), 1e-6) == 1
