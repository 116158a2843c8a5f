"""Statistics of the batches, against the sampling events the accountant is told."""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from dpaudit.accounting.claim import FixedSize, Poisson, Shuffled, TruncatedPoisson
from dpaudit.engine.batches import TOLERANCE, draw, longest_batch, sampling_event
from dpaudit.runtime.errors import InputError


def incidence(batches: np.ndarray, records: int) -> np.ndarray:  # type: ignore[type-arg]
    hits = np.zeros((len(batches), records))
    for row, batch in enumerate(batches):
        hits[row, batch[batch >= 0]] += 1
    return hits


def test_poisson_batches_are_independent_coins() -> None:
    """Sizes are binomial, every record is as likely, and records do not go together. False alarms below 1e-3."""
    records, rate, steps = 40, 0.3, 4000
    hits = incidence(draw(Poisson(rate), records, seed=1, model=0, steps=range(steps), length=records), records)
    assert set(np.unique(hits)) == {0, 1}
    sizes = np.bincount(hits.sum(axis=1).astype(int), minlength=records + 1)
    expected = steps * stats.binom(records, rate).pmf(np.arange(records + 1))
    kept = expected > 5
    observed = np.append(sizes[kept], sizes[~kept].sum())
    assert stats.chisquare(observed, np.append(expected[kept], expected[~kept].sum())).pvalue > 1e-4
    per_record = hits.sum(axis=0)
    assert stats.chi2(records).sf(((per_record - steps * rate) ** 2 / (steps * rate * (1 - rate))).sum()) > 1e-4
    correlations = np.corrcoef(hits.T)[np.triu_indices(records, 1)] * np.sqrt(steps)
    assert np.abs(correlations).max() < 5
    assert abs(np.corrcoef(hits[:-1].ravel(), hits[1:].ravel())[0, 1]) * np.sqrt(hits[1:].size) < 5


def test_fixed_size_batches_have_distinct_records() -> None:
    """Every batch holds exactly its size of different records, every pair of records as often."""
    hits = incidence(draw(FixedSize(5, 12), 12, seed=2, model=3, steps=range(3000), length=7), 12)
    assert (hits.sum(axis=1) == 5).all()
    assert hits.max() == 1
    pairs = (hits.T @ hits)[np.triu_indices(12, 1)]
    rate = 5 * 4 / (12 * 11)
    assert np.abs(pairs - 3000 * rate).max() < 5 * np.sqrt(3000 * rate * (1 - rate))


def test_shuffled_batches_cover_every_epoch_once() -> None:
    """Each epoch holds each record once, the last batch is shorter, and epochs have other orders."""
    batches = draw(Shuffled(4), 11, seed=3, model=0, steps=range(8), length=3)
    assert [(batch >= 0).sum() for batch in batches] == [3, 3, 3, 2] * 2
    for epoch in (batches[:4], batches[4:]):
        assert sorted(epoch[epoch >= 0]) == list(range(11))
    assert not np.array_equal(batches[:4], batches[4:])


@pytest.mark.long
def test_a_dropped_remainder_is_another_one_every_epoch() -> None:
    """Three full batches of eleven records an epoch; over many epochs each record is left out as often."""
    assert sampling_event("shuffled", 11, 3, drop_remainder=True) == Shuffled(3)
    hits = incidence(draw(Shuffled(3), 11, seed=3, model=0, steps=range(3 * 2000), length=3), 11)
    assert (hits.sum(axis=1) == 3).all()
    epochs = hits.reshape(2000, 3, 11).sum(axis=1)
    assert set(np.unique(epochs)) == {0, 1}
    assert np.abs(epochs.sum(axis=0) - 2000 * 9 / 11).max() < 5 * np.sqrt(2000 * 9 * 2 / 121)


@pytest.mark.parametrize("sampling", [Poisson(0.2), FixedSize(4, 20), Shuffled(5)])
def test_batches_depend_on_seed_model_and_step_alone(sampling: object) -> None:
    """Steps drawn later or one by one are the same; another model or seed is not."""
    whole = draw(sampling, 20, seed=1, model=2, steps=range(12), length=20 if isinstance(sampling, Poisson) else 4)  # type: ignore[arg-type]
    for step in (0, 7, 11):
        alone = draw(sampling, 20, seed=1, model=2, steps=range(step, step + 1), length=whole.shape[1])  # type: ignore[arg-type]
        np.testing.assert_array_equal(alone[0], whole[step])
    for seed, model in ((2, 2), (1, 3)):
        other = draw(sampling, 20, seed=seed, model=model, steps=range(12), length=whole.shape[1])  # type: ignore[arg-type]
        assert not np.array_equal(other, whole)


