"""ε of the final model alone, by a heuristic: `Steinke and others (2024) <https://arxiv.org/abs/2410.06186>`_.

Were the loss linear, the final model would show the sum of all steps and no more: the record's number of steps, which
is binomial, against one Gaussian of all the noise. For other losses this is no bound in either direction.
"""

import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import logsumexp, ndtr
from scipy.stats import binom

from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError

NEGLIGIBLE = 1e-30  # probability of a number of steps that is left out


def last_iterate_epsilon(noise_multiplier: float, *, rate: float, steps: int, delta: float) -> float:
    """The heuristic's ε of adding or removing a record, when only the final model is seen; not a bound.

    Infinite where it is above 600.

    Args:
        noise_multiplier: standard deviation of a step's noise over the clip norm, above 0.
        rate: probability with which a record is in a step, above 0.
        steps: of the training.
        delta: δ, above 0.

    Raises:
        InputError: an argument outside its range.

    >>> round(last_iterate_epsilon(1.0, rate=0.01, steps=1000, delta=1e-5), 3)
    1.278
    """
    sigma, length = check.positive("noise_multiplier", noise_multiplier), check.integer("steps", steps, at_least=1)
    share = check.probability("rate", rate)
    if share == 0:
        raise InputError("rate must be above 0: a record that is in no step shows nothing.")
    slack = check.positive("delta", check.delta("delta", delta))
    counts = np.arange(length + 1)
    weights = binom.pmf(counts, length, share)
    counts, weights = counts[weights > NEGLIGIBLE], weights[weights > NEGLIGIBLE]
    spread = sigma * math.sqrt(length)

    def loss(x: float) -> float:
        """Log of the ratio of the densities, which grows with x."""
        return float(logsumexp((2 * counts * x - counts**2) / (2 * spread**2), b=weights))

    def place(figure: float) -> float:
        low, high = -spread, spread + float(counts[-1])
        while loss(low) > figure:
            low *= 2
            if low < -1e9 * spread:
                return -math.inf
        while loss(high) < figure:
            high *= 2
        return float(brentq(lambda x: loss(x) - figure, low, high, xtol=1e-12))

    def excess(figure: float) -> float:
        """The larger δ of the two directions, over the one that is given."""
        there, back = place(figure), place(-figure)
        remove = float(weights @ ndtr((counts - there) / spread)) - math.exp(figure) * float(ndtr(-there / spread))
        add = float(ndtr(back / spread)) - math.exp(figure) * float(weights @ ndtr((back - counts) / spread))
        return max(remove, add) - slack

    if excess(0.0) <= 0:
        return 0.0
    high = 1.0
    while excess(high) > 0:
        high *= 2
        if high > 600:
            return math.inf
    return float(brentq(excess, 0.0, high, xtol=1e-10))
