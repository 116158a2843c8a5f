"""What an inspection would have found: for each kind of fault the smallest one, with probability 0.8 in its budget."""

import math
from dataclasses import dataclass

from scipy import special

POWER = 0.8


@dataclass(frozen=True)
class Sight:
    """One kind of fault.

    Args:
        kind: what was asked.
        smallest: the smallest deviation that is found with probability 0.8; or why it was not asked.
        asked: whether it was.
    """

    kind: str
    smallest: str
    asked: bool = True


def least_ratio(level: float, draws: float) -> float:
    """Largest ratio of standard deviations, below 1, that ``draws`` Gaussian numbers tell from 1 with probability 0.8.

    >>> round(least_ratio(0.05, 1000), 3)
    0.946
    """
    ratio = special.gammaincinv(draws / 2, level) / special.gammaincinv(draws / 2, POWER)
    return math.sqrt(float(ratio))


def resolution(level: float) -> float:
    """Standard errors a mean must lie beyond its limit to be seen with probability 0.8 at this level."""
    return float(special.ndtri(POWER) - special.ndtri(level))