def test_a_batch_is_cut_as_rarely_as_stated() -> None:
    """The slack is the union bound over the steps of the exact binomial tail, and below the tolerance."""
    for records, rate, steps in ((5000, 0.05, 400), (100, 0.01, 10000), (60, 0.5, 10)):
        length, slack = longest_batch(Poisson(rate), records, round(records * rate), steps, tolerance=1e-7)
        tail = 1 - stats.binom(records, rate).pmf(np.arange(length + 1)).sum()
        assert slack <= 1e-7
        assert slack == pytest.approx(max(0, steps * tail), abs=1e-11)


def tail(records: int, rate: float, length: int) -> float:
    """Probability that a Poisson batch is longer, in exact fractions; beyond 300 more records nothing is left of it."""
    heads, both = Fraction(rate).as_integer_ratio()
    ways = (
        math.comb(records, size) * heads**size * (both - heads) ** (records - size)
        for size in range(length + 1, min(records, length + 300) + 1)
    )
    return float(Fraction(sum(ways), both**records))


@pytest.mark.parametrize("tolerance", [1e-9, 1e-30, TOLERANCE, 1e-250])
@pytest.mark.parametrize(("records", "rate"), [(1000, 3 / 64), (3000, 1 / 1024), (400, 0.5)])
def test_the_padding_is_the_shortest_that_keeps_the_tolerance(records: int, rate: float, tolerance: float) -> None:
    """However small the tolerance: exact sums are below it, and above it one record earlier."""
    length, slack = longest_batch(Poisson(rate), records, round(records * rate), 400, tolerance=tolerance)
    assert slack == pytest.approx(400 * tail(records, rate, length), rel=1e-6)
    assert slack <= tolerance < 400 * tail(records, rate, length - 1)


@pytest.mark.parametrize(("records", "rate"), [(1, 1.0), (5, 1.0), (60, 0.5), (3, 0.01)])
def test_batches_of_all_records_are_never_cut(records: int, rate: float) -> None:
    """Where every length below all the records is exceeded too often, the padding holds them all and costs no δ."""
    assert longest_batch(Poisson(rate), records, 1, 400, tolerance=TOLERANCE) == (records, 0.0)


def test_a_long_batch_is_cut_at_random() -> None:
    """Cut to 3 of 10 records that are all in, every record stays as often. False alarm below 1e-4."""
    hits = incidence(draw(Poisson(1.0), 10, seed=1, model=0, steps=range(2000), length=3), 10)
    assert (hits.sum(axis=1) == 3).all()
    assert stats.chisquare(hits.sum(axis=0)).pvalue > 1e-4


def test_truncated_batches_have_the_rates_that_are_accounted() -> None:
    """No batch is longer, none is padded, and a record is in as many as `kept` says; false alarm below 1e-4."""
    sampling = sampling_event("truncated-poisson", 20, 10, largest_batch=9)
    assert sampling == TruncatedPoisson(0.5, 9, 20)
    assert longest_batch(sampling, 20, 10, 400, tolerance=TOLERANCE) == (9, 0.0)
    hits = incidence(draw(sampling, 20, seed=1, model=0, steps=range(2000), length=9), 20)
    assert hits.sum(axis=1).max() == 9
    assert stats.binomtest(int(hits[:, 0].sum()), 2000, sampling.kept).pvalue > 1e-4
    assert stats.binomtest(int((hits.sum(axis=1) == 9).sum()), 2000, float(stats.binom.sf(8, 20, 0.5))).pvalue > 1e-4
    with pytest.raises(InputError, match="need largest_batch"):
        sampling_event("truncated-poisson", 20, 10)


def test_events() -> None:
    """Each way to sample is told to the accountant as what it is; a batch larger than the data is refused."""
    assert sampling_event("poisson", 100, 10) == Poisson(0.1)
    assert sampling_event("fixed-size", 100, 10) == FixedSize(10, 100)
    assert sampling_event("shuffled", 101, 10) == Shuffled(11)
    with pytest.raises(InputError, match="batch_size 11 is larger than the 10 training records"):
        sampling_event("poisson", 10, 11)
