"""Has the noise the law that is accounted: its shape, its tails, and values as close together as floats are?"""

import math

import numpy as np
from scipy import special, stats

from dpaudit.accounting.law import DiscreteGaussian
from dpaudit.bounds.lower_bound import Finding
from dpaudit.inspection.noise import COINCIDENCE, OF_VALUES, NoiseRun, coincidences
from dpaudit.inspection.probe import Probe
from dpaudit.inspection.sight import POWER, Sight
from dpaudit.runtime.check import FloatArray

THRESHOLDS = (2.5, 3.0, 3.5, 4.0)  # deviations beyond which the draws are counted
DRAWS = 1_000_000
LATTICE = 1e-3  # of the spacing: what rounding a float32 leaves
CALLS = 32
BINS = 16_384  # in which values are counted before they are sorted


def check_law(probe: Probe, noise: NoiseRun) -> list[Finding]:
    """Shape and tails, then the grid. Dividing by the measured deviation makes the tests conservative."""
    if noise.missing:
        return []
    level = probe.level / 3
    found = _of_a_step(noise, level)
    if found is not None:
        return [_other(probe, noise, found)]
    draws = _jittered(probe, noise)
    shape = distance(special.ndtr(draws), at_least=significant(draws.size, level))
    if shape:
        return [_other(probe, noise, f"noise that is not {_law(probe)} (Kolmogorov-Smirnov distance {shape:.3g})")]
    size = np.abs(draws)
    for threshold in THRESHOLDS:
        chance = 2 * float(special.ndtr(-threshold))
        count = int(np.count_nonzero(size > threshold))
        fewer, more = stats.binom.cdf(count, draws.size, chance), stats.binom.sf(count - 1, draws.size, chance)
        if 2 * min(fewer, more) < level / len(THRESHOLDS):
            seen = f"{count:,} of {draws.size:,} draws beyond {threshold:g} deviations, where {_law(probe)} noise has "
            return [_other(probe, noise, f"{seen}{draws.size * chance:,.0f}")]
    return _grid(probe, noise)


def sights_of_law(probe: Probe, noise: NoiseRun) -> list[Sight]:
    """What those tests would have found, and what no finite number of draws excludes."""
    draws = _draws(noise).size
    mass = -math.log(probe.level / 3 / len(THRESHOLDS)) / draws
    furthest = max((t for t in THRESHOLDS if 2 * special.ndtr(-t) > mass), default=None)
    apart = (math.sqrt(-math.log(probe.level / 6) / 2) + special.ndtri(POWER) / 2) / math.sqrt(draws)
    tails = (
        "tails were not looked at: too few draws"
        if furthest is None
        else f"noise cut off at {furthest:g} deviations or before, by {draws:,} draws; beyond that nothing is known"
    )
    grid = "a grid of 1/40,000 of a deviation"
    if isinstance(probe.stated.law, DiscreteGaussian):
        grid = "any value off the lattice that is stated"
    calls = int(noise.sound.sum())
    of_a_step = (math.sqrt(-math.log(probe.level / 6 / (1 + len(noise.sizes))) / 2) + 0.5) / math.sqrt(calls)
    kind = "noise of one size, or of a size that changes"
    return [
        Sight(kind, f"a distance of {of_a_step:.2g} between distributions")
        if of_a_step < 1
        else Sight(kind, f"{calls:,} calls are too few: a longer budget makes more (--budget)", asked=False),
        Sight("shape of the noise", f"a distance of {apart:.2g} between distributions"),
        Sight("tails of the noise", tails),
        Sight("spacing of the noise", grid),
    ]


def significant(number: int, level: float) -> float:
    """The distance that so many independent values exceed with probability ``level`` at most.

    The bound 2 exp(-2 n d²) holds for every number n and every distance d
    (`Massart 1990 <https://doi.org/10.1214/aop/1176990746>`_), and needs no table.
    """
    return math.sqrt(math.log(2 / level) / (2 * number))


def distance(values: FloatArray, *, at_least: float) -> float:
    """Kolmogorov-Smirnov distance of values from the uniform law on [0, 1]; 0 where it is below ``at_least``.

    Counts in equal bins give it up to the width of a bin, which mostly decides; only else the values are sorted.

    >>> distance(np.array([0.5]), at_least=0.1)
    0.5
    >>> distance(np.array([0.5]), at_least=0.6)
    0.0
    """
    bins = np.minimum((values * BINS).astype(np.int64), BINS - 1)
    below = np.cumsum(np.bincount(bins, minlength=BINS)) / values.size
    edges = np.arange(1, BINS + 1) / BINS
    if float(np.abs(below - edges).max()) + 1 / BINS < at_least:
        return 0.0
    found = float(stats.ks_1samp(values, stats.uniform.cdf, method="asymp").statistic)
    return found if found >= at_least else 0.0


