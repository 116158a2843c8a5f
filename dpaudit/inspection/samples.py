"""How far one example moves the release, asked in many ways, and how noisy a release is.

A move comes from two neighbouring batches: without error when the mechanism can be reset, otherwise from calls.
Where it suffices a whole group of examples is moved together: by the triangle inequality a release that moves by more
than m·C for m examples moves by more than C for one of them, and the noise counts m times less.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np
from scipy import special

from dpaudit.inspection.mechanism import Array
from dpaudit.inspection.noise import NoiseRun
from dpaudit.inspection.probe import Probe
from dpaudit.inspection.questions import CLIP, FAR, OF_ITS_OWN, Question, curve, groups, others, positions
from dpaudit.runtime.check import FloatArray

ASKED = "how far one example moves the release"
MOST_CALLS = 2000
SAME = 1e-3  # distance of unit vectors that differ by rounding only
LEAST_CALLS = 6
OF_A_SIDE = 12  # calls for a mean
HELD = 4e6  # numbers of a batch that is kept until its neighbour is asked
KEPT = 2e7  # numbers of releases that are kept for several questions
SHARE = 0.4  # of the time left that one question may take
LARGE = 1e6  # degrees of freedom of an error that is known


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
        margin = -float(special.stdtrit(self.freedom, level)) * self.error if self.error else 0.0
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
        math.sqrt(squares / special.chdtri(count, level)),
        math.sqrt(squares / count),
        math.sqrt(squares / (2 * special.gammaincinv(count / 2, level))),
    )


@dataclass(frozen=True)
class Patience:
    """How much is asked of a mechanism of this speed.

    Args:
        points: norms on the curve of the clip.
        places: places of the batch at which a large gradient is put.
        repeats: calls for a question about one example beside others, where noise does not cancel.
    """

    points: int
    places: int
    repeats: int


def measure_moves(probe: Probe, batch_size: int, noise: NoiseRun, *, level: float, patience: Patience) -> list[Move]:
    """One example's movement for every question, in batches of one size, for as long as there is time; once at least.

    Args:
        noise: what the long run found, the error of questions that are asked once.
        level: fixes how often the others are repeated.
        patience: how many questions.
    """
    slow = batch_size < probe.batch_size and patience.repeats == LEAST_CALLS
    few = slow or batch_size > probe.batch_size  # the ordinary size is asked everything

    def portfolio() -> Iterator[Question]:
        if few:
            yield next(groups(probe, batch_size))
            return
        yield from groups(probe, batch_size)
        yield from others(probe, batch_size)

    def response(norms: tuple[float, ...]) -> Iterator[Question]:
        points = patience.points if batch_size <= probe.batch_size else 0
        # In turn, so that some of each are asked where there is no time for all.
        for both in zip_longest(curve(probe, batch_size, points), positions(probe, batch_size, norms, patience.places)):
            yield from (question for question in both if question is not None)

    if probe.mechanism.reset is None:
        found = _by_repetition(probe, portfolio(), batch_size, level, noise, patience.repeats)
        return [*found, *_once(probe, response((FAR,)), batch_size, noise)]
    if replays(probe, batch_size):
        return _exactly(probe, lambda: chain(portfolio(), response((1.5, FAR))), batch_size, noise.spacing)
    found = _by_repetition(probe, portfolio(), batch_size, level, noise, patience.repeats)
    return [*found, *_exactly(probe, lambda: response((1.5, FAR)), batch_size, noise.spacing)]


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


def _exactly(probe: Probe, questions: Callable[[], Iterator[Question]], size: int, spacing: float) -> list[Move]:
    """All first batches after one reset, all second ones after another: call by call the noise is the same.

    Releases that are rounded to a ``spacing`` may differ by that in every coordinate.
    """
    rounding = probe.stated.length(np.full(probe.coordinates, spacing))
    half = time.monotonic() + probe.clock.left / 2  # the second batches take as long as the first ones
    probe.reset()
    first: list[Array] = []
    asked = list(questions()) if size * probe.coordinates < HELD else None
    for question in questions() if asked is None else asked:
        if first and time.monotonic() > half:
            probe.clock.miss(ASKED)
            break
        first.append(probe.release(question.one).astype(np.float32))
    probe.reset()
    found = []
    # Large batches are not kept but made anew.
    for question, release in zip(questions() if asked is None else asked, first, strict=False):
        gap = max(0.0, probe.stated.length(release - probe.release(question.other)) - rounding) / question.allowed
        found.append(Move(question.words, question.variable, gap, 0.0, 1.0, size, question.remedy))
    return found


def _by_repetition(
    probe: Probe, questions: Iterable[Question], size: int, level: float, noise: NoiseRun, repeats: int
) -> list[Move]:
    known = _deviation(probe, noise, size)
    noisier = known / probe.stated.noise(size) if probe.stated.noise(size) else 1.0
    found: list[Move] = []
    drawn: dict[int, FloatArray] = {}  # groups have one neighbour, whose releases serve all of them
    for question in questions:
        if found and not probe.clock.allows(ASKED):
            break
        # Where clipped gradients add up, one of them needs to be resolved less finely.
        coarse = bool(found) and abs(found[0].size - 1) < 0.1
        alone = question.remedy == OF_ITS_OWN
        calls = repeats if alone else _calls(probe, question.group, level, coarse, noisier)
        unit = _dual(probe, question.unit)
        one = _along(probe, question.one, calls, unit, time.monotonic() + probe.clock.left * SHARE / 2)
        other = _others_along(probe, question, one.size, unit, drawn)
        gaps = (one - other) / question.allowed
        # Few calls know their own deviation badly; the long run knows that of its noise well.
        of_one = known * float(np.linalg.norm(unit)) * math.sqrt(2) / question.allowed
        error = max(of_one, float(gaps.std(ddof=1))) / math.sqrt(gaps.size)
        size_of = abs(float(gaps.mean()))
        found.append(Move(question.words, question.variable, size_of, error, LARGE, size, question.remedy))
    return found


def _along(probe: Probe, batch: Array, calls: int, unit: FloatArray, until: float = math.inf) -> FloatArray:
    """Releases of one batch along a vector, (calls,); fewer where the time is over."""
    gradients = probe.arrays(batch)
    found: list[float] = []
    while len(found) < calls and (len(found) < LEAST_CALLS or time.monotonic() < until):
        found.append(float(probe.finite_answer(gradients) @ unit))
    return np.array(found)


def _others_along(
    probe: Probe, question: Question, calls: int, unit: FloatArray, drawn: dict[int, FloatArray]
) -> FloatArray:
    """Releases of a question's second batch along the vector, (calls,): those of zeros are asked for once."""
    if question.other.any() or calls * probe.coordinates > KEPT:
        return _along(probe, question.other, calls, unit)
    key = len(question.other)
    there = drawn.get(key, np.zeros((0, probe.coordinates)))
    if calls > len(there):
        drawn[key] = there = np.concatenate([there, probe.releases(question.other, calls - len(there))])
    found: FloatArray = there[:calls] @ unit
    return found


