"""What the best candidate attack can reach: reference curves beside the reconstruction bound, and power.

Under Gaussian noise the attacker decides among M means. If the candidates' contributions are orthogonal and all reach
the clip norm the best success has a closed integral; a regular simplex is the best arrangement as far as is known (the
weak simplex conjecture is unproved). Both are drawn for orientation and decide nothing: only the reconstruction bound
is proved.
"""

import numpy as np
from scipy.integrate import quad
from scipy.special import bdtrc, ndtr, ndtri

from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.scores.intervals import lower_rate


def orthogonal_success(mu: float, candidates: int) -> float:
    """P[the right one of M orthogonal means scores highest] = ∫ φ(x - μ) Φ(x)^(M-1) dx.

    Args:
        mu: length of a mean over the noise's standard deviation; √steps / noise multiplier for full batches.
        candidates: M, equally likely.

    >>> round(orthogonal_success(0.0, 8), 6)
    0.125
    """
    check.nonnegative("mu", mu)
    check.integer("candidates", candidates, at_least=2)
    value, _ = quad(
        lambda x: np.exp(-((x - mu) ** 2) / 2) * ndtr(x) ** (candidates - 1), mu - 12, mu + 12, epsabs=1e-12, limit=200
    )
    return float(value / np.sqrt(2 * np.pi))


def simplex_success(mu: float, candidates: int) -> float:
    """The same for a regular simplex: means pushed apart by √(M / (M - 1)), which no known arrangement beats."""
    check.integer("candidates", candidates, at_least=2)
    return orthogonal_success(mu * np.sqrt(candidates / (candidates - 1)), candidates)


def equivalent_mu(gamma: float, kappa: float) -> float:
    """μ of the Gaussian mechanism with the same reconstruction bound: Φ⁻¹(γ) - Φ⁻¹(κ).

    >>> round(equivalent_mu(0.3891, 0.1), 3)
    1.0
    """
    if not 0 < kappa <= gamma < 1:
        raise InputError(f"equivalent μ needs 0 < κ ≤ γ < 1, got κ = {kappa!r} and γ = {gamma!r}.")
    return float(ndtri(gamma) - ndtri(kappa))


def violation_power(success: float, gamma: float, *, runs: int, confidence: float) -> float:
    """P[the exact lower bound of ``runs`` games exceeds γ] when each is won with probability ``success``.

    >>> violation_power(0.7, 0.4, runs=200, confidence=0.95) > 0.99
    True
    """
    check.probability("success", success)
    check.integer("runs", runs, at_least=1)
    check.open_unit("confidence", confidence)
    wins = np.arange(1, runs + 1)
    lower = lower_rate(wins, runs, 1 - confidence)
    enough = wins[lower > gamma]
    return float(bdtrc(enough[0] - 1, runs, success)) if enough.size else 0.0
