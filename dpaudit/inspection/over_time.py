"""Do batches depend on the ones before them? Each must be drawn as if the others had not been there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpaudit.accounting.claim import FixedSize, Sampling, Shuffled, TruncatedPoisson
from dpaudit.inspection.recorded import presence
from dpaudit.runtime.check import FloatArray, IntArray

LAGS = 64  # batches back, with which each is compared
EPOCHS = 2  # back
NEAR = 10  # places are near each other within this part of an epoch


@dataclass(frozen=True)
class Dependence:
    """Batches that share more, or less, with earlier ones than independent batches do.

    Args:
        what: was compared, in words.
        seen: records that were shared, over all batches compared.
        expected: of independent batches, on average.
    """

    what: str
    seen: int
    expected: float


def dependent(batches: Sequence[IntArray], records: int, sampling: Sampling, level: float) -> Dependence | None:
    """What is least likely of independent batches; None when nothing is unlikely at the level.

    Given the sizes, what a batch shares with an earlier one is hypergeometric, whatever the earlier one holds. The
    moments of a hypergeometric number are below those of a binomial one (Hoeffding 1963), which bounds the tails of
    sums. In shuffled epochs the records that come back near their place have the tails of `Chatterjee (2007)
    <https://arxiv.org/abs/math/0507526>`_.

    Args:
        batches: records of each step.
        records: in the data.
        sampling: as accounted.
        level: chance of a finding where batches are independent.

    >>> from dpaudit.accounting.claim import Poisson
    >>> rng = np.random.default_rng(0)
    >>> drawn = [np.flatnonzero(rng.random(200) < 0.1) for _ in range(100)]
    >>> dependent(drawn, 200, Poisson(0.1), 1e-6) is None
    True
    >>> kept = [np.union1d(new, old[::2]) for new, old in zip(drawn[1:], drawn)]
    >>> dependent(kept, 200, Poisson(0.15), 1e-6).what
    'batches 1 step apart'
    """
    if isinstance(sampling, Shuffled):
        return _places(batches, records, sampling.batches_per_epoch, level)
    present = presence(batches, records)
    sizes = present.sum(axis=0)
    lags = range(1, min(LAGS, len(batches) - 1) + 1)
    worst: tuple[float, Dependence] | None = None
    for lag in lags:
        seen = int((present[:, lag:] & present[:, :-lag]).sum())
        expected = float((sizes[lag:] * sizes[:-lag]).sum()) / records
        chance = _tail(seen, expected) * 2 * len(lags)
        if chance < level and (worst is None or chance < worst[0]):
            steps = "1 step" if lag == 1 else f"{lag} steps"
            worst = chance, Dependence(f"batches {steps} apart", seen, expected)
    return None if worst is None else worst[1]


def repeats(batches: Sequence[IntArray], records: int, sampling: Sampling, level: float) -> int:
    """How many batches are the same as an earlier one, where chance repeats none at the level; 0 otherwise.

    >>> from dpaudit.accounting.claim import Poisson
    >>> rng = np.random.default_rng(0)
    >>> drawn = [np.flatnonzero(rng.random(1000) < 0.05) for _ in range(20)]
    >>> repeats(drawn, 1000, Poisson(0.05), 1e-6), repeats([*drawn, *drawn[-3:]], 1000, Poisson(0.05), 1e-6)
    (0, 3)
    """
    pairs = max(1, len(batches) * (len(batches) - 1) // 2)
    match sampling:
        case FixedSize(batch_size=size):
            ways = _ways(records, size)
        case Shuffled(batches_per_epoch=batches_per_epoch):
            ways = _ways(records, records // batches_per_epoch)
        case _:
            ways = -records * math.log(sampling.rate**2 + (1 - sampling.rate) ** 2)
            if isinstance(sampling, TruncatedPoisson):  # two batches agree where neither is full, or both are
                ways = -float(np.logaddexp(-ways, -_ways(records, sampling.largest_batch)))
    if math.log(pairs) - ways >= math.log(level):
        return 0
    keys = [np.sort(np.asarray(batch, np.int64)).tobytes() for batch in batches if len(batch)]
    return len(keys) - len(set(keys))


def _ways(records: int, size: int) -> float:
    """Logarithm of the number of batches of a size."""
    return math.lgamma(records + 1) - math.lgamma(size + 1) - math.lgamma(max(0, records - size) + 1)


def _tail(seen: float, expected: float) -> float:
    """Chernoff's bound on either tail of a sum of such numbers."""
    if expected == 0:
        return 1.0
    return math.exp(-((seen * math.log(seen / expected) if seen else 0.0) - seen + expected))


def _places(batches: Sequence[IntArray], records: int, per_epoch: int, level: float) -> Dependence | None:
    """Records that come back near their place of an earlier epoch, or near its mirror image."""
    epochs = [batches[start : start + per_epoch] for start in range(0, len(batches) - per_epoch + 1, per_epoch)]
    where = np.full((len(epochs), records), -1)
    for number, epoch in enumerate(epochs):
        for place, batch in enumerate(epoch):
            where[number, np.asarray(batch, np.int64)] = place
    asked = [(lag, turned) for lag in range(1, EPOCHS + 1) for turned in (False, True) if lag < len(epochs)]
    worst: tuple[float, Dependence] | None = None
    for lag, turned in asked:
        for before, after in zip(where[:-lag], where[lag:], strict=True):
            both = (before >= 0) & (after >= 0)
            old = per_epoch - 1 - before[both] if turned else before[both]
            seen, expected = _near(old, after[both], per_epoch)
            gap = abs(seen - expected)
            chance = 2 * math.exp(-(gap**2) / (4 * expected + 2 * gap)) if gap else 1.0
            chance *= len(asked) * len(epochs)
            if chance < level and (worst is None or chance < worst[0]):
                image = "the mirror image of " if turned else ""
                what = f"records near {image}their place {'an epoch' if lag == 1 else f'{lag} epochs'} before"
                worst = chance, Dependence(what, seen, expected)
    return None if worst is None else worst[1]


def _near(old: IntArray, new: IntArray, places: int) -> tuple[int, float]:
    """How many new places are near the old ones, and how many would be in a new order."""
    width = places // NEAR
    share: FloatArray = np.bincount(new, minlength=places) / max(1, len(new))
    sums = np.concatenate([[0.0], np.cumsum(share)])
    near = sums[np.minimum(old + width + 1, places)] - sums[np.maximum(old - width, 0)]
    return int((np.abs(old - new) <= width).sum()), float(near.sum())
