"""One long run of a mechanism on batches that sum to zero: every check of its noise reads this one record.

The batches hold nothing, or gradients in pairs that cancel, of many magnitudes and two sizes; what is released is noise
whatever the clip does. Noise is kept as normal scores of the law that is stated (`dpaudit.accounting.law`), relative to
the noise of its own kind of batch, so that a learning rate or a wrong denominator does not show in its shape.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import special

from dpaudit.inspection.mechanism import Array
from dpaudit.inspection.probe import Probe
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray

# Two float32 draws are equal with probability 2^-23 or so; on a grid of 1/40,000 of the deviation with 2^-17.
COINCIDENCE = 2.0**-17
OF_VALUES = 100_000  # whose equal pairs are counted
FAR = 1e-9  # chance with which a kind of batch is left out of the checks because its releases have a mean


@dataclass(frozen=True)
class Kind:
    """A batch whose clipped gradients sum to zero."""

    words: str
    batch: Array
    share: float  # of the run

    @property
    def empty(self) -> bool:
        """Whether it holds nothing but zeros."""
        return not self.batch.any()


@dataclass(frozen=True)
class Projection:
    """A direction in which all coordinates of a variable, or of several, are added up."""

    words: str
    unit: FloatArray


@dataclass(frozen=True)
class NoiseRun:
    """What a long run released, as normal scores in units of the stated noise.

    Args:
        kinds: the kinds of batches.
        kind: which of them each call got, shape (calls,).
        squares: sum of squares of each call within each variable, (calls, variables).
        kept: draws of the coordinates in ``where``, (calls, kept).
        values: the same as they were released, for their spacing.
        where: coordinates that are kept.
        coordinates: sum of squares of each coordinate over the calls of each kind, (kinds, coordinates).
        projections: what the calls gave in chosen directions, (calls, directions).
        directions: which those are.
        axes: for each variable and axis, the mean square of means along that axis times its length: 1 for independent
            draws, relative to the variable's own, on batches of zeros; and the number of means.
        pairs: cosine between the draws of two variables on batches of zeros, and how many numbers it is made from.
        sizes: coordinates of each variable.
        shifted: sums of products of coordinates at each distance within one call, over some calls on batches of zeros.
        shifts: how many calls those were.
    """

    kinds: tuple[Kind, ...]
    kind: IntArray
    squares: FloatArray
    kept: FloatArray
    values: FloatArray
    where: IntArray
    coordinates: FloatArray
    projections: FloatArray
    directions: tuple[Projection, ...]
    axes: dict[tuple[int, int], tuple[float, int]]
    pairs: dict[tuple[int, int], tuple[float, int]]
    sizes: IntArray
    shifted: FloatArray
    shifts: int

    @property
    def calls(self) -> int:
        """Calls of the run."""
        return len(self.kind)

    @cached_property
    def level(self) -> FloatArray:
        """Noise on each kind of batch over the stated noise, within each variable, (kinds, variables)."""
        mean = [self.squares[self.kind == index].mean(axis=0) for index in range(len(self.kinds))]
        return np.sqrt(np.array(mean) / self.sizes)

    @cached_property
    def relative(self) -> FloatArray:
        """`level` of each call's kind of batch, (calls, variables)."""
        found: FloatArray = self.level[self.kind]
        return found

    @cached_property
    def variable(self) -> IntArray:
        """The variable of each kept coordinate."""
        return np.searchsorted(np.cumsum(self.sizes), self.where, side="right").astype(np.int64)

    @cached_property
    def sound(self) -> BoolArray:
        """Calls whose kind of batch sums to zero as it should: a wrong clip is not a matter of the noise."""
        means = []
        for index in range(len(self.kinds)):
            rows = self.kept[self.kind == index] / np.maximum(self.level[index][self.variable], 1e-300)
            means.append(special.chdtrc(rows.shape[1], float(np.square(rows.mean(axis=0)).sum()) * len(rows)))
        shifted = np.array(means) < FAR
        if shifted[0]:  # batches of zeros too: it is the noise that repeats itself
            return np.ones(self.calls, bool)
        return ~shifted[self.kind]

    @cached_property
    def scaled(self) -> FloatArray:
        """Kept draws of sound calls over the noise of their kind and variable; 0 where there is no noise."""
        scale = self.relative[self.sound][:, self.variable]
        kept = self.kept[self.sound]
        return np.divide(kept, scale, out=np.zeros_like(kept), where=scale > 0)

    @cached_property
    def spacing(self) -> float:
        """Smallest distance of two values that are released, where they repeat as on a grid; 0 where they do not."""
        values = self.values[self.kind == 0].ravel()[:OF_VALUES]
        if coincidences(values) < COINCIDENCE:
            return 0.0
        return float(np.diff(np.unique(values)).min(initial=np.inf)) if np.ptp(values) else 0.0

    def without(self, calls: BoolArray) -> "NoiseRun":
        """The run without these calls."""
        left = ~calls
        # Such steps hold next to no noise, so what they add to the sums over the calls is next to nothing.
        return replace(
            self,
            kind=self.kind[left],
            squares=self.squares[left],
            kept=self.kept[left],
            values=self.values[left],
            projections=self.projections[left],
        )

    @property
    def missing(self) -> bool:
        """Whether a variable is without any noise on some kind of batch."""
        return bool((self.level == 0).any())


def kinds(probe: Probe, large: int | None = None) -> list[Kind]:
    """The batches of the run; ``large``: size of batches that are larger than the ordinary ones."""
    rng = np.random.default_rng([probe.seed, 31])
    size = probe.batch_size
    made = [
        Kind("gradients of zeros", probe.zeros(size), 0.36),
        Kind("gradients of norm 0.3 C", _pairs(probe, size, np.full(size // 2, 0.3), rng), 0.15),
        Kind("gradients of norms from C/100 to 100 C", _pairs(probe, size, _spread(size // 2), rng), 0.15),
        Kind("gradients of norm 10 C", _pairs(probe, size, np.full(size // 2, 10.0), rng), 0.15),
    ]
    if probe.mechanism.partial:
        small = smaller(probe)
        spread = _pairs(probe, small, _spread(small // 2), rng)
        made += [
            Kind(f"a batch of {small} gradients of zeros", probe.zeros(small), 0.08),
            Kind(f"a batch of {small} gradients of norms from C/100 to 100 C", spread, 0.08),
        ]
    if large is not None:
        made.append(Kind(f"a batch of {large} gradients of zeros", probe.zeros(large), 0.03))
    return made


def smaller(probe: Probe) -> int:
    """Size of a smaller batch; it is odd."""
    return max(5, probe.batch_size // 4) | 1


def _spread(pairs: int) -> FloatArray:
    return np.geomspace(0.01, 100.0, pairs)


def _pairs(probe: Probe, size: int, norms: FloatArray, rng: np.random.Generator) -> Array:
    """Gradients of these norms over C and their opposites, neighbours in the batch; what is left over is zero."""
    batch = probe.zeros(size)
    for index, norm in enumerate(norms):
        batch[2 * index] = norm * probe.stated.clip * probe.random_direction(rng)
        batch[2 * index + 1] = -batch[2 * index]
    return batch


def coincidences(values: FloatArray) -> float:
    """Share of pairs of values that are equal; zeros are no draws."""
    values = values[values != 0]
    if values.size < 2:
        return 0.0
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    return float((counts * (counts - 1)).sum() / (values.size * (values.size - 1.0)))
