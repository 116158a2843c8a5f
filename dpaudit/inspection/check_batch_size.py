"""Partial and empty batches: under add/remove adjacency the size of a batch is private, so nothing may depend on it."""

import math

import numpy as np
from scipy import stats

from dpaudit.bounds.lower_bound import Finding
from dpaudit.inspection.probe import Probe
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError

CALLS = 48


def check_batch_size(probe: Probe, noise: FloatArray) -> list[Finding]:
    """Noise of small and empty batches against that of an ordinary one (calls, coordinates)."""
    if probe.stated.adjacency != "add-remove":
        return []
    level = probe.level / 2
    return [*_empty(probe, noise, level), *_single(probe, noise, level)]


def _single(probe: Probe, noise: FloatArray, level: float) -> list[Finding]:
    ratio = _differs(noise, probe.releases(probe.zeros(1), CALLS), level)
    if ratio is None:
        return []
    return [
        Finding(
            check="denominator",
            severity="violation",
            fed=f"a batch of 1 against a batch of {probe.batch_size}, all gradients zero",
            observed=f"{ratio:.3g} times the noise in the release: the sum is divided by the size of the batch at hand",
            expected="one fixed denominator; with add/remove adjacency the size of a batch is private",
            remedy="divide by the expected batch size, or claim replace-one adjacency with batches of fixed size",
            rung=1,
        )
    ]


def _empty(probe: Probe, noise: FloatArray, level: float) -> list[Finding]:
    fed = "an empty batch, which Poisson sampling draws now and then"
    expected = "noise alone, as in every other batch"
    try:
        releases = np.stack([probe.raw(probe.zeros(0)) for _ in range(CALLS)])
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
    ratio = _differs(noise, releases, level)
    if ratio is None:
        return []
    seen = f"{ratio:.3g} times the noise of an ordinary batch"
    remedy = "add the same noise to every batch"
    return [Finding("empty batch", "violation", fed, seen, expected, remedy, rung=1)]


def _differs(noise: FloatArray, other: FloatArray, level: float) -> float | None:
    """Ratio of standard deviations when an F test at ``level`` tells them apart."""
    if not noise.any():
        return None
    ratio = float(np.mean(other**2) / np.mean(noise**2))
    law = stats.f(other.size, noise.size)
    return math.sqrt(ratio) if min(law.cdf(ratio), law.sf(ratio)) * 2 < level else None
