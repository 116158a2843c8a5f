"""What any number of trainings can show of a leak, however good the attack: the limit of exact intervals.

A Gaussian leak of (ε, δ) that the attacker sees undisturbed is judged by two Clopper-Pearson limits, as in
`dpaudit.bounds.clopper_pearson`, at the threshold that suits it best. Its errors are taken at their expected numbers.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import betaincinv, ndtr

from dpaudit.accounting.gaussian import gaussian_mu
from dpaudit.runtime import check

SIDES = (500, 1_000, 10_000, 100_000, 1_000_000)  # trainings with the record, and as many without
GRID = 400  # thresholds tried before the best of them is refined


def trainings_limit(epsilon: float, trainings: int, *, delta: float, confidence: float = 0.95) -> float:
    """The lower bound for any mechanism that a perfect Gaussian leak of (``epsilon``, δ) gives on so many trainings.

    Args:
        epsilon: true ε of the leak.
        trainings: with the record, and as many without.
        delta: δ of the leak and of the bound, above 0.
        confidence: of the bound.

    Raises:
        InputError: an argument outside its range.

    >>> round(trainings_limit(10.0, 10_000, delta=1e-5), 2)
    4.4
    """
    figure, side = check.nonnegative("epsilon", epsilon), check.integer("trainings", trainings, at_least=1)
    slack = check.positive("delta", check.delta("delta", delta))
    level, mu = 1 - check.open_unit("confidence", confidence), gaussian_mu(figure, slack)

    def below(threshold: float) -> float:
        """Minus the bound at a threshold so many standard deviations above the middle."""
        misses, alarms = ndtr(threshold - mu / 2), ndtr(-threshold - mu / 2)
        # Clopper and Pearson's upper limit, at a number of errors that need not be whole.
        fnr, fpr = (float(betaincinv(side * rate + 1, side * (1 - rate), 1 - level / 2)) for rate in (misses, alarms))
        return -math.log(max(1.0, (1 - fnr - slack) / fpr))

    # The other direction is the mirror image. Beyond this threshold less than one alarm is expected at any number.
    grid = np.linspace(0.0, 8.0 + mu / 2, GRID)
    best = int(np.argmin([below(threshold) for threshold in grid]))
    around = (grid[max(0, best - 1)], grid[min(GRID - 1, best + 1)])
    return max(0.0, -float(minimize_scalar(below, bounds=around, method="bounded").fun))


def trainings_limits(
    epsilon: float, *, delta: float, confidence: float = 0.95, sides: Sequence[int] = SIDES
) -> dict[int, float]:
    """`trainings_limit` for several numbers of trainings.

    >>> [round(limit, 1) for limit in trainings_limits(10.0, delta=1e-5).values()]
    [2.7, 3.1, 4.4, 5.5, 6.5]
    """
    return {side: trainings_limit(epsilon, side, delta=delta, confidence=confidence) for side in sides}
