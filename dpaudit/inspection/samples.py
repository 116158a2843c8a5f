"""The two things a Gaussian mechanism consists of, measured: its noise, and how far one example moves it.

Noise comes from repeated releases of one batch, so its standard deviation has an exact χ² interval. A move comes from
two neighbouring batches: without error when the mechanism can be reset, otherwise from means over repeated calls
with a t interval. Where it suffices a whole group of examples is moved together: by the triangle inequality a release
that moves by more than m·C for m examples moves by more than C for one of them, and the noise counts m times less.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from dpaudit.inspection.probe import Probe
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import AuditFailed

HUGE = 1e6
MOST_CALLS = 2000


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
        batch_size: size of the batch.
    """

    canary: str
    variable: int | None
    size: EstimateInterval
    batch_size: int


def noise_scale(samples: FloatArray, *, level: float) -> EstimateInterval:
    """Standard deviation of centred Gaussian samples of any shape; each side of the interval errs with ``level``.

    >>> noise_scale(np.ones(100), level=0.05).estimate
    1.0
    """
    squares, count = float(np.sum(samples**2)), samples.size
    return EstimateInterval(
        math.sqrt(squares / stats.chi2.isf(level, count)),
        math.sqrt(squares / count),
        math.sqrt(squares / stats.chi2.ppf(level, count)),
    )


def noise_calls(probe: Probe) -> int:
    """Enough calls for some 4,000 samples of the smallest variable."""
    smallest = min(part.stop - part.start for part in probe.slices)
    return int(np.clip(math.ceil(4000 / smallest), 48, 256))


def noise_samples(probe: Probe, batch: FloatArray, calls: int) -> FloatArray:
    """Noise in the release of one batch, whatever its noiseless value: differences of calls over √2."""
    releases = probe.releases(batch, 2 * calls)
    noise: FloatArray = (releases[::2] - releases[1::2]) / math.sqrt(2)
    return noise


def measure_moves(probe: Probe, batch_size: int, *, level: float) -> list[Move]:
    """One example's movement for every canary of the portfolio, in batches of one size.

    Canaries come in groups, but for one that turns a batch of others around: no group can stand in for it.
    """
    places: list[int | None] = [None, *range(len(probe.slices))]
    questions = [
        *[(f"{batch_size - 1} gradients of norm 10 C {_where(place)}", place, 10.0, True) for place in places],
        (f"{batch_size - 1} gradients of norm {HUGE:g} C {_where(None)}", None, HUGE, True),
        (f"one gradient of norm {HUGE:g} C against {batch_size - 1} opposite ones of norm 2 C", None, HUGE, False),
    ]
    pairs = [_pair(probe, place, factor, together, batch_size) for _, place, factor, together in questions]
    if probe.mechanism.reset is not None:
        sizes = _exactly(probe, pairs)
    else:
        sizes = [_by_repetition(probe, pair, level=level / len(pairs)) for pair in pairs]
    return [Move(name, place, size, batch_size) for (name, place, _, _), size in zip(questions, sizes, strict=True)]


def noise_along(probe: Probe, noise: FloatArray, variable: int | None) -> FloatArray:
    """The part of noise samples (calls, coordinates) that hides a canary of one variable, or of all of them."""
    return noise if variable is None else noise[:, probe.slices[variable]]


@dataclass(frozen=True)
class _Pair:
    """Two neighbouring batches that differ in ``group`` examples along ``unit``, and how far that may move."""

    one: FloatArray
    other: FloatArray
    unit: FloatArray
    group: int
    allowed: float


def _pair(probe: Probe, place: int | None, factor: float, together: bool, size: int) -> _Pair:
    unit = probe.direction(place)
    canary = factor * probe.stated.clip * unit
    if together:  # one row is left, because not every mechanism takes an empty batch
        group, rest = size - 1, probe.zeros(1)
    else:
        group, rest = 1, np.tile(-2 * probe.stated.clip * unit, (size - 1, 1))
    one = np.concatenate([np.tile(canary, (group, 1)), rest])
    return _Pair(one, neighbour(probe, one, group), unit, group, group * probe.stated.sensitivity(size))


def _exactly(probe: Probe, pairs: list[_Pair]) -> list[EstimateInterval]:
    """All first batches after one reset, all second ones after another: call by call the noise is the same."""
    sides = []
    for side in ("one", "other"):
        probe.reset()
        sides.append([probe.release(getattr(pair, side)) for pair in pairs])
    sizes = [
        float(np.linalg.norm(first - second)) / pair.allowed for first, second, pair in zip(*sides, pairs, strict=True)
    ]
    return [EstimateInterval(size, size, size) for size in sizes]


def _by_repetition(probe: Probe, pair: _Pair, *, level: float) -> EstimateInterval:
    calls = _calls(probe, pair.group, level)
    gaps = (probe.releases(pair.one, calls) - probe.releases(pair.other, calls)) @ pair.unit / pair.allowed
    margin = stats.t.isf(level, calls - 1) * gaps.std(ddof=1) / math.sqrt(calls)
    middle = abs(float(gaps.mean()))
    return EstimateInterval(max(0.0, middle - margin), middle, middle + margin)


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


def _calls(probe: Probe, group: int, level: float) -> int:
    resolution = 0.4 if group == 1 else 0.1 if group >= probe.batch_size - 1 else 0.2
    wanted = (stats.norm.isf(level) * math.sqrt(2) * probe.stated.noise_multiplier / (group * resolution)) ** 2
    return int(np.clip(math.ceil(wanted), 12, MOST_CALLS))


def _where(place: int | None) -> str:
    return "spread over all variables" if place is None else f"in variable {place} alone"
