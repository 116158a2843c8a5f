"""Work on (models, records) arrays in blocks of records, so that what is held beside them stays small."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit._check import FloatArray

BLOCK_BYTES = 8 * 2**20  # of one array in a block, as float64: a few of them fit a processor's cache, all fit memory


def over_records(
    work: Callable[..., tuple[FloatArray, ...]], *arrays: npt.NDArray[Any], block_bytes: int = BLOCK_BYTES
) -> tuple[FloatArray, ...]:
    """What ``work`` makes of blocks of records, put together again.

    Args:
        work: arrays (models, some records) -> arrays (some records,), record by record.
        arrays: each (models, records), in memory or mapped from disk.
        block_bytes: of one array in a block, as float64.

    >>> over_records(lambda phi: (phi.sum(axis=0),), np.ones((2, 5)), block_bytes=32)
    (array([2., 2., 2., 2., 2.]),)
    """
    models, records = arrays[0].shape
    size = max(1, block_bytes // (8 * max(1, models)))
    parts = [work(*(array[:, at : at + size] for array in arrays)) for at in range(0, max(records, 1), size)]
    return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))
