"""Laws of noise a mechanism can state: independent draws of one distribution, or draws correlated over the steps.

A law turns noise into normal scores: numbers that are independent standard normal draws exactly when the noise has the
law, so that one set of tests serves every law.
"""

import math
import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError

# Beyond this many deviations of a discrete Gaussian float64 knows no probability.
FURTHEST = 12.0
# With more lattice points in a deviation the sum over the lattice is the integral, to seven digits.
FINE = 2000.0


@dataclass(frozen=True)
class GaussianNoise:
    """Independent N(0, (σC)²) in every coordinate, which is what DP-SGD is accounted with."""

    norm = 2
    words = "Gaussian"

    def scores(self, noise: FloatArray, scale: float, rng: np.random.Generator) -> FloatArray:
        """Normal scores of noise on the sum, of any shape; ``scale`` is σC. A discrete law splits its atoms by coin."""
        return noise / scale

    def reach(self, level: float) -> float:
        """What one draw exceeds with probability ``level``, in units of σC."""
        return float(-special.ndtri(level / 2))


@dataclass(frozen=True)
class Laplace:
    """Independent Laplace draws of scale σC, where C bounds the L1 norm of an example's gradient.

    >>> scores = Laplace().scores(np.array([0.0, math.log(2)]), 1.0, np.random.default_rng(0))
    >>> [round(float(special.ndtr(score)), 3) for score in scores]
    [0.5, 0.75]
    """

    norm = 1
    words = "Laplace"

    def scores(self, noise: FloatArray, scale: float, rng: np.random.Generator) -> FloatArray:
        """As `GaussianNoise.scores`."""
        further = special.ndtri_exp(math.log(0.5) - np.abs(noise) / scale)
        return np.asarray(-np.sign(noise) * further, np.float64)

    def ratio(self, deviation: float) -> float:
        """Scale of the noise over the stated one, from the root mean square of its scores.

        >>> noise = np.random.default_rng(0).laplace(0.0, 0.5, 100_000)
        >>> scores = Laplace().scores(noise, 1.0, np.random.default_rng(0))
        >>> round(Laplace().ratio(float(np.sqrt(np.mean(scores**2)))), 2)
        0.5
        """
        scales, deviations = _laplace_deviations()
        return float(np.interp(deviation, deviations, scales))

    def reach(self, level: float) -> float:
        """As `GaussianNoise.reach`."""
        return -math.log(level)


@lru_cache(maxsize=1)
def _laplace_deviations() -> tuple[FloatArray, FloatArray]:
    """Scales, and the root mean square of the scores of Laplace noise of each."""
    scales = np.concatenate([[0.0], np.geomspace(1e-3, 1e3, 400)])
    size = -np.log1p(-(np.arange(4000) + 0.5) / 4000)  # of a draw, at evenly spaced probabilities
    scores = special.ndtri_exp(math.log(0.5) - scales[:, None] * size)
    return scales, np.sqrt(np.mean(scores**2, axis=1))


@dataclass(frozen=True)
class DiscreteGaussian:
    """Draws on a lattice, with chances proportional to the Gaussian density (Canonne and others 2020, 2004.00010).

    Args:
        spacing: of the lattice, in the units of the noisy sum.

    >>> scores = DiscreteGaussian(0.5).scores(np.zeros(1000), 1.0, np.random.default_rng(0))
    >>> bool(np.abs(scores).max() < 0.26)  # the atom at 0 has probability 0.2, so Φ(score) lies in [0.4, 0.6]
    True
    """

    spacing: float
    norm = 2
    words = "discrete Gaussian"

    def __post_init__(self) -> None:
        object.__setattr__(self, "spacing", check.positive("spacing", self.spacing))

    def scores(self, noise: FloatArray, scale: float, rng: np.random.Generator) -> FloatArray:
        """As `GaussianNoise.scores`: uniform within the probability of the atom."""
        unit = scale / self.spacing
        steps = np.rint(noise / self.spacing)
        below = rng.random(steps.shape)
        if unit > FINE:
            return np.asarray((steps - 0.5 + below) / unit, np.float64)
        last = math.ceil(FURTHEST * unit)
        atoms = np.exp(-((np.arange(-last, last + 1) / unit) ** 2) / 2)
        sums = np.concatenate([[0.0], np.cumsum(atoms)]) / atoms.sum()
        # From the nearer side, where small probabilities keep their digits; the law is symmetric.
        place = last - np.minimum(np.abs(steps), last).astype(np.int64)
        side = special.ndtri(np.maximum(sums[place] + below * (sums[place + 1] - sums[place]), 1e-300))
        centre = steps == 0
        middle = sums[last] + below * (sums[last + 1] - sums[last])
        return np.asarray(np.where(centre, special.ndtri(middle), -np.sign(steps) * side), np.float64)

    def reach(self, level: float) -> float:
        """As `GaussianNoise.reach`."""
        return GaussianNoise().reach(level)


