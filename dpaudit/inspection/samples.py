"""How far one example moves the release, asked in many ways, and how noisy a release is.

A move comes from two neighbouring batches: without error when the mechanism can be reset, otherwise from calls.
Where it suffices a whole group of examples is moved together: by the triangle inequality a release that moves by more
than m·C for m examples moves by more than C for one of them, and the noise counts m times less.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from dpaudit.inspection.noise import NoiseRun
from dpaudit.inspection.probe import Probe
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import AuditFailed

HUGE = 1e6
FAR = 1e3
MOST_CALLS = 2000
SAME = 1e-3  # distance of unit vectors that differ by rounding only
LEAST_CALLS = 6
OF_A_SIDE = 12  # calls for a mean
LARGE = 1e6  # degrees of freedom of an error that is known
CLIP = "clip each example's gradient, over all variables together, before summing"
OF_ITS_OWN = "clip each example by a fixed norm and divide by a fixed number: its share may not depend on the others"
ANYWHERE = "clip every example of the batch, whatever its place and however large it is"


@dataclass(frozen=True)
class EstimateInterval:
    """An estimate with a lower and an upper confidence bound."""

    low: float
    estimate: float
    high: float


@dataclass(frozen=True)
class Move:
    """How far one example moved the release.

    Args:
        canary: what was fed, in words.
        variable: the variable it lies in; None when it is spread over all of them.
        size: movement over the most that is allowed, 1 when the whole allowance is used.
        error: standard error of ``size``; 0 when noise cancelled.
        freedom: degrees of freedom of the error.
        batch_size: size of the batch.
        remedy: what mends it when it is too far.
    """

    canary: str
    variable: int | None
    size: float
    error: float
    freedom: float
    batch_size: int
    remedy: str = CLIP

    def interval(self, level: float) -> EstimateInterval:
        """Each side errs with ``level``."""
        margin = float(stats.t.isf(level, self.freedom)) * self.error if self.error else 0.0
        return EstimateInterval(max(0.0, self.size - margin), self.size, self.size + margin)


def noise_scale(samples: FloatArray, *, level: float) -> EstimateInterval:
    """Standard deviation of centred Gaussian samples of any shape; each side of the interval errs with ``level``.

    >>> noise_scale(np.ones(100), level=0.05).estimate
    1.0
    """
    return scale_of(float(np.sum(samples**2)), samples.size, level=level)


def scale_of(squares: float, count: int, *, level: float) -> EstimateInterval:
    """The same from a sum of squares."""
    return EstimateInterval(
        math.sqrt(squares / stats.chi2.isf(level, count)),
        math.sqrt(squares / count),
        math.sqrt(squares / stats.chi2.ppf(level, count)),
    )


def measure_moves(
    probe: Probe, batch_size: int, noise: NoiseRun, *, level: float, points: int, places: int, repeats: int
) -> list[Move]:
    """One example's movement for every question, in batches of one size.

    Args:
        noise: what the long run found, the error of questions that are asked once.
        level: fixes how often the others are repeated.
        points: norms on the curve of the clip.
        places: places of the batch at which a large gradient is put.
        repeats: calls for a question about one example beside others, where noise does not cancel.
    """

    def portfolio() -> Iterator[Question]:
        if batch_size != probe.batch_size and repeats == LEAST_CALLS:  # a slow mechanism is asked in one size
            yield next(_groups(probe, batch_size))
            return
        yield from _groups(probe, batch_size)
        yield from _others(probe, batch_size)

    def curve(norms: tuple[float, ...]) -> Iterator[Question]:
        yield from _curve(probe, batch_size, points)
        yield from _positions(probe, batch_size, norms, places)

    if probe.mechanism.reset is not None:
        response = _exactly(probe, lambda: curve((1.5, FAR)), batch_size)
        if replays(probe, batch_size):
            return [*_exactly(probe, portfolio, batch_size), *response]
    else:
        response = _once(probe, curve((FAR,)), batch_size, noise)
    return [*_by_repetition(probe, portfolio(), batch_size, level, noise, repeats), *response]


def noise_along(probe: Probe, noise: FloatArray, variable: int | None) -> FloatArray:
    """The part of noise samples (calls, coordinates) that hides a canary of one variable, or of all of them."""
    return noise if variable is None else noise[:, probe.slices[variable]]


def replays(probe: Probe, batch_size: int) -> bool:
    """Whether noise is the same after a reset when the batch before had another size."""
    last = probe.arrays(probe.zeros(batch_size))
    found = []
    for size in (batch_size, 1) if probe.mechanism.partial else (batch_size, batch_size):
        probe.reset()
        found.append(probe.sequence([probe.arrays(probe.zeros(size)), last]))
    # In direction only: what the size does to the scale is another matter.
    return all(_parallel(a, b) for a, b in zip(*found, strict=True))


def _parallel(a: FloatArray, b: FloatArray) -> bool:
    lengths = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if min(lengths) == 0:
        return max(lengths) == 0
    return float(np.linalg.norm(a / lengths[0] - b / lengths[1])) < SAME


@dataclass(frozen=True)
class Question:
    """Two neighbouring batches that differ in ``group`` examples along ``unit``, and how far that may move."""

    words: str
    variable: int | None
    one: FloatArray
    other: FloatArray
    unit: FloatArray
    group: int
    allowed: float
    remedy: str = CLIP


def _groups(probe: Probe, size: int) -> Iterator[Question]:
    """Canaries in groups, but for one that turns a batch of others around: no group can stand in for it."""
    places: list[int | None] = [None, *range(len(probe.slices))]
    stated = probe.stated
    asked = [(place, 10.0) for place in places] + [(None, HUGE)]
    for place, factor in asked:
        unit, group = probe.direction(place), size - 1
        # One row is left, because not every mechanism takes an empty batch.
        one = np.concatenate([np.tile(factor * stated.clip * unit, (group, 1)), probe.zeros(1)])
        words = f"{group} gradients of norm {factor:g} C {_where(place)}"
        yield Question(words, place, one, neighbour(probe, one, group), unit, group, group * stated.sensitivity(size))
    unit = probe.direction(None)
    others = np.tile(-2 * stated.clip * unit, (size - 1, 1))
    one = np.concatenate([HUGE * stated.clip * unit[None], others])
    words = f"one gradient of norm {HUGE:g} C against {size - 1} opposite ones of norm 2 C"
    yield Question(words, None, one, neighbour(probe, one, 1), unit, 1, stated.sensitivity(size))


def _others(probe: Probe, size: int) -> Iterator[Question]:
    """One example that decides what a norm, a quantile or a count of the others would be."""
    unit = probe.direction(None)
    half = (size - 1) // 2
    for short, long in ((0.2, 0.9), (2.0, 9.0)):
        norms = np.repeat([short, long], [half, size - 1 - half])
        words = (
            f"one gradient of norm {FAR:g} C beside {half} of norm {short:g} C and {size - 1 - half} of norm {long:g} C"
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
    one = stated.clip * np.concatenate([[FAR], norms])[:, None] * unit
    return Question(words, None, one, neighbour(probe, one, 1), unit, 1, stated.sensitivity(size), OF_ITS_OWN)


def _curve(probe: Probe, size: int, points: int) -> Iterator[Question]:
    """Norms from 0 to 1000 C, half of them up to 3 C, in variables, random directions and single coordinates."""
    rng = np.random.default_rng([probe.seed, 35, size])
    few = points // 2
    norms = np.concatenate([np.linspace(0.1, 3.0, few), np.geomspace(3.0, FAR, points - few)])
    for index, norm in enumerate(norms * rng.uniform(0.97, 1.03, len(norms))):
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
        one = np.tile(norm * probe.stated.clip * unit, (size, 1))
        words = f"{size} gradients of norm {norm:.3g} C {where}"
        allowed = size * probe.stated.clip / probe.stated.divisor(size)
        yield Question(words, place, one, probe.zeros(size), unit, size, allowed, ANYWHERE)


def _positions(probe: Probe, size: int, norms: tuple[float, ...], most: int) -> Iterator[Question]:
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


def _exactly(probe: Probe, questions: Callable[[], Iterator[Question]], size: int) -> list[Move]:
    """All first batches after one reset, all second ones after another: call by call the noise is the same."""
    probe.reset()
    first = [probe.release(question.one) for question in questions()]
    probe.reset()
    found = []
    for question, release in zip(questions(), first, strict=True):  # made anew: large batches are not kept
        gap = probe.stated.length(release - probe.release(question.other)) / question.allowed
        found.append(Move(question.words, question.variable, gap, 0.0, 1.0, size, question.remedy))
    return found


def _by_repetition(
    probe: Probe, questions: Iterable[Question], size: int, level: float, noise: NoiseRun, repeats: int
) -> list[Move]:
    known = _deviation(probe, noise, size)
    found: list[Move] = []
    drawn: dict[int, FloatArray] = {}  # groups have one neighbour, whose releases serve all of them
    for question in questions:
        # Where clipped gradients add up, one of them needs to be resolved less finely.
        coarse = bool(found) and abs(found[0].size - 1) < 0.1
        calls = (
            repeats
            if question.remedy == OF_ITS_OWN
            else _calls(
                probe,
                question.group,
                level,
                coarse,
                known / probe.stated.noise(size) if probe.stated.noise(size) else 1.0,
            )
        )
        unit = _dual(probe, question.unit)
        gaps = (probe.releases(question.one, calls) - _others_releases(probe, question, calls, drawn)) @ unit
        gaps /= question.allowed
        # Few calls know their own deviation badly; the long run knows that of its noise well.
        alone = known * float(np.linalg.norm(unit)) * math.sqrt(2) / question.allowed
        error = max(alone, float(gaps.std(ddof=1))) / math.sqrt(calls)
        size_of = abs(float(gaps.mean()))
        found.append(Move(question.words, question.variable, size_of, error, LARGE, size, question.remedy))
    return found


def _others_releases(probe: Probe, question: Question, calls: int, drawn: dict[int, FloatArray]) -> FloatArray:
    """Releases of a question's second batch, (calls, coordinates): those of zeros are asked for once."""
    if question.other.any():
        return probe.releases(question.other, calls)
    key = len(question.other)
    there = drawn.get(key)
    missing = calls - (0 if there is None else len(there))
    if missing > 0:
        more = probe.releases(question.other, missing)
        there = more if there is None else np.concatenate([there, more])
        drawn[key] = there
    assert there is not None
    return there[:calls]


