"""Who is in which model, as bits: what a task is sent."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dpaudit.runtime.check import BoolArray


@dataclass(frozen=True, eq=False)
class Packed:
    """A mask in an eighth of its bytes.

    Args:
        bits: along the last axis.
        records: length of the last axis.

    >>> Packed.of(np.array([[True, False, True]])).mask
    array([[ True, False,  True]])
    """

    bits: npt.NDArray[np.uint8]
    records: int

    @classmethod
    def of(cls, mask: BoolArray) -> "Packed":
        """Of a mask, shape (..., records)."""
        return cls(np.packbits(mask, axis=-1), mask.shape[-1])

    @property
    def mask(self) -> BoolArray:
        """The mask again."""
        return np.unpackbits(self.bits, axis=-1, count=self.records).astype(bool)
