"""Is the noise fresh: over steps, variables, axes, directions, and from one training to the next?

Every correlation test is exact for Gaussian scores: the cosine c of two independent Gaussian vectors of n coordinates
has √(n-1)·c/√(1-c²) distributed as Student's t with n-1 degrees of freedom.
"""

import math

import numpy as np
from scipy import special

from dpaudit.accounting.law import correlated
from dpaudit.bounds.lower_bound import Finding
from dpaudit.inspection.noise import NoiseRun
from dpaudit.inspection.probe import Probe
from dpaudit.inspection.sight import POWER, Sight, least_ratio, resolution
from dpaudit.runtime.check import FloatArray

_CONSEQUENCE = "differences of the releases are free of noise, so no ε holds"
LAGS = 8
ROWS = 4000  # draws that are compared each with each
SILENT = 1e-6  # mean square of the noise of a step that has none but for rounding
SAME = 0.95  # cosine of draws that are one draw, but for rounding or a scale
FROZEN = 0.1  # share of pairs of steps that are alike, from which on one seed is the cause
COLUMNS = 256  # coordinates whose covariance is looked at
BUILDS = 64
ROWS_AT_ONCE = 256  # of the matrix of cosines
OF_A_BUILD = 65_536  # numbers of each one's noise
AGAIN = "noise of mechanisms built one after the other"


def check_independence(probe: Probe, noise: NoiseRun) -> list[Finding]:
    """Noise against independent draws, by five tests."""
    level = probe.level / 5
    repeated = _between_steps(noise, level)
    if any(finding.check == "frozen seed" for finding in repeated):
        return repeated
    # Each of these makes what is counted after it less sure, so one finding is enough.
    shared = [*_between_variables(noise, level), *_within_variables(noise, level)] or _at_a_distance(noise, level)
    return shared or _from_step_to_step(probe, noise, level) or repeated


def sights_of_independence(probe: Probe, noise: NoiseRun) -> list[Sight]:
    """What those tests would have found."""
    level, (calls, columns) = probe.level / 5, noise.scaled.shape
    compared = min(calls, ROWS)
    pool = compared**2 / (-2 * math.log(1 - POWER))
    step = resolution(level / 2 / LAGS) / math.sqrt((calls - 1) * columns)
    return [
        Sight("repeated noise", f"a pool of {rounded(pool)} draws or seeds, by {compared:,} draws"),
        Sight("noise correlated from step to step", f"a correlation of {step:.2g}"),
    ]


def check_fresh(probe: Probe, builds: int = BUILDS) -> list[Finding]:
    """Noise of mechanisms built one after the other: a seed written into the code gives all of them the same."""
    if probe.mechanism.fresh is None or probe.stated.noise_multiplier == 0:
        return []
    if not probe.clock.allows(AGAIN):
        return []
    zeros = probe.zeros(probe.batch_size)
    drawn = [probe.anew().release(zeros)[:OF_A_BUILD] for _ in range(2)]
    while len(drawn) < builds + 2 and probe.clock.allows(AGAIN):
        drawn.append(probe.anew().release(zeros)[:OF_A_BUILD])
    first = np.array(drawn)
    cosine, pairs, _ = largest_cosine(first)
    if not first.any() or p_of_cosine(cosine, first.shape[1]) * pairs >= probe.level:
        return []
    return [
        Finding(
            check="frozen seed",
            severity="violation",
            fed=f"the same batch to {len(first)} mechanisms built one after the other",
            observed="their noise is correlated: the seed is part of the program, or one of few",
            expected="noise that nobody can draw again",
            remedy="seed the noise from the operating system, and never in a released training",
            rung=1,
            true_epsilon=math.inf,
        )
    ]


def check_directions(probe: Probe, noise: NoiseRun) -> list[Finding]:
    """Every direction must be as noisy as the others: coordinates, means, random ones, and the whole covariance."""
    level = probe.level / 3
    return [*_projections(noise, level), *_coordinates(probe, noise, level), *_spectrum(noise, level)][:1]


def sights_of_directions(probe: Probe, noise: NoiseRun) -> list[Sight]:
    """What those tests would have found."""
    calls = int(noise.sound.sum())
    one = least_ratio(probe.level / 3 / probe.coordinates, calls)
    columns = _columns(noise)
    whole = "any direction" if columns == probe.coordinates else f"any direction among {columns} coordinates"
    margin = 1 - math.sqrt(columns / calls) - math.sqrt(2 * math.log(3 / probe.level) / calls)
    kind = "a direction left free"
    return [
        Sight("noise in a coordinate or a mean", f"{one:.2g} times the noise of the others, by {calls:,} draws"),
        Sight(kind, f"{whole} with {margin:.2g} times the noise of the others")
        if margin > 0
        else Sight(kind, f"{calls:,} calls are too few: a longer budget makes more (--budget)", asked=False),
    ]


