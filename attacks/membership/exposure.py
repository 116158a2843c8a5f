"""Exposure of planted secrets, `Carlini et al. (2019) <https://arxiv.org/abs/1802.08232>`_, the Secret Sharer."""

import numpy as np

from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError


def exposure(perplexities: object, reference: object) -> FloatArray:
    """log2 of the number of candidates, minus log2 of the rank of this secret among them.

    The candidates are the references and the secret itself. TensorFlow Privacy counts the references alone, which is
    log2((n + 1) / n) less.

    Args:
        perplexities: log-perplexity of each planted secret under the model, shape (secrets,).
        reference: log-perplexities of secrets drawn the same way and not planted, shape (references,).

    Returns:
        Bits, shape (secrets,). 0 when every reference is likelier, log2(references + 1) at most.

    >>> exposure([0.0, 2.5], [1.0, 2.0, 3.0])
    array([2.       , 0.4150375])
    """
    ppl = check.vector("perplexities", perplexities)
    others = np.sort(check.vector("reference perplexities", reference))
    rank = 1 + np.searchsorted(others, ppl, side="right")
    bits: FloatArray = np.log2(others.size + 1) - np.log2(rank)
    return bits


def extrapolated_exposure(perplexities: object, reference: object) -> FloatArray:
    """-log2 of the probability that a secret that was not planted is as likely, from a skew-normal fit.

    It goes beyond log2(references), where the rank is 1. The tail is integrated from the log-density, so that it
    does not round to 0 (an infinite exposure) far out.

    Raises:
        InputError: the references are too few to fit (below 10) or all equal.

    >>> import numpy as np
    >>> extrapolated_exposure([-40.0], np.random.default_rng(0).normal(size=500)) > 100
    array([ True])
    """
    from scipy.stats import skewnorm

    ppl = check.vector("perplexities", perplexities)
    others = check.vector("reference perplexities", reference)
    if others.size < 10 or np.ptp(others) == 0:
        raise InputError(f"a fit needs 10 references that differ, got {others.size}.")
    shape, location, scale = skewnorm.fit(others)
    tails = [log_tail(float((value - location) / scale), float(shape)) for value in ppl]
    bits: FloatArray = -np.array(tails) / np.log(2)
    return bits


def log_tail(z: float, shape: float) -> float:
    """log P(Z ≤ z) of a standard skew-normal, by integrating the density relative to its value at z."""
    from scipy.integrate import quad
    from scipy.stats import skewnorm

    if skewnorm.cdf(z, shape) > 1e-6:
        return float(skewnorm.logcdf(z, shape))
    top = _log_density(z, shape)
    area, _ = quad(lambda below: np.exp(_log_density(z - below, shape) - top), 0, np.inf)
    return top + float(np.log(area))


def _log_density(z: float, shape: float) -> float:
    from scipy.stats import norm

    return float(np.log(2) + norm.logpdf(z) + norm.logcdf(shape * z))
