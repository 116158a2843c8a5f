"""What a client can do to its gradient before sending it, and the ε of it when there is one."""

from dataclasses import dataclass

import numpy as np

from dpaudit.accounting.claim import FULL_BATCH, GaussianSteps
from dpaudit.attacks.gradient.view import Arrays
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError


@dataclass(frozen=True)
class Defence:
    """Clipping, noise, pruning and quantisation, in this order. Only clipping with noise has an ε.

    Args:
        clip: norm each record's gradient (or a client's whole update) is clipped to; infinite does not clip.
        noise_multiplier: standard deviation of the Gaussian noise on the sum of clipped gradients, over ``clip``.
        keep: share of the coordinates that are sent, the largest of each array.
        bits: bits per coordinate after uniform quantisation of each array; 64 leaves values as they are.

    >>> Defence(clip=1.0, noise_multiplier=0.5).mechanism
    GaussianSteps(noise_multiplier=0.5, steps=1, sampling=Poisson(rate=1.0), slack=0.0, unit='record')
    """

    clip: float = np.inf
    noise_multiplier: float = 0.0
    keep: float = 1.0
    bits: int = 64

    def __post_init__(self) -> None:
        if not self.clip > 0:
            raise InputError(f"clip must be above 0, got {self.clip!r}.")
        check.nonnegative("noise_multiplier", self.noise_multiplier)
        check.integer("bits", self.bits, at_least=1, at_most=64)
        if not 0 < check.number("keep", self.keep) <= 1:
            raise InputError(f"keep must be in (0, 1], got {self.keep!r}.")
        if self.noise_multiplier and np.isinf(self.clip):
            raise InputError("noise_multiplier is relative to the clip norm: give clip as well.")

    @property
    def mechanism(self) -> GaussianSteps | None:
        """What an accountant is told about one release; None without noise."""
        return GaussianSteps(self.noise_multiplier, 1, FULL_BATCH) if self.noise_multiplier else None

    @property
    def deviation(self) -> float:
        """Standard deviation of the noise on a sum."""
        return self.noise_multiplier * self.clip if self.noise_multiplier else 0.0

    @property
    def published_clip(self) -> float | None:
        """The clip norm; None where nothing is clipped."""
        return self.clip if np.isfinite(self.clip) else None

    def mean(self, each: Arrays, rng: np.random.Generator) -> Arrays:
        """Mean of per-record contributions (records, ...), each clipped as a whole, with noise on their sum."""
        records = len(each[0])
        norms = np.sqrt(sum((g.reshape(records, -1) ** 2).sum(1) for g in each))
        factor = np.minimum(1.0, self.clip / np.maximum(norms, 1e-300))
        return tuple(
            (np.tensordot(factor, g, axes=(0, 0)) + rng.normal(0, self.deviation, g.shape[1:])) / records for g in each
        )

    def compressed(self, arrays: Arrays) -> tuple[Arrays, tuple[BoolArray, ...] | None]:
        """Pruned and quantised arrays, and which coordinates were sent when some were not."""
        sent = None
        if self.keep < 1:
            sent = tuple(_largest(a, self.keep) for a in arrays)
            arrays = tuple(np.where(s, a, 0.0) for a, s in zip(arrays, sent, strict=True))
        if self.bits < 64:
            arrays = tuple(_quantised(a, self.bits) for a in arrays)
        return arrays, sent


def _largest(array: FloatArray, keep: float) -> BoolArray:
    count = max(1, round(keep * array.size))
    threshold = np.partition(np.abs(array).ravel(), array.size - count)[array.size - count]
    return np.asarray(np.abs(array) >= threshold)


def _quantised(array: FloatArray, bits: int) -> FloatArray:
    largest = np.abs(array).max()
    if largest == 0:
        return array
    steps = 2 ** (bits - 1) - 1 if bits > 1 else 1
    if bits == 1:  # the sign and one size per array
        return np.asarray(np.sign(array) * np.abs(array).mean())
    return np.asarray(np.round(array / largest * steps) / steps * largest)
