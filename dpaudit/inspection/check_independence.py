"""Is the noise fresh and Gaussian: over steps, variables, coordinates, and from one training to the next?

Every correlation test is exact for Gaussian noise: the cosine c of two independent Gaussian vectors of n coordinates
has √(n-1)·c/√(1-c²) distributed as Student's t with n-1 degrees of freedom.
"""

import math
from itertools import combinations

import numpy as np
from scipy import stats

from dpaudit.bounds.lower_bound import Finding
from dpaudit.inspection.probe import Probe
from dpaudit.inspection.samples import noise_scale
from dpaudit.runtime.check import FloatArray

_CONSEQUENCE = "differences of the releases are free of noise, so no ε holds"


def check_independence(probe: Probe, noise: FloatArray) -> list[Finding]:
    """Noise samples (calls, coordinates) from a batch of zeros against independent Gaussian draws."""
    if probe.stated.noise_multiplier == 0:
        return []
    missing = [int(np.all(noise[:, part] == 0)) for part in probe.slices]
    if any(missing):
        return []  # `check_scale` says so; there is nothing to correlate
    level = probe.level / 4
    return [
        *_between_steps(probe, noise, level),
        *_between_variables(probe, noise, level),
        *_within_variables(probe, noise, level),
        *_shape(probe, noise, level),
    ]


def check_fresh(probe: Probe, calls: int = 4) -> list[Finding]:
    """Noise of two mechanisms built one after the other: a seed written into the code gives both the same."""
    if probe.mechanism.fresh is None or probe.stated.noise_multiplier == 0:
        return []
    zeros = probe.zeros(probe.batch_size)
    first, second = (probe.anew().releases(zeros, calls).ravel() for _ in range(2))
    if not (first.any() and second.any()) or _p_value(first, second) >= probe.level:
        return []
    return [
        Finding(
            check="frozen seed",
            severity="violation",
            fed="the same batch to two mechanisms built one after the other",
            observed="their noise is correlated: the seed is part of the program",
            expected="noise that nobody can draw again",
            remedy="seed the noise from the operating system, and never in a released training",
            rung=1,
            true_epsilon=math.inf,
        )
    ]


def _between_steps(probe: Probe, noise: FloatArray, level: float) -> list[Finding]:
    noise = noise[noise.any(axis=1)]  # a step without noise is a matter for its scale
    if len(noise) < 2:
        return []
    unit = noise / np.linalg.norm(noise, axis=1, keepdims=True)
    cosines = (unit @ unit.T)[np.triu_indices(len(noise), 1)]
    worst = float(cosines[np.argmax(np.abs(cosines))])
    if _p_of_cosine(worst, noise.shape[1]) * cosines.size >= level:
        return []
    return [_finding("frozen seed", "two steps", f"noise correlated by {worst:.3g} between steps; {_CONSEQUENCE}")]


def _between_variables(probe: Probe, noise: FloatArray, level: float) -> list[Finding]:
    pairs = list(combinations(range(len(probe.slices)), 2))
    for first, second in pairs:
        a, b = noise[:, probe.slices[first]], noise[:, probe.slices[second]]
        length = min(a.shape[1], b.shape[1])
        if _p_value(a[:, :length].ravel(), b[:, :length].ravel()) * len(pairs) < level:
            seen = f"noise of variables {first} and {second} is correlated; {_CONSEQUENCE}"
            return [_finding("shared seed", "one step", seen)]
    return []


def _within_variables(probe: Probe, noise: FloatArray, level: float) -> list[Finding]:
    for index, part in enumerate(probe.slices):
        own = noise[:, part]
        if own.shape[1] < 2:
            continue
        # One draw broadcast along an axis makes the mean over that axis as noisy as a coordinate.
        shaped = own.reshape(len(own), *probe.mechanism.shapes[index])
        for axis in range(1, shaped.ndim):
            if shaped.shape[axis] < 2:
                continue
            means = shaped.mean(axis=axis) * math.sqrt(shaped.shape[axis])
            tests = len(probe.slices) * (shaped.ndim - 1)
            if noise_scale(means, level=level / tests).low > noise_scale(own, level=level / tests).high:
                seen = f"noise of variable {index} is shared along axis {axis - 1}; {_CONSEQUENCE}"
                return [_finding("shared seed", "one step", seen)]
    return []


def _shape(probe: Probe, noise: FloatArray, level: float) -> list[Finding]:
    scaled = np.concatenate([(noise[:, part] / noise[:, part].std()).ravel() for part in probe.slices])
    result = stats.kstest(scaled, "norm")
    # Dividing by the measured deviation makes the test conservative, never alarming.
    if result.pvalue >= level:
        return []
    return [
        Finding(
            check="noise distribution",
            severity="violation",
            fed=f"a batch of zeros, {len(noise)} times",
            observed=f"noise that is not Gaussian (Kolmogorov-Smirnov distance {result.statistic:.3g})",
            expected="Gaussian noise, which the accountant assumes",
            remedy="draw every coordinate from a normal distribution",
            rung=1,
        )
    ]


def _finding(check: str, fed: str, observed: str) -> Finding:
    return Finding(
        check=check,
        severity="violation",
        fed=f"a batch of zeros in {fed}",
        observed=observed,
        expected="independent draws for every coordinate of every variable at every step",
        remedy="derive a new random key for every step and every variable",
        rung=1,
        true_epsilon=math.inf,
    )


def _p_value(a: FloatArray, b: FloatArray) -> float:
    return _p_of_cosine(float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))), a.size)


def _p_of_cosine(cosine: float, size: int) -> float:
    if abs(cosine) >= 1:
        return 0.0
    return float(2 * stats.t.sf(abs(cosine) * math.sqrt((size - 1) / (1 - cosine**2)), size - 1))
