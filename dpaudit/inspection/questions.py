"""Questions about one example: two neighbouring batches, and how far the release may move between them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dpaudit.inspection.mechanism import Array
from dpaudit.inspection.probe import Probe
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import AuditFailed

HUGE = 1e6
FAR = 1e3
CLIP = "clip each example's gradient, over all variables together, before summing"
OF_ITS_OWN = "clip each example by a fixed norm and divide by a fixed number: its share may not depend on the others"
ANYWHERE = "clip every example of the batch, whatever its place and however large it is"


@dataclass(frozen=True)
class Question:
    """Two neighbouring batches that differ in ``group`` examples along ``unit``, and how far that may move."""

    words: str
    variable: int | None
    one: Array
    other: Array
    unit: FloatArray
    group: int
    allowed: float
    remedy: str = CLIP


def groups(probe: Probe, size: int) -> Iterator[Question]:
    """Canaries in groups, but for one that turns a batch of others around: no group can stand in for it."""
    places: list[int | None] = [None, *range(len(probe.slices))]
    stated = probe.stated
    asked = [(place, 10.0) for place in places] + [(None, HUGE)]
    for place, factor in asked:
        unit, group = probe.direction(place), size - 1
        # One row is left, because not every mechanism takes an empty batch.
        one = np.concatenate([probe.alike(group, factor * stated.clip, unit), probe.zeros(1)])
        words = f"{group} gradients of norm {factor:g} C {_where(place)}"
        yield Question(words, place, one, neighbour(probe, one, group), unit, group, group * stated.sensitivity(size))
    unit = probe.direction(None)
    opposite = probe.alike(size - 1, -2 * stated.clip, unit)
    one = np.concatenate([probe.alike(1, HUGE * stated.clip, unit), opposite])
    words = f"one gradient of norm {HUGE:g} C against {size - 1} opposite ones of norm 2 C"
    yield Question(words, None, one, neighbour(probe, one, 1), unit, 1, stated.sensitivity(size))


def others(probe: Probe, size: int) -> Iterator[Question]:
    """One example that decides what a norm, a quantile or a count of the others would be."""
    unit = probe.direction(None)
    half = (size - 1) // 2
    for short, long, fewer in ((0.2, 0.9, half), (2.0, 9.0, half), (0.05, 5.0, size - 1 - half)):
        norms = np.repeat([short, long], [fewer, size - 1 - fewer])
        words = (
            f"one gradient of norm {FAR:g} C beside {fewer} of norm {short:g} C and {size - 1 - fewer} of norm "
            f"{long:g} C"
        )
        yield _beside(probe, norms, unit, words, size)
    yield _beside(
        probe, np.full(size - 1, 1.0), unit, f"one gradient of norm {FAR:g} C beside {size - 1} of norm C", size
    )
    spread = np.linspace(0.1, 1.9, size - 1)
    words = f"one gradient of norm {FAR:g} C beside {size - 1} of norms from 0.1 to 1.9 C"
    yield _beside(probe, spread, unit, words, size)


def _beside(probe: Probe, norms: FloatArray, unit: FloatArray, words: str, size: int) -> Question:
    stated = probe.stated
    one = (stated.clip * np.concatenate([[FAR], norms])[:, None]).astype(np.float32) * unit.astype(np.float32)
    return Question(words, None, one, neighbour(probe, one, 1), unit, 1, stated.sensitivity(size), OF_ITS_OWN)


def curve(probe: Probe, size: int, points: int) -> Iterator[Question]:
    """Norms from 0 to 1000 C, half of them up to 3 C, in variables, random directions and single coordinates."""
    rng = np.random.default_rng([probe.seed, 35, size])
    few = points // 2
    norms = np.concatenate([np.linspace(0.1, 3.0, few), np.geomspace(3.0, FAR, points - few)])
    # In an order in which the first ones are spread over all norms.
    for index, norm in enumerate(rng.permutation(norms * rng.uniform(0.97, 1.03, len(norms)))):
        kind = index % (len(probe.slices) + 3)
        if kind < len(probe.slices):
            place: int | None = kind
            unit, where = probe.direction(kind), _where(kind)
        elif kind == len(probe.slices):
            place, unit, where = None, probe.direction(None), _where(None)
        elif kind == len(probe.slices) + 1:
            place, unit, where = None, probe.random_direction(rng), "in a random direction"
        else:
            coordinate = int(rng.integers(probe.coordinates))
            unit = np.zeros(probe.coordinates)
            unit[coordinate] = 1.0
            place = next(i for i, part in enumerate(probe.slices) if part.start <= coordinate < part.stop)
            where = f"in one coordinate of variable {place}"
        one = probe.alike(size, norm * probe.stated.clip, unit)
        words = f"{size} gradients of norm {norm:.3g} C {where}"
        allowed = size * probe.stated.clip / probe.stated.divisor(size)
        yield Question(words, place, one, probe.zeros(size), unit, size, allowed, ANYWHERE)


def positions(probe: Probe, size: int, norms: tuple[float, ...], most: int) -> Iterator[Question]:
    """One large gradient at every place of the batch; of a large batch at the first, the last and some between."""
    rng = np.random.default_rng([probe.seed, 36, size])
    places = np.arange(size)
    if size > most:
        places = np.unique([0, 1, size - 2, size - 1, *rng.choice(size, most - 4, replace=False)])
    unit = probe.direction(None)
    for norm in norms:
        for place in places:
            one = probe.zeros(size)
            one[place] = norm * probe.stated.clip * unit
            words = f"one gradient of norm {norm:g} C at place {place + 1} of {size}"
            allowed = probe.stated.clip / probe.stated.divisor(size)
            yield Question(words, None, one, probe.zeros(size), unit, 1, allowed, ANYWHERE)


def neighbour(probe: Probe, batch: Array, group: int) -> Array:
    """The neighbouring batch: its first ``group`` rows removed, set to zero, or turned around."""
    match probe.stated.adjacency:
        case "add-remove":
            return batch[group:]
        case "zero-out":
            return np.concatenate([np.zeros_like(batch[:group]), batch[group:]])
        case "replace-one":
            return np.concatenate([-batch[:group], batch[group:]])
        case other:
            raise AuditFailed(f"no neighbour is defined for adjacency {other!r}.")


def _where(place: int | None) -> str:
    return "spread over all variables" if place is None else f"in variable {place} alone"
