"""From the noise there is to the ε there is."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from dpaudit.accounting.claim import Adjacency, Claim, GaussianSteps
from dpaudit.accounting.law_epsilon import law_epsilon
from dpaudit.accounting.mechanism import Accounted, epsilon, fitted_grid

EpsilonOf = Callable[[float], float | None]

# Below this one a single step in which a record takes part costs it ε = 500,000: no finite ε is claimed.
NONE_BELOW = 1e-3


def epsilon_of_steps(mechanism: GaussianSteps, *, delta: float, adjacency: Adjacency, group: int = 1) -> Accounted:
    """ε of the steps that were run, to the digits a finding shows; infinite where next to no noise was added.

    >>> from dpaudit.accounting.claim import Poisson
    >>> round(epsilon_of_steps(GaussianSteps(0.1, 1000, Poisson(0.01)), delta=1e-5, adjacency="add-remove").epsilon, -1)
    1190.0
    """
    noise = mechanism.noise_multiplier
    if noise < NONE_BELOW:
        return Accounted(math.inf, delta, adjacency, "next to no noise", at_least=math.inf)
    # ε differs by less than 1e-3 from that of the finest grid, and the work is a second's.
    grid = fitted_grid(1e-3, noise)
    return epsilon(mechanism, delta=delta, adjacency=adjacency, group=group, grid=grid)


def epsilon_under(claim: Claim | None) -> EpsilonOf:
    """A function from an effective noise multiplier to ε, for the sampling, steps and δ of a claim.

    Without a claim that says how the mechanism was composed it knows only that no noise means ε = ∞, and infinite noise
    ε = 0.

    >>> from dpaudit.accounting.claim import GaussianSteps, Poisson
    >>> steps = GaussianSteps(noise_multiplier=2.0, steps=4, sampling=Poisson(1.0))
    >>> epsilon_of = epsilon_under(Claim(4.377, 1e-5, "record", "add-remove", "the paper", steps))
    >>> round(epsilon_of(1.0), 3)
    9.997
    """

    def epsilon_of(noise_multiplier: float) -> float | None:
        if noise_multiplier <= 0:
            return math.inf
        if math.isinf(noise_multiplier):
            return 0.0
        if claim is None or (claim.mechanism is None and claim.noise is None):
            return None
        return _epsilon(claim, noise_multiplier)

    return epsilon_of


@lru_cache(maxsize=256)
def _epsilon(claim: Claim, noise_multiplier: float) -> float:
    if claim.noise is not None:
        steps = claim.noise.with_noise(noise_multiplier)
        return law_epsilon(steps, claim.noise.noise, delta=claim.delta, adjacency=claim.adjacency).epsilon
    assert claim.mechanism is not None
    really_run = replace(claim.mechanism, noise_multiplier=noise_multiplier)
    return epsilon_of_steps(really_run, delta=claim.delta, adjacency=claim.adjacency).epsilon
