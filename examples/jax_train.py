"""DP-SGD with jax-privacy, to be inspected: dpaudit inspect examples/jax_train.py:build"""

from collections.abc import Callable
from typing import Any

import jax
from jax_privacy import batch_selection, clipped_grad, noise_addition

CLIP, NOISE, BATCH = 1.0, 1.1, 50


def build(loss: Callable[..., Any]) -> Any:
    """The clipped gradient of a loss of (parameters, batch), its noise, and how batches are drawn."""
    gradient = clipped_grad(loss, l2_clip_norm=CLIP, normalize_by=BATCH)
    noise = noise_addition.gaussian_privatizer(stddev=NOISE * CLIP / BATCH, prng_key=jax.random.key(0))
    return gradient, noise, batch_selection.CyclicPoissonSampling(sampling_prob=0.05, iterations=200)


def noise_for_the_mean(loss: Callable[..., Any]) -> Any:
    """The noise is divided by the batch size a second time."""
    gradient, _, batches = build(loss)
    wrong = gradient.sensitivity() * NOISE / BATCH
    return gradient, noise_addition.gaussian_privatizer(stddev=wrong, prng_key=jax.random.key(0)), batches
