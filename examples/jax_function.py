"""DP-SGD in JAX: one model for a plan, or thousands at once by vmap.

In a plan: trainer = "function" and train = "jax_function:train", with its noise_multiplier, steps and rate.
python examples/jax_function.py audits four thousand trainings of one canary.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import dpaudit
from dpaudit.accounting.claim import GaussianSteps, Poisson
from dpaudit.accounting.mechanism import epsilon

CLIP, NOISE, STEPS, RATE, LEARNING_RATE = 1.0, 3.0, 10, 1.0, 0.5


def loss(weights: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """Cross-entropy of a linear model on one record."""
    return -jax.nn.log_softmax(x @ weights)[y]


def fit(key: jax.Array, included: jax.Array, x: jax.Array, y: jax.Array, classes: int) -> jax.Array:
    """Weights after DP-SGD on the included records: Poisson batches, per-example clipping by vmap, Gaussian noise."""
    expected = RATE * len(x) / 2  # a number fixed in advance, whoever is included

    def step(weights: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        coins, noise = jax.random.split(key)
        drawn = included & jax.random.bernoulli(coins, RATE, (len(x),))
        each = jax.vmap(jax.grad(loss), (None, 0, 0))(weights, x, y)
        norms = jnp.sqrt((each**2).sum(axis=(1, 2)))
        clipped = jnp.einsum("i,ijk->jk", drawn / jnp.maximum(1.0, norms / CLIP), each)
        noisy = clipped + NOISE * CLIP * jax.random.normal(noise, weights.shape)
        return weights - LEARNING_RATE * noisy / expected, None

    start = jnp.zeros((x.shape[1], classes))
    return jax.lax.scan(step, start, jax.random.split(key, STEPS))[0]


def train(dataset: dpaudit.Dataset, included: np.ndarray, *, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """One model on the included records, as the trainer ``function`` calls it."""
    x = jnp.asarray(dataset.features.reshape(len(dataset), -1))
    weights = fit(jax.random.key(seed), jnp.asarray(included), x, jnp.asarray(dataset.labels), dataset.outputs)
    return lambda features: np.asarray(features.reshape(len(features), -1) @ weights)


def main(models: int = 4000) -> Any:
    """Thousands of trainings with and without one canary, by one vmap over models."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 5)).astype(np.float32), rng.integers(0, 2, 40)
    x[0] = [0, 0, 0, 0, 3.0]  # a canary: in a direction of its own
    x[1:, 4] = 0
    member = rng.random(models) < 0.5
    included = np.ones((models, 40), bool)
    included[:, 0] = member
    many = jax.jit(jax.vmap(fit, (0, 0, None, None, None)), static_argnums=4)
    weights = many(
        jax.random.split(jax.random.key(1), models), jnp.asarray(included), jnp.asarray(x), jnp.asarray(y), 2
    )
    scores = -np.asarray(jax.vmap(loss, (0, None, None))(weights, jnp.asarray(x[0]), y[0]))
    claimed = epsilon(GaussianSteps(NOISE, STEPS, Poisson(RATE)), delta=1e-5).epsilon
    return dpaudit.audit_scores(scores, member, epsilon=claimed, delta=1e-5, design="many-runs")


if __name__ == "__main__":
    print(main().comparisons[0].sentence)
