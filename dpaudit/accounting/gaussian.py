"""Gaussian differential privacy in closed form, both ways, `Dong, Roth and Su (2022) <https://arxiv.org/abs/1905.02383>`_."""

import math

from scipy.special import log_ndtr

from dpaudit.runtime import check


def gaussian_delta(mu: float, epsilon: float) -> float:
    """δ(ε) of μ-Gaussian differential privacy, Dong, Roth and Su (2022), corollary 2.13.

    >>> round(gaussian_delta(1.0, 1.0), 6)
    0.126937
    """
    shift = check.nonnegative("mu", mu)
    if shift == 0:
        return max(0.0, -math.expm1(epsilon))
    first = float(log_ndtr(-epsilon / shift + shift / 2))
    second = epsilon + float(log_ndtr(-epsilon / shift - shift / 2))
    return math.exp(first) * -math.expm1(min(0.0, second - first))


def gaussian_epsilon(mu: float, delta: float) -> float:
    """ε of μ-Gaussian differential privacy at δ.

    >>> round(gaussian_epsilon(2.0, 1e-5), 5)
    9.99726
    """
    from scipy.optimize import brentq

    shift, slack = check.nonnegative("mu", mu), check.delta("delta", delta)
    if gaussian_delta(shift, 0.0) <= slack:
        return 0.0
    if slack == 0:
        return math.inf
    # Markov on the Gaussian tail: beyond this ε even the probability of so large a loss is below δ.
    high = shift * (shift / 2 + math.sqrt(-2 * math.log(slack))) + 1e-9
    while high < math.inf and gaussian_delta(shift, high) > slack:  # rounding, where μ² has more digits than a float
        high *= 2
    if high == math.inf:
        return math.inf
    return float(brentq(lambda e: gaussian_delta(shift, e) - slack, 0.0, high, xtol=1e-12, rtol=1e-14))


def gaussian_mu(epsilon: float, delta: float) -> float:
    """The μ whose ε at δ is ``epsilon``: the inverse of `gaussian_epsilon`.

    >>> round(1 / gaussian_mu(2.0, 1e-5), 5)
    1.99381
    """
    from scipy.optimize import brentq

    figure, slack = check.nonnegative("epsilon", epsilon), check.delta("delta", delta)
    if slack == 0:
        return 0.0
    # δ(ε) grows with μ from 0 to 1.
    high = 1.0
    while gaussian_delta(high, figure) < slack:
        high *= 2
    return float(brentq(lambda mu: gaussian_delta(mu, figure) - slack, 0.0, high, xtol=1e-13, rtol=1e-14))
