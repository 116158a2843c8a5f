"""The long run itself: a mechanism is called again and again, and what its noise is like is added up."""

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import numpy as np
from scipy import fft

from dpaudit.accounting.law import correlated, inverse_root
from dpaudit.inspection.mechanism import Mechanism
from dpaudit.inspection.noise import Kind, NoiseRun, Projection, kinds
from dpaudit.inspection.probe import Probe
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import InputError

CALLS = 3000
OF_EACH = 2  # calls of each kind of batch, asked of the slowest mechanism too
BLOCK, LEAST_BLOCK = 64, 4  # calls whose releases are taken together
HELD = 8e6  # numbers of a block
KEPT, MOST_KEPT = 1024, 16_384  # coordinates of which every draw is kept; more where there are few calls
VALUES = 2e7  # numbers kept in all
DRAWS = 1e6  # of them, for the law of the noise
PAIRS = 28  # of variables whose noise is compared
SHIFTED = 4e6  # numbers whose products at every distance are added up


def listen(
    probe: Probe,
    *,
    calls: int = CALLS,
    planned: float | None = None,
    large: int | None = None,
    advance: Callable[[float], None] | None = None,
) -> NoiseRun:
    """Run the mechanism and keep its noise, for as long as the clock of the probe allows.

    Args:
        calls: how often it is called.
        planned: how many of them there is time for, about.
        large: size of batches that are larger than the ordinary ones.
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
    choices = kinds(probe, large)
    prepared = [probe.arrays(kind.batch) for kind in choices]
    weight = np.array([kind.share for kind in choices])
    whiten = None if covariance is None else inverse_root(covariance)
    block = min(BLOCK, max(1, int(HELD) // probe.coordinates)) if whiten is None else len(whiten)
    if whiten is None and planned is not None:
        block = int(np.clip(planned, min(LEAST_BLOCK, block), block))
    first = np.tile(np.arange(len(choices)), OF_EACH)  # of each kind something
    gathered = _Gathered(probe, calls if planned is None else min(calls, planned), rng)
    done, begin = 0, time.monotonic()
    while done < len(first) or (done < calls and probe.clock.left > 0):
        count = min(block, max(calls, len(first)) - done)
        drawn = rng.choice(len(choices), count, p=weight / weight.sum())
        ahead = first[done : done + count]
        drawn[: len(ahead)] = ahead
        asked = probe if whiten is None else replace(probe, mechanism=_fresh(probe))
        released = asked.sequence([prepared[kind] for kind in drawn])
        gathered.add(choices, drawn, released, None if whiten is None else whiten[:count, :count])
        done += count
        if whiten is None:  # blocks of a slow mechanism end near the moment
            each = (time.monotonic() - begin) / done
            block = int(np.clip(probe.clock.left / each, min(LEAST_BLOCK, block), block))
        if advance is not None:
            advance(count / calls)
    return gathered.noise()


def _fresh(probe: Probe) -> Mechanism:
    assert probe.mechanism.fresh is not None
    return probe.mechanism.fresh()


class _Gathered:
    """Sums over the blocks of a run, so that large variables need no more memory than small ones."""

    def __init__(self, probe: Probe, calls: float, rng: np.random.Generator) -> None:
        self.probe, self.rng = probe, rng
        self.sizes = np.array([part.stop - part.start for part in probe.slices])
        kept = np.clip(DRAWS / calls, min(KEPT, max(64, VALUES / calls)), MOST_KEPT)
        self.where = _chosen(probe, int(kept), rng)
        self.directions = _directions(probe, rng)
        self.matrix = np.array([direction.unit for direction in self.directions]).T
        self.kinds: list[Kind] = []
        self.drawn: list[IntArray] = []
        self.parts: dict[str, list[FloatArray]] = {"squares": [], "kept": [], "values": [], "projections": []}
        self.coordinates = np.zeros((0, probe.coordinates))
        self.shifted = np.zeros(probe.coordinates)
        self.shifts = 0
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
        self._shift(scores[: max(0, int(SHIFTED) // scores.shape[1] - self.shifts)])
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

    def _shift(self, scores: FloatArray) -> None:
        """Sums of products of coordinates at each distance from each other, over some calls."""
        for row in scores:
            length = fft.next_fast_len(2 * row.size, real=True)
            self.shifted += fft.irfft(np.abs(fft.rfft(row, length)) ** 2, length)[: row.size]
            self.shifts += 1

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
            shifted=self.shifted,
            shifts=self.shifts,
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
