"""Pairs of records that are in the same batches more often than two of their own coins would bring them there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, hypergeom

from dpaudit.accounting.claim import Sampling, Shuffled
from dpaudit.inspection.recorded import presence
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray

MOST_RECORDS = 4000  # whose pairs are all looked at
CANDIDATES = 200  # pairs furthest from what is expected, whose exact tail is computed


@dataclass(frozen=True)
class Pair:
    """Two records that go together.

    Args:
        first: a record.
        second: another.
        both: batches that hold both.
        of_first: batches that hold the first.
        of_second: batches that hold the second.
        expected: batches that hold both, on average.
    """

    first: int
    second: int
    both: int
    of_first: int
    of_second: int
    expected: float


def together(batches: Sequence[IntArray], records: int, sampling: Sampling, level: float) -> Pair | None:
    """The pair of records least likely to be together so often; None when no pair is unlikely at the level.

    Given how often each is drawn, the batches that hold both are hypergeometric for coins, and fewer for batches of
    fixed size. In shuffled epochs they are binomial. All pairs share the level. Above `MOST_RECORDS` records only pairs
    that are always together are looked at.

    Args:
        batches: records of each step.
        records: in the data.
        sampling: as accounted.
        level: chance of a pair where there is none.

    >>> from dpaudit.accounting.claim import Poisson
    >>> rng = np.random.default_rng(0)
    >>> drawn = [np.flatnonzero(rng.random(50) < 0.1) for _ in range(200)]
    >>> together(drawn, 50, Poisson(0.1), 1e-6) is None
    True
    >>> found = together([np.union1d(b, [49]) if 3 in b else b[b != 49] for b in drawn], 50, Poisson(0.1), 1e-6)
    >>> found.first, found.second
    (3, 49)
    """
    present = presence(batches, records)
    counts = present.sum(axis=1)
    pairs = records * (records - 1) / 2
    first, second, both = _all(present, counts) if records <= MOST_RECORDS else _identical(present)
    if not first.size:
        return None
    if isinstance(sampling, Shuffled):
        share = _same_batch(batches, records, sampling.batches_per_epoch)
        chance = binom.sf(both - 1, -(-len(batches) // sampling.batches_per_epoch), share)
        expected = np.full(both.size, len(batches) / sampling.batches_per_epoch * share)
    else:
        chance = hypergeom.sf(both - 1, len(batches), counts[first], counts[second])
        expected = counts[first] * counts[second] / len(batches)
    least = int(np.argmin(chance))
    if chance[least] * pairs >= level:
        return None
    one, other = int(first[least]), int(second[least])
    return Pair(one, other, int(both[least]), int(counts[one]), int(counts[other]), float(expected[least]))


def _all(present: BoolArray, counts: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """The pairs whose batches in common are the most standard deviations above the expected."""
    matrix = present.astype(np.float32)
    share = (counts / present.shape[1]).astype(np.float32)
    scale = 1 / np.sqrt(np.maximum(counts * (1 - share), 1e-6)).astype(np.float32)
    common = matrix @ matrix.T
    surplus = common - np.outer(counts.astype(np.float32), share)
    surplus *= scale[:, None]
    surplus *= scale
    np.fill_diagonal(surplus, -np.inf)
    flat = surplus.ravel()
    kept = np.argpartition(flat, -min(flat.size, 2 * CANDIDATES))[-2 * CANDIDATES :]  # each pair is there twice
    first, second = np.unravel_index(kept, surplus.shape)
    once = first < second
    first, second = first[once], second[once]
    return first, second, common[first, second].astype(np.int64)


def _identical(present: BoolArray) -> tuple[IntArray, IntArray, IntArray]:
    """Pairs of records with the same batches."""
    packed = np.packbits(present, axis=1)
    order = np.lexsort(packed.T[::-1])
    same = (packed[order[1:]] == packed[order[:-1]]).all(axis=1)
    first, second = order[:-1][same], order[1:][same]
    return np.minimum(first, second), np.maximum(first, second), present[first].sum(axis=1)


def _same_batch(batches: Sequence[IntArray], records: int, per_epoch: int) -> float:
    """Chance that two records are in one batch of an epoch, the largest over the epochs."""
    sizes: FloatArray = np.array([len(batch) for batch in batches], np.float64)
    sizes = np.append(sizes, np.zeros(-sizes.size % per_epoch)).reshape(-1, per_epoch)
    return min(1.0, float((sizes * (sizes - 1)).sum(axis=1).max() / max(1, records * (records - 1))))
