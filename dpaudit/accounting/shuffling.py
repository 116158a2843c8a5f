"""Shuffled batches: a lower bound on what they cost, by simulation."""

import numpy as np
from scipy.special import logsumexp
from scipy.stats import binom

from dpaudit.accounting.claim import GaussianSteps, Shuffled
from dpaudit.accounting.mechanism import Accounted
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError


def shuffle_lower_bound(
    mechanism: GaussianSteps, *, delta: float, confidence: float, samples: int, seed: int
) -> Accounted:
    """A lower bound on the zero-out ε of DP-SGD on shuffled batches, by simulation of the worst data set known.

    Every other gradient points away from the audited one, so each epoch compares the position of its batch:
    `Annamalai, Balle, Hayes and De Cristofaro (2024) <https://arxiv.org/abs/2411.10614>`_, after
    `Chua et al. (2024) <https://arxiv.org/abs/2403.17673>`_. Values of ε are tested in rising order, each by an exact
    binomial test at the full level, up to the first that fails; so the figure holds with ``confidence``.

    Args:
        mechanism: with `Shuffled` sampling and a whole number of epochs.
        delta: above 0; needs well over 1 / δ samples.
        confidence: of the Monte Carlo, in (0, 1).
        samples: simulated trainings.
        seed: of the simulation.
    """
    if not isinstance(mechanism.sampling, Shuffled):
        raise InputError(f"the bound for shuffling needs Shuffled sampling, got {mechanism.sampling!r}.")
    batches = mechanism.sampling.batches_per_epoch
    if mechanism.steps % batches:
        raise InputError(f"steps must be whole epochs of {batches} batches, got {mechanism.steps}.")
    check.integer("samples", samples, at_least=100)
    level = 1 - check.open_unit("confidence", confidence)
    noise = check.positive("noise_multiplier", mechanism.noise_multiplier)
    rng = np.random.default_rng(check.integer("seed", seed, at_least=0))
    loss = _shuffle_losses(noise, batches, mechanism.steps // batches, samples, rng)
    coins = rng.random(samples)

    def confirmed(figure: float) -> bool:
        # A value in [0, 1] replaced by a coin of that probability keeps its mean and makes the sum exactly binomial.
        hits = int((coins < -np.expm1(np.minimum(0.0, figure - loss))).sum())
        return hits > 0 and float(binom.sf(hits - 1, samples, delta)) <= level

    figure, step = 0.0, 0.02
    while confirmed(figure + step):
        figure += step
    return Accounted(
        figure,
        delta,
        "zero-out",
        "Monte Carlo over shuffled batches",
        optimistic=True,
        note=f"a lower bound on ε with confidence {confidence:g}, not an upper bound",
    )


def _shuffle_losses(noise: float, batches: int, epochs: int, samples: int, rng: np.random.Generator) -> FloatArray:
    total = np.zeros(samples)
    rows = max(1, 4_000_000 // batches)
    for start in range(0, samples, rows):
        stop = min(samples, start + rows)
        for _ in range(epochs):
            x = rng.normal(0.0, noise, (stop - start, batches))
            x[:, 0] += 2.0  # the batches are exchangeable: the audited record may as well be in the first
            present = logsumexp((2 * x - 2) / noise**2, axis=1)
            absent = logsumexp((x - 0.5) / noise**2, axis=1)
            total[start:stop] += present - absent
    return total