def _once(probe: Probe, questions: Iterable[Question], size: int, noise: NoiseRun) -> list[Move]:
    """One call for each question, against the mean of some on zeros; the noise is that of the long run."""
    if not probe.clock.allows(ASKED):
        return []
    drawn = probe.releases(probe.zeros(size), OF_A_SIDE, least=2)
    zeros, share = drawn.mean(axis=0), 1 + 1 / len(drawn)
    largest = _deviation(probe, noise, size)
    found = []
    for question in questions:
        if not probe.clock.allows(ASKED):
            break
        unit = _dual(probe, question.unit)
        gap = float((probe.release(question.one) - zeros) @ unit) / question.allowed
        error = largest * float(np.linalg.norm(unit)) * math.sqrt(share) / question.allowed
        found.append(Move(question.words, question.variable, abs(gap), error, LARGE, size, question.remedy))
    return found


def _deviation(probe: Probe, noise: NoiseRun, size: int) -> float:
    """Deviation of one coordinate's noise, the largest over variables and kinds of batches."""
    laplace = math.sqrt(2) if probe.stated.law.norm == 1 else 1.0  # of a draw of scale 1
    return float(noise.level.max()) * probe.stated.first_noise(size) * laplace


def _dual(probe: Probe, unit: FloatArray) -> FloatArray:
    """What a move along ``unit`` is projected on, so that its norm comes out."""
    return np.sign(unit) if probe.stated.law.norm == 1 else unit


def _calls(probe: Probe, group: int, level: float, coarse: bool, noisier: float) -> int:
    """Calls of each side; ``noisier``: the noise there is over the stated noise."""
    resolution = (1.5 if coarse else 0.4) if group == 1 else 0.1 if group >= probe.batch_size - 1 else 0.3
    noise = max(noisier, 1.0) * probe.stated.noise_multiplier
    wanted = (-special.ndtri(level) * math.sqrt(2) * noise / (group * resolution)) ** 2
    return int(np.clip(math.ceil(wanted), LEAST_CALLS, MOST_CALLS))