@dataclass(frozen=True)
class Banded:
    """BandMF: noise C⁻¹z over the steps, C lower triangular with bands (Choquette-Choo and others 2023, 2306.08153).

    Args:
        bands: the coefficients c₀, c₁, ... of the Toeplitz matrix C. The noise is scaled so that an example, which
            takes part at most once in ``len(bands)`` steps, is hidden as by one Gaussian release of multiplier σ.
        steps: for how many steps the law is stated.

    >>> Banded((1.0,), 3).covariance().tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """

    bands: tuple[float, ...]
    steps: int
    norm = 2
    words = "banded matrix"

    def __post_init__(self) -> None:
        check.integer("steps", self.steps, at_least=1)
        if not self.bands or self.bands[0] == 0:
            raise InputError(f"bands must begin with a number that is not 0, got {list(self.bands)!r}.")

    def covariance(self) -> FloatArray:
        """Covariance of one coordinate's noise over the steps, in units of (σC)²."""
        matrix = sum(band * np.eye(self.steps, k=-lag) for lag, band in enumerate(self.bands))
        inverse = np.linalg.inv(np.asarray(matrix))
        covariance: FloatArray = float(np.square(self.bands).sum()) * inverse @ inverse.T
        return covariance


@dataclass(frozen=True)
class TreeNoise:
    """Tree aggregation as DP-FTRL uses it: prefix sums with the noise of the nodes that make them up.

    What a step releases carries the difference of two prefixes' noise (Kairouz and others 2021, 2103.00039).

    >>> TreeNoise(2).covariance().tolist()  # step 1: leaf a; step 2: the node above both, less leaf a
    [[1.0, -1.0], [-1.0, 2.0]]
    """

    steps: int
    norm = 2
    words = "tree"

    def __post_init__(self) -> None:
        check.integer("steps", self.steps, at_least=1)

    def covariance(self) -> FloatArray:
        """Covariance of one coordinate's noise over the steps, in units of (σC)²."""
        nodes: dict[tuple[int, int], int] = {}
        prefixes = []
        for stop in range(1, self.steps + 1):
            start, used = 0, []
            for bit in reversed(range(stop.bit_length())):
                if stop >> bit & 1:
                    used.append(nodes.setdefault((start, 1 << bit), len(nodes)))
                    start += 1 << bit
            prefixes.append(used)
        design = np.zeros((self.steps + 1, len(nodes)))
        for row, used in enumerate(prefixes, start=1):
            design[row, used] = 1.0
        steps = np.diff(design, axis=0)
        covariance: FloatArray = steps @ steps.T
        return covariance


Law = GaussianNoise | Laplace | DiscreteGaussian | Banded | TreeNoise


GAUSSIAN = GaussianNoise()


def correlated(law: Law) -> FloatArray | None:
    """Covariance over the steps, in units of (σC)²; None where steps are independent."""
    return law.covariance() if isinstance(law, Banded | TreeNoise) else None


def law_from(text: str) -> Law:
    """A law as it is written on a command line.

    ``gaussian``, ``laplace``, ``discrete-gaussian:SPACING``, ``banded:C0,C1,...:STEPS``, ``tree:STEPS``.

    >>> law_from("banded:1,0.5:64")
    Banded(bands=(1.0, 0.5), steps=64)
    """
    name, _, rest = text.partition(":")
    number = r"[-+0-9.eE]+"
    match name:
        case "gaussian" if not rest:
            return GaussianNoise()
        case "laplace" if not rest:
            return Laplace()
        case "discrete-gaussian" if re.fullmatch(number, rest):
            return DiscreteGaussian(_number(rest))
        case "tree" if rest.isdecimal():
            return TreeNoise(int(rest))
        case "banded" if re.fullmatch(rf"{number}(,{number})*:\d+", rest):
            bands, _, steps = rest.partition(":")
            return Banded(tuple(_number(band) for band in bands.split(",")), int(steps))
    raise InputError(
        "a law of noise is gaussian, laplace, discrete-gaussian:SPACING, banded:C0,C1,...:STEPS or tree:STEPS, "
        f"got {text!r}."
    )


def _number(text: str) -> float:
    try:
        return check.number("law", float(text))
    except ValueError as error:
        raise InputError(f"a law holds numbers, got {text!r}.") from error


def inverse_root(covariance: FloatArray) -> FloatArray:
    """W with W Σ Wᵀ = 1, lower triangular: turns correlated steps into independent ones.

    >>> np.allclose(inverse_root(np.array([[4.0, 0.0], [0.0, 1.0]])), np.diag([0.5, 1.0]))
    True
    """
    root: FloatArray = np.linalg.inv(np.linalg.cholesky(covariance))
    return root