def _of_a_step(noise: NoiseRun, level: float) -> str | None:
    """The sum of squares of each step is χ²: noise of one norm, or of a scale that is drawn, is not Gaussian."""
    squares = (noise.squares / noise.relative**2)[noise.sound]
    whole = [squares.sum(axis=1), *squares.T]
    sizes = [noise.sizes.sum(), *noise.sizes]
    for values, size in zip(whole, sizes, strict=True):
        if distance(special.chdtr(size, values), at_least=significant(len(values), level / len(whole))):
            spread = float(values.std()) / math.sqrt(2 * size)
            return f"the norm of a step's noise varies {spread:.2g} times as much as that of independent Gaussian draws"
    return None


def _jittered(probe: Probe, noise: NoiseRun) -> FloatArray:
    """Draws, made even within the spacing of releases that are rounded."""
    draws = _draws(noise)
    step = noise.spacing * probe.stated.divisor(probe.batch_size) / (probe.stated.noise_multiplier * probe.stated.clip)
    if step == 0 or isinstance(probe.stated.law, DiscreteGaussian):
        return draws
    rng = np.random.default_rng([probe.seed, 37])
    return draws + step * (rng.random(draws.shape) - 0.5)


def _draws(noise: NoiseRun) -> FloatArray:
    draws = noise.scaled[noise.scaled.any(axis=1)]
    columns = max(1, DRAWS // max(1, len(draws)))
    picked = np.linspace(0, draws.shape[1] - 1, min(columns, draws.shape[1])).astype(int)
    found: FloatArray = draws[:, picked].ravel()
    return found


def _grid(probe: Probe, noise: NoiseRun) -> list[Finding]:
    values = noise.values[noise.kind == 0]
    law = probe.stated.law
    if isinstance(law, DiscreteGaussian):
        steps = values * probe.stated.divisor(probe.batch_size) / law.spacing
        off = np.abs(steps - np.rint(steps)) > LATTICE + 1e-6 * np.abs(steps)
        if not off.any():
            return []
        return [_other(probe, noise, f"{off.mean():.0%} of the values are not multiples of {law.spacing:g}")]
    seen = coincidences(values.ravel()[:OF_VALUES])
    if seen < COINCIDENCE:
        return []
    # A sum that differs in every coordinate moves noise off its grid, and not what was rounded together with it.
    rng = np.random.default_rng([probe.seed, 33])
    batch = probe.zeros(probe.batch_size)
    batch[0] = 0.3 * probe.stated.clip * probe.random_direction(rng)
    calls = max(2, min(CALLS, len(values), -(-OF_VALUES // probe.coordinates)))
    with_sum = coincidences(probe.releases(batch, calls).ravel()[:OF_VALUES])
    bits = -math.log2(seen)
    if with_sum > seen / 8:
        return [
            Finding(
                check="rounded release",
                severity="warning",
                fed="gradients of zeros, and one gradient that differs in every coordinate",
                observed=f"releases on a grid: two values are equal with probability 2^-{bits:.0f}",
                expected="values as close together as those of float32 draws, or rounding that is stated",
                remedy="add noise in float32 or better, round the noisy sum, and state it: Mechanism(after=(ROUNDED,))",
                rung=1,
            )
        ]
    return [
        Finding(
            check="noise lattice",
            severity="violation",
            fed="gradients of zeros, and one gradient that differs in every coordinate",
            observed=f"noise on a grid (two values are equal with probability 2^-{bits:.0f}) that the sum is not on: "
            "the digits beyond the grid are those of the sum",
            expected="noise as fine as the sum it hides",
            remedy="draw noise in the precision of the sum, or discrete Gaussian noise with the sum on its grid",
            rung=1,
            true_epsilon=math.inf,
        )
    ]


def _law(probe: Probe) -> str:
    return probe.stated.law.words if not hasattr(probe.stated.law, "covariance") else "Gaussian"


def _other(probe: Probe, noise: NoiseRun, observed: str) -> Finding:
    return Finding(
        check="noise distribution",
        severity="violation",
        fed=f"batches that sum to zero, {noise.calls:,} times",
        observed=observed,
        expected=f"{_law(probe)} noise, which the accountant assumes",
        remedy="draw every coordinate from the distribution that is accounted, and do not cut it off",
        rung=1,
        true_epsilon=None,
    )
