"""What a mechanism does to its noisy sum before it releases it: undone where it can be, else named with the reason.

Post-processing costs no privacy, and it hides what the noise is like. A mechanism that states it is asked about the
noisy sum behind it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dpaudit.inspection.mechanism import Array, Mechanism
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
    weights: tuple[Array, ...]

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


def undone(mechanism: Mechanism) -> Mechanism:
    """The mechanism with the steps after its noise taken back, the last one first. Its memory must start at zero.

    >>> half = Mechanism(lambda g: [0.5 * x.sum(axis=0) for x in g], shapes=((2,),), after=(Momentum(0.0, 0.5),))
    >>> undone(half).release([np.ones((3, 2))])[0].tolist()
    [3.0, 3.0]
    """
    steps = [step for step in mechanism.after if not isinstance(step, Opaque)]
    if not steps:
        return mechanism
    start = [[np.zeros(shape) for shape in mechanism.shapes] for _ in steps]
    memory = [list(each) for each in start]

    def release(gradients: Sequence[Array]) -> list[FloatArray]:
        now = [np.asarray(array, np.float64) for array in mechanism.release(gradients)]
        for index in reversed(range(len(steps))):
            before, memory[index] = memory[index], now
            now = steps[index].undo(now, before)
        return now

    def reset() -> None:
        assert mechanism.reset is not None
        mechanism.reset()
        memory[:] = [list(each) for each in start]

    def fresh() -> Mechanism:
        assert mechanism.fresh is not None
        return undone(mechanism.fresh())

    return replace(
        mechanism,
        release=release,
        reset=None if mechanism.reset is None else reset,
        fresh=None if mechanism.fresh is None else fresh,
    )