def _between_steps(noise: NoiseRun, level: float) -> list[Finding]:
    draws = noise.scaled[:ROWS]
    draws = draws[np.square(draws).mean(axis=1) > SILENT]  # a step without noise is a matter for its scale
    draws = draws[:, draws.any(axis=0)]  # and so is a coordinate
    if len(draws) < 2 or draws.shape[1] < 2:
        return []
    cosine, pairs, alike = largest_cosine(draws, level)
    if p_of_cosine(cosine, draws.shape[1]) * pairs >= level:
        return []
    if alike > FROZEN * pairs:
        seen = f"noise correlated by {cosine:.3g} between steps; {_CONSEQUENCE}"
        return [_finding("frozen seed", "two steps", seen)]
    if alike:
        pool = rounded(len(draws) ** 2 / 2 / alike)
        seen = f"{alike} pairs among {len(draws):,} draws are alike, as from a pool of about {pool}; {_CONSEQUENCE}"
    else:
        seen = f"two of {len(draws):,} draws are correlated by {cosine:.3g}"
    return [
        _finding("repeated noise", f"{len(draws):,} steps", seen, "draw noise from a generator of 128 bits or more")
    ]


def _from_step_to_step(probe: Probe, noise: NoiseRun, level: float) -> list[Finding]:
    """Small correlations between near steps, added up over the whole run."""
    if not noise.sound.all() or noise.missing:
        return []
    draws = noise.scaled
    for lag in range(1, min(LAGS, len(draws) - 1) + 1):
        a, b = draws[:-lag].ravel(), draws[lag:].ravel()
        cosine = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        if p_of_cosine(cosine, a.size) * LAGS < level:
            steps = "one step and the next" if lag == 1 else f"steps {lag} apart"
            law = probe.stated.law.words
            stated = f"as the {law} law that is stated" if correlated(probe.stated.law) is not None else "independent"
            return [
                _finding(
                    "correlated steps",
                    f"{len(draws):,} steps",
                    f"noise of {steps} is correlated by {cosine:.3g}",
                    "draw fresh noise at every step; where the release comes after momentum or an average, say so "
                    "(Mechanism(after=...)), and where noise is correlated on purpose, state its law",
                    expected=f"steps {stated}",
                    true_epsilon=None,
                )
            ]
    return []


def _between_variables(noise: NoiseRun, level: float) -> list[Finding]:
    for (first, second), (cosine, count) in noise.pairs.items():
        if p_of_cosine(cosine, count) * len(noise.pairs) < level:
            seen = f"noise of variables {first} and {second} is correlated; {_CONSEQUENCE}"
            return [_finding("shared seed", "one step", seen)]
    return []


def _within_variables(noise: NoiseRun, level: float) -> list[Finding]:
    """One draw broadcast along an axis makes the mean over that axis as noisy as a coordinate."""
    for (variable, axis), (ratio, count) in noise.axes.items():
        if special.chdtrc(count, ratio * count) * len(noise.axes) < level:
            seen = f"noise of variable {variable} is shared along axis {axis}; {_CONSEQUENCE}"
            return [_finding("shared seed", "one step", seen)]
    return []


def _at_a_distance(noise: NoiseRun, level: float) -> list[Finding]:
    """Coordinates that repeat others at any distance from them, by the tail of Σ xᵢ xᵢ₊ₖ (Laurent, Massart 2000).

    With the matrix of a shift, whose norm is at most 1, it exceeds √(2nu) + 2u with probability e⁻ᵘ at most.
    """
    lags = np.arange(1, len(noise.shifted))
    if not noise.shifts or not len(lags) or noise.missing:
        return []
    most = float(np.square(noise.level[0]).max())
    number = noise.shifts * (len(noise.shifted) - lags)
    tail = math.log(2 * len(lags) / level)
    excess = np.abs(noise.shifted[1:]) / most - np.sqrt(2 * number * tail) - 2 * tail
    worst = int(np.argmax(excess))
    if excess[worst] <= 0:
        return []
    share = abs(float(noise.shifted[1 + worst])) / most / number[worst]
    seen = f"coordinates {lags[worst]} apart are correlated by {share:.2g} in one step; {_CONSEQUENCE}"
    return [_finding("shared seed", "one step", seen)]


def _coordinates(probe: Probe, noise: NoiseRun, level: float) -> list[Finding]:
    """Sums of squares of each coordinate over the calls: χ² with as many degrees of freedom."""
    if noise.missing:
        return []
    own = np.square(noise.level[:, np.repeat(np.arange(len(noise.sizes)), noise.sizes)])
    used = np.unique(noise.kind[noise.sound])
    calls = np.isin(noise.kind, used).sum()
    found = (noise.coordinates[used] / own[used]).sum(axis=0)
    worst = int(np.argmin(found))
    if special.chdtr(calls, found[worst]) * len(found) >= level:
        return []
    variable = int(np.searchsorted(np.cumsum(noise.sizes), worst, side="right"))
    where = f"coordinate {worst - probe.slices[variable].start} of variable {variable}"
    ratio = math.sqrt(found[worst] / calls)
    return [_free(f"{where} has {ratio:.3g} times the noise of the others", ratio == 0)]


