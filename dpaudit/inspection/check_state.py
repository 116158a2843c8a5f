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
    if probe.mechanism.state is None:
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