def _once(probe: Probe, questions: Iterable[Question], size: int, noise: NoiseRun) -> list[Move]:
    """One call for each question, against the mean of some on zeros; the noise is that of the long run."""
    zeros = probe.releases(probe.zeros(size), OF_A_SIDE).mean(axis=0)
    largest = _deviation(probe, noise, size)
    found = []
    for question in questions:
        unit = _dual(probe, question.unit)
        gap = float((probe.release(question.one) - zeros) @ unit) / question.allowed
        error = largest * float(np.linalg.norm(unit)) * math.sqrt(1 + 1 / OF_A_SIDE) / question.allowed
        found.append(Move(question.words, question.variable, abs(gap), error, LARGE, size, question.remedy))
    return found


def _deviation(probe: Probe, noise: NoiseRun, size: int) -> float:
    """Deviation of one coordinate's noise, the largest over variables and kinds of batches."""
    laplace = math.sqrt(2) if probe.stated.law.norm == 1 else 1.0  # of a draw of scale 1
    return float(noise.level.max()) * probe.stated.first_noise(size) * laplace


def _dual(probe: Probe, unit: FloatArray) -> FloatArray:
    """What a move along ``unit`` is projected on, so that its norm comes out."""
    return np.sign(unit) if probe.stated.law.norm == 1 else unit


def neighbour(probe: Probe, batch: FloatArray, group: int) -> FloatArray:
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


def _calls(probe: Probe, group: int, level: float, coarse: bool, noisier: float) -> int:
    """Calls of each side; ``noisier``: the noise there is over the stated noise."""
    resolution = (1.5 if coarse else 0.4) if group == 1 else 0.1 if group >= probe.batch_size - 1 else 0.3
    noise = max(noisier, 1.0) * probe.stated.noise_multiplier
    wanted = (stats.norm.isf(level) * math.sqrt(2) * noise / (group * resolution)) ** 2
    return int(np.clip(math.ceil(wanted), LEAST_CALLS, MOST_CALLS))


def _where(place: int | None) -> str:
    return "spread over all variables" if place is None else f"in variable {place} alone"
