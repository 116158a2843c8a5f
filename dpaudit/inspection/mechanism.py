"""What is inspected: a callable that turns per-example gradients into a private one, and what it says of itself."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dpaudit.accounting.claim import ADJACENCIES, Adjacency
from dpaudit.accounting.law import GAUSSIAN, Law, correlated
from dpaudit.inspection.after import After
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError

Array = npt.NDArray[np.floating[Any]]
Release = Callable[[Sequence[Array]], Sequence[Array]]

# Two variables of one shape, because a random key used twice shows only where the shapes agree.
SHAPES: tuple[tuple[int, ...], ...] = ((12, 8), (12, 8), (80,))


@dataclass(frozen=True)
class Mechanism:
    """A mechanism under test.

    Args:
        release: per-example gradients, a list of arrays (batch, \\*shape), one per variable -> the privatised gradient,
            a list of arrays (\\*shape). Called many times; a mechanism with memory keeps it between calls.
        shapes: shapes of the variables it is probed with.
        batch_size: examples in an ordinary batch.
        partial: whether it takes batches of other sizes than ``batch_size``.
        reset: puts the mechanism back to its start, noise included, so that two calls can be compared without their
            noise. Without it the same questions are answered by repetition.
        state: everything else that is published after a call (moving averages, optimizer slots, metrics).
        fresh: builds the mechanism anew, to see whether two trainings share their noise.
        after: steps between the noisy sum and the release, in their order: `Momentum`, `WeightDecay`, or one that
            cannot be undone (`ADAM`, `TOP_K`, `ROUNDED`), all in `dpaudit.inspection.after`. They cost no privacy. What
            they remember starts at zero, and ``reset`` puts it back.
        name: what a report calls it.

    >>> Mechanism(lambda gradients: [g.sum(axis=0) for g in gradients], name="a bare sum").batch_size
    32
    """

    release: Release
    shapes: tuple[tuple[int, ...], ...] = SHAPES
    batch_size: int = 32
    partial: bool = True
    reset: Callable[[], None] | None = None
    state: Callable[[], Sequence[Array]] | None = None
    fresh: Callable[[], "Mechanism"] | None = None
    after: tuple[After, ...] = ()
    name: str = "mechanism"

    def __post_init__(self) -> None:
        if not callable(self.release):
            raise InputError(
                f"the mechanism must be a callable (per-example gradients in, gradient out), got {self.release!r}."
            )
        check.integer("batch_size", self.batch_size, at_least=4)
        if not self.shapes or any(size < 1 for shape in self.shapes for size in shape):
            raise InputError(f"shapes must be a non-empty list of shapes without zeros, got {self.shapes!r}.")
        if self.state is not None and self.reset is None:
            raise InputError("state can only be compared between calls of equal noise: give reset too.")


@dataclass(frozen=True)
class Stated:
    """What the mechanism says of itself: (Σ clip(gᵢ, clip) + N(0, (noise_multiplier·clip)²)) / denominator.

    Args:
        clip: L2 norm C each example's gradient is clipped to, over all variables together.
        noise_multiplier: standard deviation of the noise over C.
        denominator: the fixed number the noisy sum is divided by; ``batch`` for the size of the batch at hand.
        adjacency: neighbouring data sets of the claim; with ``add-remove`` the size of a batch is itself private.
        law: of the noise. Under Laplace noise ``clip`` bounds the L1 norm, and the noise's scale takes the place of its
            standard deviation.

    >>> Stated(clip=1.0, noise_multiplier=1.1, denominator=256).noise(batch_size=250)
    0.004296875
    """

    clip: float
    noise_multiplier: float
    denominator: float | Literal["batch"]
    adjacency: Adjacency = "add-remove"
    law: Law = GAUSSIAN

    def __post_init__(self) -> None:
        check.positive("clip", self.clip)
        check.nonnegative("noise_multiplier", self.noise_multiplier)
        check.one_of("adjacency", self.adjacency, ADJACENCIES)
        if self.denominator != "batch":
            check.positive("denominator", self.denominator)

    def divisor(self, batch_size: int) -> float:
        """What a batch of this size is divided by."""
        return float(max(batch_size, 1)) if self.denominator == "batch" else float(self.denominator)

    def noise(self, batch_size: int) -> float:
        """Standard deviation of the released noise, per coordinate; the scale of another law than a Gaussian one."""
        return self.noise_multiplier * self.clip / self.divisor(batch_size)

    def first_noise(self, batch_size: int) -> float:
        """`noise` at the first step, which differs where noise is correlated over the steps."""
        covariance = correlated(self.law)
        return self.noise(batch_size) * (1.0 if covariance is None else math.sqrt(float(covariance[0, 0])))

    def length(self, vector: FloatArray) -> float:
        """Norm in which one example is bounded."""
        return float(np.linalg.norm(vector, self.law.norm))

    def sensitivity(self, batch_size: int) -> float:
        """Most one example may move the release, in that norm: 2C when it is replaced, C otherwise."""
        return self.clip * (2 if self.adjacency == "replace-one" else 1) / self.divisor(batch_size)

    def clipped_sum(self, gradients: Sequence[Array]) -> list[FloatArray]:
        """Σ clip(gᵢ, C) / denominator: the release without its noise."""
        flat = np.concatenate(
            [np.reshape(g, (len(g), int(np.prod(g.shape[1:])))).astype(np.float64) for g in gradients], axis=1
        )
        norms = np.linalg.norm(flat, self.law.norm, axis=1)
        factor = np.minimum(1.0, self.clip / np.maximum(norms, np.finfo(np.float64).tiny))
        return [np.tensordot(factor, g.astype(np.float64), axes=1) / self.divisor(len(g)) for g in gradients]