def _projections(noise: NoiseRun, level: float) -> list[Finding]:
    if noise.missing:
        return []
    found = []
    for index, direction in enumerate(noise.directions):
        share = np.add.reduceat(direction.unit**2, np.concatenate([[0], np.cumsum(noise.sizes)[:-1]]))
        own = np.sqrt(np.square(noise.relative) @ share)
        values = (noise.projections[:, index] / own)[noise.sound]
        found.append((float(np.square(values).sum()), len(values), direction.words))
    squares, calls, words = min(found)
    if special.chdtr(calls, squares) * len(found) >= level:
        return []
    ratio = math.sqrt(squares / calls)
    return [_free(f"{words} has {ratio:.3g} times the noise of a coordinate", ratio < 1e-3)]


def _columns(noise: NoiseRun) -> int:
    return int(
        min(len(noise.where), COLUMNS if len(noise.where) > 1.2 * COLUMNS else len(noise.where), noise.sound.sum() // 4)
    )


def _spectrum(noise: NoiseRun, level: float) -> list[Finding]:
    """The smallest singular value of n x k Gaussian draws exceeds √n - √k - t but for exp(-t²/2) (Davidson, Szarek)."""
    columns = _columns(noise)
    if noise.missing or columns < 2:
        return []
    picked = np.linspace(0, len(noise.where) - 1, columns).astype(int)
    draws = noise.scaled[:, picked]
    smallest = math.sqrt(max(float(np.linalg.eigvalsh(draws.T @ draws)[0]), 0.0))
    calls = len(draws)
    if smallest >= math.sqrt(calls) - math.sqrt(columns) - math.sqrt(2 * math.log(1 / level)):
        return []
    ratio = smallest / math.sqrt(calls)
    return [_free(f"a direction among {columns} coordinates has at most {ratio:.3g} times their noise", ratio < 1e-3)]


def _free(observed: str, wholly: bool) -> Finding:
    return Finding(
        check="direction without noise",
        severity="violation",
        fed="batches that sum to zero, again and again",
        observed=observed,
        expected="the same noise in every direction",
        remedy="add noise to the whole gradient, and do not centre, project or mask it",
        rung=1,
        true_epsilon=math.inf if wholly else None,
    )


def _finding(
    check: str,
    fed: str,
    observed: str,
    remedy: str = "derive a new random key for every step and every variable",
    *,
    expected: str = "independent draws for every coordinate of every variable at every step",
    true_epsilon: float | None = math.inf,
) -> Finding:
    return Finding(
        check, "violation", f"a batch that sums to zero in {fed}", observed, expected, remedy, 1, true_epsilon
    )


def largest_cosine(draws: FloatArray, level: float = 0.0) -> tuple[float, int, int]:
    """Largest cosine of two rows, the number of pairs, and how many pairs are alike at this level."""
    # In float32 a cosine is right to 1e-6, and takes half of the time.
    unit = (draws / np.maximum(np.linalg.norm(draws, axis=1, keepdims=True), 1e-300)).astype(np.float32)
    worst, alike, pairs = 0.0, 0, len(unit) * (len(unit) - 1) // 2
    limit = _cosine_at(level / max(pairs, 1), draws.shape[1]) if level > 0 else 1.0
    for start in range(0, len(unit), ROWS_AT_ONCE):
        cosines = unit[start : start + ROWS_AT_ONCE] @ unit[start:].T
        cosines[np.tril_indices(len(cosines))] = 0.0
        here = max(float(cosines.max()), float(cosines.min()), key=abs)
        if abs(here) > max(limit, SAME):
            alike += int(np.count_nonzero(np.abs(cosines) > max(limit, SAME)))
        worst = here if abs(here) > abs(worst) else worst
    return worst, pairs, alike


def _cosine_at(level: float, size: int) -> float:
    """The cosine that two independent vectors exceed with this probability."""
    quantile = -float(special.stdtrit(size - 1, level / 2))
    return quantile / math.sqrt(size - 1 + quantile**2)


def p_of_cosine(cosine: float, size: int) -> float:
    """Chance of so large a cosine, on either side, of two independent Gaussian vectors of ``size`` numbers."""
    if abs(cosine) >= 1:
        return 0.0
    return float(2 * special.stdtr(size - 1, -abs(cosine) * math.sqrt((size - 1) / (1 - cosine**2))))


def rounded(number: float) -> str:
    """To two digits, for a sentence."""
    return f"{float(f'{number:.2g}'):,.0f}"
