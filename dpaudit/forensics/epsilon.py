"""From the noise there is to the ε there is."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from dpaudit.accounting import epsilon, gaussian_epsilon
from dpaudit.claim import Claim

EpsilonOf = Callable[[float], float | None]

# The privacy loss distribution of subsampled steps takes minutes and overflows below this noise multiplier, where ε is
# in the hundreds anyway; the figure at this noise multiplier is then given, and is less than the truth.
LEAST_NOISE = 0.25
# Spacing of the discretised privacy loss; ε differs from the finest by less than 1e-3.
GRID = 1e-3


def epsilon_under(claim: Claim | None) -> EpsilonOf:
    """A function from an effective noise multiplier to ε, for the sampling, steps and δ of a claim.

    Without a claim that says how the mechanism was composed it knows only that no noise means ε = ∞, and infinite noise
    ε = 0.

    >>> from dpaudit.claim import GaussianSteps, Poisson
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
        if claim is None or claim.mechanism is None:
            return None
        return _epsilon(claim, noise_multiplier)

    return epsilon_of


@lru_cache(maxsize=256)
def _epsilon(claim: Claim, noise_multiplier: float) -> float:
    assert claim.mechanism is not None
    mechanism = claim.mechanism
    if mechanism.sampling.rate == 1 and mechanism.slack == 0:
        moved = 2 if claim.adjacency == "replace-one" else 1
        return gaussian_epsilon(moved * math.sqrt(mechanism.steps) / noise_multiplier, claim.delta)
    really_run = replace(mechanism, noise_multiplier=max(noise_multiplier, LEAST_NOISE))
    return epsilon(really_run, delta=claim.delta, adjacency=claim.adjacency, grid=GRID).epsilon
