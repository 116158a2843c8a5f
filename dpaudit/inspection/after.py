"""What a mechanism does to its noisy sum before it releases it: undone where it can be, else named with the reason.

Post-processing costs no privacy, and it hides what the noise is like. A mechanism that states it is asked about the
noisy sum behind it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError

MOST_DIVIDED = 0.99  # a memory that forgets more slowly loses the digits of what is new


@dataclass(frozen=True)
class Momentum:
    """u ← decay·u + (1 - dampening)·g, and u is released. A moving average has ``dampening`` equal to ``decay``."""

    decay: float
    dampening: float = 0.0

    def __post_init__(self) -> None:
        check.probability("decay", self.decay)
        check.probability("dampening", self.dampening)
        if self.dampening > MOST_DIVIDED:
            raise InputError(f"dampening must be at most {MOST_DIVIDED}, got {self.dampening!r}.")

    def undo(self, now: list[FloatArray], before: list[FloatArray]) -> list[FloatArray]:
        """The noisy gradient behind two releases that follow each other."""
        return [(n - self.decay * b) / (1 - self.dampening) for n, b in zip(now, before, strict=True)]


@dataclass(frozen=True)
class WeightDecay:
    """g + rate·w is released, for weights w that stay as they are while the mechanism is inspected."""

    rate: float
    weights: tuple[npt.NDArray[np.floating[Any]], ...]

    def undo(self, now: list[FloatArray], _: list[FloatArray]) -> list[FloatArray]:
        """The noisy gradient behind a release."""
        return [n - self.rate * np.asarray(w, np.float64) for n, w in zip(now, self.weights, strict=True)]


@dataclass(frozen=True)
class Opaque:
    """A step that cannot be undone: Adam's division, top-k, rounding after the noise.

    Args:
        name: what it is.
        reason: why the noisy sum does not follow from it.
    """

    name: str
    reason: str


ADAM = Opaque("Adam", "it divides by the root of its own square, which leaves little but the sign")
TOP_K = Opaque("top-k", "it leaves out coordinates")
ROUNDED = Opaque("rounding", "it leaves out digits")

After = Momentum | WeightDecay | Opaque
