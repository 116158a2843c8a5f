"""Partial and empty batches: under add/remove adjacency the size of a batch is private, so nothing may depend on it."""

import math

import numpy as np
from scipy import special

from dpaudit.bounds.lower_bound import Finding
from dpaudit.inspection.noise import NoiseRun
from dpaudit.inspection.probe import Probe
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError

VALUES = 4000  # of noise for each batch, in 8 to 48 calls
NOTHING = 1e-6  # of the mean square of noise
SIZES = 64  # of batches that are asked once
ROOM = 1.02  # by which the noise of the others may be known wrongly
EVERY_SIZE = "batches of every size"
LEAST = 2  # calls, of the slowest mechanism
EMPTY = "batches of no example"


def check_denominator(probe: Probe) -> tuple[list[Finding], bool]:
    """Batches of one and of many, and whether the sum is divided by their size: then all else is asked of the mean."""
    if probe.stated.adjacency != "add-remove":
        return [], False
    size, level = probe.batch_size, probe.level / 2
    full, single = (probe.releases(probe.zeros(n), _calls(probe), least=LEAST) for n in (size, 1))
    one = probe.alike(1, 10 * probe.stated.clip, probe.direction(None))
    if full.any():
        ratio, of_what = differing_scale(full, single, probe.stated.law.norm, level), "the noise"
    elif len(np.unique(probe.releases(one, 2), axis=0)) == 2:
        return [], False  # noise now and then is a matter for its scale
    else:
        of_what = "an example's share"
        moved = [probe.release(np.concatenate([one, probe.zeros(rest)])) for rest in (0, size - 1)]
        lengths = [float(np.linalg.norm(each)) for each in moved]
        ratio = lengths[0] / lengths[1] if lengths[1] > 0 and abs(lengths[0] / lengths[1] - 1) > 0.01 else None
    if ratio is None:
        return [], False
    mean = abs(ratio / size - 1) < 0.2
    cause = "the sum is divided by the size of the batch at hand" if mean else "it depends on the size of the batch"
    return [
        Finding(
            check="denominator",
            severity="violation",
            fed=f"a batch of 1 against a batch of {size}, all gradients zero",
            observed=f"{ratio:.3g} times {of_what} in the release: {cause}",
            expected="one fixed denominator; with add-remove adjacency the size of a batch is private",
            remedy="divide by the expected batch size, or claim replace-one or zero-out adjacency (--adjacency) with "
            "batches whose size is public; the rest of this inspection takes the size as public",
            rung=1,
        )
    ], mean


def check_sizes(probe: Probe, noise: NoiseRun, largest: int) -> list[Finding]:
    """One batch of zeros of every size, up to a largest one: each must have noise like the others."""
    if noise.missing:
        return []
    asked: dict[int, float] = {}
    order = np.random.default_rng([probe.seed, 38]).permutation(np.arange(2, largest + 1))[:SIZES]
    for size in (int(size) for size in [2, 3, probe.batch_size + 1, *order]):
        if size in asked or size > largest or not probe.clock.allows(EVERY_SIZE):
            continue
        scores = probe.scores(probe.release(probe.zeros(size)), size)
        asked[size] = float(np.square(scores).sum()) / probe.coordinates
    level, free = probe.level / 2 / max(1, len(asked)), probe.coordinates
    own = float(noise.squares[noise.kind == 0].sum(axis=1).mean()) / probe.coordinates
    for size, square in asked.items():
        ratio = square / own
        if 2 * min(special.chdtr(free, ratio * free / ROOM), special.chdtrc(free, ratio * free * ROOM)) >= level:
            continue
        if probe.stated.adjacency != "add-remove" and ratio > NOTHING:  # a public size may scale the whole release
            continue
        return [
            Finding(
                check="batch size",
                severity="violation",
                fed=f"{len(asked)} batches of zeros, of sizes from {min(asked)} to {max(asked)}",
                observed=f"{math.sqrt(ratio):.3g} times the noise of the others in a batch of {size}",
                expected="the same noise in a batch of every size",
                remedy="compute noise and denominator from fixed numbers only, for batches of every size",
                rung=1,
                true_epsilon=math.inf if ratio < NOTHING else None,
            )
        ]
    return []


def check_empty(probe: Probe, noise: FloatArray) -> list[Finding]:
    """Noise of empty batches against that of an ordinary one (calls, coordinates)."""
    if probe.stated.adjacency != "add-remove" or not probe.clock.allows(EMPTY):
        return []
    return _empty(probe, noise, probe.level / 2)


def _empty(probe: Probe, noise: FloatArray, level: float) -> list[Finding]:
    fed = "an empty batch, which Poisson sampling draws now and then"
    expected = "noise alone, as in every other batch"
    try:
        found = [probe.raw(probe.zeros(0)) for _ in range(LEAST)]
        while len(found) < _calls(probe) and probe.clock.left > 0:
            found.append(probe.raw(probe.zeros(0)))
        releases = np.stack(found)
    except InputError as error:
        remedy = "accept a batch of zero examples and release noise; never skip or redraw it"
        return [Finding("empty batch", "violation", fed, str(error), expected, remedy, rung=1)]
    if not np.isfinite(releases).all():
        seen = "NaN or infinity: the sum is divided by the size of the batch at hand"
        remedy = "divide by the expected batch size"
        return [Finding("empty batch", "violation", fed, seen, expected, remedy, rung=1, true_epsilon=math.inf)]
    if not releases.any() and noise.any():
        remedy = "add the noise before looking at the batch; never skip it"
        seen = "a release without noise, which shows that nobody was sampled"
        return [Finding("empty batch", "violation", fed, seen, expected, remedy, rung=1, true_epsilon=math.inf)]
    ratio = differing_scale(noise, releases, probe.stated.law.norm, level)
    if ratio is None:
        return []
    seen = f"{ratio:.3g} times the noise of an ordinary batch"
    remedy = "add the same noise to every batch"
    return [Finding("empty batch", "violation", fed, seen, expected, remedy, rung=1)]


def _calls(probe: Probe) -> int:
    return int(np.clip(math.ceil(VALUES / probe.coordinates), 8, 48))


def differing_scale(noise: FloatArray, other: FloatArray, norm: int, level: float) -> float | None:
    """Ratio of scales when an F test at ``level`` tells them apart, whatever the scale of either.

    The density of a draw falls with the power ``norm`` of its size: 2 for Gaussian noise, 1 for Laplace noise. This
    power of the size has a gamma law of shape 1/norm, so twice the sum of n of them over its scale is χ² of 2n/norm.
    """
    if not noise.any():
        return None
    ratio = float(np.mean(np.abs(other) ** norm) / np.mean(np.abs(noise) ** norm))
    freedom = 2 * other.size / norm, 2 * noise.size / norm
    tail = min(special.fdtr(*freedom, ratio), special.fdtrc(*freedom, ratio))
    return float(ratio ** (1 / norm)) if 2 * tail < level else None
