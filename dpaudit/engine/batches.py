"""Which records are in which batch: drawn outside TensorFlow, from (seed, model, step) alone, so they can be checked.

Each way to sample is the event its accountant is told (`dpaudit.accounting.claim`): Poisson, truncated Poisson, fixed
size, shuffled.
"""

from bisect import bisect_left
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.special import bdtrc

from dpaudit.accounting.claim import FixedSize, Poisson, Sampling, SamplingName, Shuffled, TruncatedPoisson
from dpaudit.engine.keys import generator
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError

Batches = npt.NDArray[np.int32]
BLOCK = 64  # steps drawn from one generator: making one costs more than drawing a small batch
# A slack s leaves no ε above ln(δ/s) to state: with this one, 200 is left for any δ down to 1e-13. Longer batches cost
# next to nothing, as what no copy fills is not computed.
TOLERANCE = 1e-100


def sampling_event(
    name: SamplingName, records: int, batch_size: int, *, drop_remainder: bool = False, largest_batch: int | None = None
) -> Sampling:
    """What the accountant is told of batches of (expected) ``batch_size`` out of ``records``.

    ``drop_remainder``: of shuffled batches the last one is left out when it is not full. ``largest_batch``: at which
    truncated Poisson batches are cut.

    >>> sampling_event("poisson", 1000, 100)
    Poisson(rate=0.1)
    >>> sampling_event("shuffled", 1090, 100, drop_remainder=True)
    Shuffled(batches_per_epoch=10)
    """
    if records < batch_size:
        raise InputError(f"batch_size {batch_size} is larger than the {records} training records.")
    if name == "poisson":
        return Poisson(batch_size / records)
    if name == "truncated-poisson":
        if largest_batch is None:
            raise InputError("truncated-poisson batches need largest_batch, the size at which they are cut.")
        return TruncatedPoisson(batch_size / records, largest_batch, records)
    if name == "fixed-size":
        return FixedSize(batch_size, records)
    return Shuffled(records // batch_size if drop_remainder else -(-records // batch_size))


def longest_batch(
    sampling: Sampling, records: int, batch_size: int, steps: int, *, tolerance: float
) -> tuple[int, float]:
    """The length batches are padded to, and a bound on the probability that any of ``steps`` batches is longer.

    A longer Poisson batch is cut, which leaves the procedure the accountant assumed; the bound (a union over the
    steps of the binomial tail) is the slack that is added to δ.

    >>> longest_batch(Poisson(0.1), 1000, 100, 100, tolerance=1e-9)[0]
    169
    >>> longest_batch(Poisson(0.1), 1000, 100, 100, tolerance=1e-100)[0]
    352
    >>> longest_batch(FixedSize(100, 1000), 1000, 100, 100, tolerance=1e-9)
    (100, 0.0)
    """
    check.open_unit("tolerance", tolerance)
    if isinstance(sampling, TruncatedPoisson):  # where the cut is accounted for
        return min(sampling.largest_batch, records), 0.0
    if not isinstance(sampling, Poisson):
        return batch_size, 0.0

    def slack(length: int) -> float:
        return float(min(1.0, steps * bdtrc(length, records, sampling.rate)))

    # SciPy's inverse of the tail goes through 1 - tolerance, which is 1 below 1e-16; the tail itself is right.
    length = bisect_left(range(records), True, lo=1, key=lambda length: slack(length) <= tolerance)
    return length, slack(length)


def draw(sampling: Sampling, records: int, *, seed: int, model: int, steps: range, length: int) -> Batches:
    """Record numbers of the batches of some steps, shape (steps, length), -1 where a batch is shorter.

    A Poisson batch longer than ``length`` keeps a uniformly chosen part of it.
    """
    batches = np.full((len(steps), length), -1, np.int32)
    if isinstance(sampling, Shuffled):
        for epoch, chosen in _grouped(steps, sampling.batches_per_epoch):
            order = np.full(sampling.batches_per_epoch * length, -1, np.int64)
            used = min(records, order.size)  # fewer when the remainder is dropped
            order[:used] = generator(seed, model, "shuffle", epoch).permutation(records)[:used]
            parts = order.reshape(sampling.batches_per_epoch, length)
            batches[chosen] = parts[np.array(steps)[chosen] % sampling.batches_per_epoch]
        return batches
    for block, chosen in _grouped(steps, BLOCK):
        kept = np.array(steps)[chosen] % BLOCK
        if isinstance(sampling, FixedSize):
            rng = generator(seed, model, "fixed-size", block)
            drawn = [rng.choice(records, sampling.batch_size, replace=False, shuffle=False) for _ in range(BLOCK)]
            batches[chosen, : sampling.batch_size] = np.array(drawn)[kept]
        else:
            rng = generator(seed, model, "poisson", block)
            batches[chosen] = _coins(rng, sampling.rate, records, length)[kept]
    return batches


def _coins(rng: np.random.Generator, rate: float, records: int, length: int) -> Batches:
    """Poisson batches of a block of steps."""
    steps, members = np.divmod(np.flatnonzero(rng.random((BLOCK, records)) < rate), records)
    sizes = np.bincount(steps, minlength=BLOCK)
    place = np.arange(steps.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    for long in np.flatnonzero(sizes > length):
        within = steps == long
        place[within] = rng.permutation(sizes[long])
    fitting = place < length
    batches = np.full((BLOCK, length), -1, np.int32)
    batches[steps[fitting], place[fitting]] = members[fitting]
    return batches


def _grouped(steps: range, size: int) -> Iterator[tuple[int, slice]]:
    """Each block of ``size`` steps that ``steps`` touches, with the part of ``steps`` in it."""
    for block in range(steps.start // size, -(-steps.stop // size)):
        low, high = max(steps.start, block * size), min(steps.stop, (block + 1) * size)
        yield block, slice(low - steps.start, high - steps.start)
