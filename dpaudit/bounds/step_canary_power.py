"""How large a violation step canaries would have seen: less noise than claimed on the claim's own steps.

A canary behind a fair coin at each step is told apart rightly with probability Φ(d / 2σ), with σ the noise over the
clip norm and d how many clip norms one change moves the release. The threshold is fixed by a pilot, so the number of
right answers is binomial and the power is exact.
"""

import math

from scipy.special import ndtr

from dpaudit.accounting.claim import TOLERANCE, Adjacency, Claim
from dpaudit.accounting.composed import epsilon_under

METHOD = "step-canaries"
LEAST_NOISE = 40.0  # clip norms moved over noise; every answer is right long before


def clips_per_change(adjacency: Adjacency) -> int:
    """Clip norms by which one change moves a release: two for a replaced example, one for any other."""
    return 2 if adjacency == "replace-one" else 1


def claimed_rate(claim: Claim, noise_multiplier: float) -> float:
    """Largest probability of a right answer under noise of this multiplier."""
    return float(ndtr(clips_per_change(claim.adjacency) / (2 * noise_multiplier)))


def visible_to_steps(claim: Claim, trials: int, level: float, *, power: float) -> float:
    """Smallest ε of less noise than claimed at which ``trials`` coins contradict the claim with probability ``power``.

    Infinite when no noise, however little, would be reported. The claim says how its steps were composed.

    >>> from dpaudit.accounting.claim import GaussianSteps, Poisson
    >>> steps = GaussianSteps(noise_multiplier=1.0, steps=1, sampling=Poisson(1.0))
    >>> claim = Claim(4.377, 1e-5, "record", "add-remove", "the paper", steps)
    >>> visible_to_steps(claim, 3, 0.05, power=0.8)
    inf
    >>> round(visible_to_steps(claim, 1000, 0.05, power=0.8), 1)
    5.5
    """
    from scipy.optimize import brentq
    from scipy.stats import binom

    sigma = noise_of_claim(claim)
    needed = binom.isf(level, trials, claimed_rate(claim, sigma)) + 1
    if needed > trials:
        return math.inf

    def short(noise_multiplier: float) -> float:
        return float(binom.sf(needed - 1, trials, claimed_rate(claim, noise_multiplier))) - power

    least = min(sigma, clips_per_change(claim.adjacency) / LEAST_NOISE)
    return composed_epsilon(claim, float(brentq(short, least, sigma)))


def noise_of_claim(claim: Claim) -> float:
    """The noise multiplier at which the claim's steps have the claim's ε: its own, unless it states another ε."""
    from scipy.optimize import brentq

    assert claim.mechanism is not None
    own = claim.mechanism.noise_multiplier
    if math.isclose(composed_epsilon(claim, own), claim.epsilon, rel_tol=TOLERANCE):
        return own

    def excess(log_noise: float) -> float:
        return composed_epsilon(claim, math.exp(log_noise)) - claim.epsilon

    low = high = math.log(own)
    while excess(low) < 0:
        low -= 0.5
    while excess(high) > 0:
        high += 0.5
    return math.exp(float(brentq(excess, low, high, xtol=1e-3)))


def composed_epsilon(claim: Claim, noise_multiplier: float) -> float:
    """ε of the claim's steps with this noise; 0 when nothing bounds the noise."""
    if math.isinf(noise_multiplier):
        return 0.0
    epsilon = epsilon_under(claim)(noise_multiplier)
    assert epsilon is not None
    return epsilon
