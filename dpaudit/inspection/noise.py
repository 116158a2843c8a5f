"""One long run of a mechanism on batches that sum to zero: every check of its noise reads this one record.

The batches hold nothing, or gradients in pairs that cancel, of many magnitudes and two sizes; what is released is noise
whatever the clip does. Noise is kept as normal scores of the law that is stated (`dpaudit.accounting.law`), relative to
the noise of its own kind of batch, so that a learning rate or a wrong denominator does not show in its shape.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np
from scipy import stats

from dpaudit.accounting.law import correlated, inverse_root
from dpaudit.inspection.mechanism import Mechanism
from dpaudit.inspection.probe import Probe
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray
from dpaudit.runtime.errors import InputError

CALLS = 3000
BLOCK, LEAST_BLOCK = 64, 16  # calls whose releases are taken together
LEAST = 96  # asked of the slowest mechanism too
KEPT = 1024  # coordinates of which every draw is kept
VALUES = 2e7  # numbers kept in all
PAIRS = 28  # of variables whose noise is compared
FAR = 1e-9  # chance with which a kind of batch is left out of the checks because its releases have a mean


@dataclass(frozen=True)
class Kind:
    """A batch whose clipped gradients sum to zero."""

    words: str
    batch: FloatArray

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
            means.append(stats.chi2.sf(float(np.square(rows.mean(axis=0)).sum()) * len(rows), rows.shape[1]))
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


def kinds(probe: Probe) -> list[Kind]:
    """The batches of the run."""
    rng = np.random.default_rng([probe.seed, 31])
    size = probe.batch_size
    made = [
        Kind("gradients of zeros", probe.zeros(size)),
        Kind("gradients of norm 0.3 C", _pairs(probe, size, np.full(size // 2, 0.3), rng)),
        Kind("gradients of norms from C/100 to 100 C", _pairs(probe, size, _spread(size // 2), rng)),
    ]
    if probe.mechanism.partial:
        small = smaller(probe)
        made += [
            Kind(f"a batch of {small} gradients of zeros", probe.zeros(small)),
            Kind(
                f"a batch of {small} gradients of norms from C/100 to 100 C",
                _pairs(probe, small, _spread(small // 2), rng),
            ),
        ]
    return made


def smaller(probe: Probe) -> int:
    """Size of a smaller batch; it is odd."""
    return max(5, probe.batch_size // 4) | 1


def listen(
    probe: Probe, *, calls: int = CALLS, until: float | None = None, advance: Callable[[float], None] | None = None
) -> NoiseRun:
    """Run the mechanism and keep its noise.

    Args:
        calls: how often it is called.
        until: moment of `time.monotonic` after which only the least number of calls is made.
        advance: told what share of the calls has been made.

    Raises:
        InputError: its noise is correlated over the steps and it cannot be built anew.
    """
    covariance = correlated(probe.stated.law)
    if covariance is not None and probe.mechanism.fresh is None:
        raise InputError(
            f"{probe.mechanism.name} states noise that is correlated over the steps, which can only be judged from its "
            "first step on: give Mechanism(fresh=...), which builds it anew."
        )
    rng = np.random.default_rng([probe.seed, 32])
    choices = kinds(probe)
    prepared = [probe.arrays(kind.batch) for kind in choices]
    weight = np.array([0.4, 0.2, 0.2, 0.1, 0.1][: len(choices)])
    whiten = None if covariance is None else inverse_root(covariance)
    most = max(1, int(2e6) // probe.coordinates)
    block = min(BLOCK, most) if whiten is None else len(whiten)
    gathered = _Gathered(probe, calls, rng)
    done, begin = 0, time.monotonic()
    while done < calls and (done < LEAST or until is None or time.monotonic() < until):
        count = min(block, calls - done)
        if done == 0 and whiten is None:  # of each kind something
            drawn = np.resize(np.arange(len(choices)), count)
        else:
            drawn = rng.choice(len(choices), count, p=weight / weight.sum())
        asked = probe if whiten is None else replace(probe, mechanism=_fresh(probe))
        released = asked.sequence([prepared[kind] for kind in drawn])
        gathered.add(choices, drawn, released, None if whiten is None else whiten[:count, :count])
        done += count
        if until is not None and whiten is None:  # blocks of a slow mechanism end near the moment
            block = int(np.clip((until - time.monotonic()) / ((time.monotonic() - begin) / done), LEAST_BLOCK, block))
        if advance is not None:
            advance(count / calls)
    return gathered.noise()


def _fresh(probe: Probe) -> Mechanism:
    assert probe.mechanism.fresh is not None
    return probe.mechanism.fresh()


class _Gathered:
    """Sums over the blocks of a run, so that large variables need no more memory than small ones."""

    def __init__(self, probe: Probe, calls: int, rng: np.random.Generator) -> None:
        self.probe, self.rng = probe, rng
        self.sizes = np.array([part.stop - part.start for part in probe.slices])
        self.where = _chosen(probe, int(min(KEPT, max(64, VALUES / calls))), rng)
        self.directions = _directions(probe, rng)
        self.matrix = np.array([direction.unit for direction in self.directions]).T
        self.kinds: list[Kind] = []
        self.drawn: list[IntArray] = []
        self.parts: dict[str, list[FloatArray]] = {"squares": [], "kept": [], "values": [], "projections": []}
        self.coordinates = np.zeros((0, probe.coordinates))
        self.axis_squares: dict[tuple[int, int], list[float]] = {}
        equal = [
            pair
            for pair in combinations(range(len(self.sizes)), 2)
            if self.sizes[pair[0]] >= 2 and self.sizes[pair[1]] >= 2
        ]
        self.pair_sums: dict[tuple[int, int], FloatArray] = {pair: np.zeros(4) for pair in equal[:PAIRS]}

    def add(self, kinds: list[Kind], drawn: IntArray, released: FloatArray, whiten: FloatArray | None) -> None:
        """Releases of some calls, (calls, coordinates), and which kinds of batches they got."""
        stated, slices = self.probe.stated, self.probe.slices
        if not self.kinds:
            self.kinds, self.coordinates = kinds, np.zeros((len(kinds), self.probe.coordinates))
        divisor = np.array([stated.divisor(len(kind.batch)) for kind in kinds])[drawn, None]
        scale = stated.noise_multiplier * stated.clip
        if whiten is None:
            scores = getattr(stated.law, "scores")(released * divisor, scale, self.rng)  # noqa: B009  # correlated have none
        else:
            scores = whiten @ (released * divisor / scale)
        self.drawn.append(drawn)
        squared = scores**2
        starts = [part.start for part in slices]
        self.parts["squares"].append(np.add.reduceat(squared, starts, axis=1))
        self.parts["kept"].append(scores[:, self.where])
        self.parts["values"].append(released[:, self.where])
        self.parts["projections"].append(scores @ self.matrix)
        for index in range(len(kinds)):
            self.coordinates[index] += squared[drawn == index].sum(axis=0)
        scores = scores[drawn == 0]
        for index, (part, shape) in enumerate(zip(slices, self.probe.mechanism.shapes, strict=True)):
            if part.stop - part.start < 2:
                continue
            shaped = scores[:, part].reshape(len(scores), *shape)
            for axis in range(1, shaped.ndim):
                if shaped.shape[axis] > 1:
                    means = shaped.mean(axis=axis)
                    total = self.axis_squares.setdefault((index, axis - 1), [0.0, 0.0])
                    total[0] += float(np.square(means).sum()) * shaped.shape[axis]
                    total[1] += means.size
        for (first, second), sums in self.pair_sums.items():
            length = min(self.sizes[first], self.sizes[second])
            a = scores[:, slices[first].start : slices[first].start + length]
            b = scores[:, slices[second].start : slices[second].start + length]
            sums += float((a * b).sum()), float((a * a).sum()), float((b * b).sum()), a.size

    def noise(self) -> NoiseRun:
        """Everything that was gathered."""
        parts = {name: np.concatenate(blocks) for name, blocks in self.parts.items()}
        kind = np.concatenate(self.drawn)
        own = parts["squares"][kind == 0].mean(axis=0) / self.sizes  # mean square of each variable on zeros
        axes = {
            place: (total / count / own[place[0]] if own[place[0]] > 0 else 0.0, int(count))
            for place, (total, count) in self.axis_squares.items()
        }
        pairs = {
            pair: (float(sums[0] / np.sqrt(sums[1] * sums[2])), int(sums[3]))
            for pair, sums in self.pair_sums.items()
            if sums[1] > 0 and sums[2] > 0
        }
        return NoiseRun(
            kinds=tuple(self.kinds),
            kind=kind,
            where=self.where,
            coordinates=self.coordinates,
            directions=self.directions,
            axes=axes,
            pairs=pairs,
            sizes=self.sizes,
            **parts,
        )


def _chosen(probe: Probe, most: int, rng: np.random.Generator) -> IntArray:
    """The first and the last coordinate of each variable and others at random, about ``most``."""
    if probe.coordinates <= most:
        return np.arange(probe.coordinates)
    ends = {end for part in probe.slices for end in (part.start, part.stop - 1)}
    share = max(2, most // len(probe.slices))
    for part in probe.slices:
        size = part.stop - part.start
        ends |= (
            set((part.start + rng.choice(size, min(size, share - 2), replace=False)).tolist()) if share > 2 else set()
        )
    return np.array(sorted(ends))


def _directions(probe: Probe, rng: np.random.Generator) -> tuple[Projection, ...]:
    """Directions a fault would choose, and some that nobody knows."""
    found = []
    for index, part in enumerate(probe.slices[:PAIRS]):
        unit = np.zeros(probe.coordinates)
        unit[part] = 1.0
        found.append(Projection(f"the mean of variable {index}", unit))
    found.append(Projection("the mean over all variables", np.ones(probe.coordinates)))
    found += [Projection("a random direction", rng.standard_normal(probe.coordinates)) for _ in range(4)]
    return tuple(replace(each, unit=each.unit / np.linalg.norm(each.unit)) for each in found)


def _spread(pairs: int) -> FloatArray:
    return np.geomspace(0.01, 100.0, pairs)


def _pairs(probe: Probe, size: int, norms: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Gradients of these norms over C and their opposites, neighbours in the batch; what is left over is zero."""
    batch = probe.zeros(size)
    for index, norm in enumerate(norms):
        batch[2 * index] = norm * probe.stated.clip * probe.random_direction(rng)
        batch[2 * index + 1] = -batch[2 * index]
    return batch
