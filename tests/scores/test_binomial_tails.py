"""Exact tails of counts, by enumeration of every outcome of small cases."""

from itertools import combinations, product
from math import prod

import numpy as np
import pytest
from scipy.stats import binom

from dpaudit.scores.binomial_tails import found_with, spread, tied_at_most, too_large


@pytest.mark.parametrize(("counts", "trials", "rate"), [(3, 4, 0.3), (4, 3, 0.5), (2, 6, 0.15)])
@pytest.mark.parametrize("level", [0.5, 0.2, 0.05])
def test_independent_counts_are_said_to_differ_no_more_often_than_stated(
    counts: int, trials: int, rate: float, level: float
) -> None:
    """The chance over all outcomes of fair counts, summed without simulation, is at most the level."""
    alarms = large = 0.0
    for outcome in product(range(trials + 1), repeat=counts):
        chance = prod(float(binom.pmf(count, trials, rate)) for count in outcome)
        found = spread(np.array(outcome), trials, rate, level)
        alarms += chance * (found.above is not None or found.below is not None or found.even)
        large += chance * too_large(np.array(outcome), trials, rate, level)
    assert alarms <= level
    assert large <= level


@pytest.mark.parametrize(("records", "size", "steps"), [(4, 2, 3), (4, 1, 4), (5, 2, 3)])
@pytest.mark.long
def test_so_are_counts_of_records_drawn_without_replacement(records: int, size: int, steps: int) -> None:
    """Every sequence of fixed-size batches, each as likely: at a level of 0.3 no more alarms than that."""
    batches = list(combinations(range(records), size))
    alarms = large = 0
    for drawn in product(batches, repeat=steps):
        counts = np.bincount(np.concatenate(drawn), minlength=records)
        found = spread(counts, steps, size / records, 0.3, independent=False)
        alarms += found.above is not None or found.below is not None or found.even
        large += too_large(counts, steps, size / records, 0.3)
    assert alarms <= 0.3 * len(batches) ** steps
    assert large <= 0.3 * len(batches) ** steps


@pytest.mark.parametrize("independent", [True, False])
def test_each_way_to_differ_is_told(independent: bool) -> None:
    """Too many high counts, too many low ones, and too few of either, at a level of 1e-6; fixed seed."""
    rng = np.random.default_rng(0)
    fair = rng.binomial(200, 0.05, 1000)
    assert spread(fair, 200, 0.05, 1e-6, independent=independent) == spread(fair[:0], 200, 0.05, 1e-6)
    often = spread(np.append(fair, rng.binomial(200, 0.2, 50)), 200, 0.05, 1e-6, independent=independent)
    assert often.above is not None
    assert often.below is None
    seldom = spread(np.append(fair, np.zeros(30, int)), 200, 0.05, 1e-6, independent=independent)
    assert seldom.below is not None
    assert seldom.above is None
    assert spread(np.full(1000, 10), 200, 0.05, 1e-6, independent=independent).even


@pytest.mark.parametrize(("size", "trials", "rate"), [(3, 2, 0.3), (4, 3, 0.5)])
def test_ties_at_the_top_by_enumeration(size: int, trials: int, rate: float) -> None:
    """The chance of as many counts at the largest value is the sum over all outcomes of the counts."""
    chances = binom.pmf(np.arange(trials + 1), trials, rate)
    outcomes = [np.array(each) for each in product(range(trials + 1), repeat=size)]
    ties = np.array([(each == each.max()).sum() for each in outcomes])
    weights = np.array([chances[each].prod() for each in outcomes])
    for tied in range(1, size + 1):
        counts = np.array([trials] * tied + [0] * (size - tied))
        assert tied_at_most(counts, trials, rate) == pytest.approx(weights[ties >= tied].sum())


def test_the_rate_that_is_found_is_found_as_often_as_said() -> None:
    """One record among 1,000 with 200 fair coins at 0.05, by the exact tail of its own count."""
    rate = found_with(1000, 200, 0.05, 1e-6)
    caught = sum(
        float(binom.pmf(count, 200, rate))
        for count in range(201)
        if too_large(np.append(np.full(999, 10), count), 200, 0.05, 1e-6)
    )
    assert caught == pytest.approx(0.8, abs=1e-6)
