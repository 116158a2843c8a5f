"""What is published beside the gradient: it may change with a record only as far as the release does.

Two gradients of one direction, both beyond the clip, clip to the same vector: under equal noise the releases are
equal, so whatever else differs was computed from the raw gradient.
"""

import math

import numpy as np

from dpaudit.bounds.lower_bound import Finding
from dpaudit.inspection.probe import Probe
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError

# Clipping a longer vector in float32 leaves another last bit.
ROUNDING = 1e-3


def check_state(probe: Probe) -> list[Finding]:
    """State after two calls that differ only beyond the clip. Needs a mechanism that can be reset."""
    if probe.mechanism.state is None or not probe.clock.allows("what is published beside the release"):
        return []
    short, long = (_after(probe, factor) for factor in (10.0, 1000.0))
    if len(short) != len(long):
        raise InputError(
            f"{probe.mechanism.name} published {len(short)} arrays after one call, {len(long)} after another."
        )
    gaps = [_gap(a, b) for a, b in zip(short, long, strict=True)]
    if not gaps or max(gaps) <= ROUNDING:
        return []
    index = int(np.argmax(gaps))
    return [
        Finding(
            check="released state",
            severity="violation",
            fed="one gradient of norm 10 C, then of norm 1000 C, in the same direction and under the same noise",
            observed=f"published array {index} changed by {gaps[index]:.3g} of its size, the release not at all",
            expected="nothing published but what follows from the release",
            remedy="compute moving averages, slots and metrics from the private release, or keep them to yourself",
            rung=1,
            true_epsilon=math.inf,
        )
    ]


def check_determinism(probe: Probe) -> list[Finding]:
    """A mechanism that says it can be reset must give one release twice."""
    if probe.mechanism.reset is None:
        return []
    zeros = probe.zeros(probe.batch_size)
    first, second = probe.release(zeros, reset=True), probe.release(zeros, reset=True)
    if np.array_equal(first, second):
        return []
    raise InputError(
        f"{probe.mechanism.name} gave two releases that differ by up to {np.abs(first - second).max():.3g} "
        "after the same reset; leave reset out if its noise cannot be set."
    )


def check_repeats(probe: Probe, calls: int) -> list[Finding]:
    """No two releases of one batch may be equal, whatever is done to them after the noise."""
    releases = probe.releases(probe.zeros(probe.batch_size), calls)
    if len(np.unique(releases, axis=0)) == calls:
        return []
    return [
        Finding(
            check="frozen seed",
            severity="violation",
            fed=f"gradients of zeros, {calls} times",
            observed="releases that are equal in every coordinate: the noise is missing or repeats itself",
            expected="fresh noise in every release",
            remedy="derive a new random key for every step and every variable",
            rung=1,
            true_epsilon=math.inf,
        )
    ]


def check_beyond_clip(probe: Probe) -> list[Finding]:
    """Two gradients of one direction beyond the clip give one release under equal noise, whatever comes after it."""
    releases = []
    for factor in (10.0, 1000.0):
        batch = probe.zeros(probe.batch_size)
        batch[-1] = factor * probe.stated.clip * probe.direction(None)
        releases.append(probe.release(batch, reset=True))
    gap = _gap(*releases)
    if gap <= ROUNDING:
        return []
    return [
        Finding(
            check="sensitivity",
            severity="violation",
            fed="one gradient of norm 10 C, then of norm 1000 C, in the same direction and under the same noise",
            observed=f"the release changed by {gap:.3g} of its size",
            expected="the same release: both are clipped to the same gradient",
            remedy="clip each example's gradient, over all variables together, before summing",
            rung=1,
        )
    ]


def _after(probe: Probe, factor: float) -> list[FloatArray]:
    batch = probe.zeros(probe.batch_size)
    batch[0] = factor * probe.stated.clip * probe.direction(None)
    probe.release(batch, reset=True)
    state = probe.mechanism.state
    return [] if state is None else [np.asarray(array, np.float64) for array in state()]


def _gap(a: FloatArray, b: FloatArray) -> float:
    if a.shape != b.shape:
        return math.inf
    size = max(float(np.abs(a).max(initial=0.0)), float(np.abs(b).max(initial=0.0)))
    return float(np.abs(a - b).max(initial=0.0)) / size if size > 0 else 0.0
