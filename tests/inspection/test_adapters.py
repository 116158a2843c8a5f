"""Mechanisms from what people have: a step of their own, and a server; right ones pass, broken ones are caught."""

from typing import Any

import numpy as np
import pytest

from dpaudit.inspection.array_adapters import aggregator, training_step
from dpaudit.inspection.inspect import inspect_mechanism
from dpaudit.inspection.mechanism import Mechanism, Stated

STATED = Stated(clip=2.0, noise_multiplier=1.0, denominator=32.0)
EFFORT = 0.25  # 750 calls measure the noise multiplier to 0.1; decay, noise and right steps in 10 of 10 seeds
RATE = 0.1


class OpacusStyle:
    """An optimizer in the manner of Opacus: samples' gradients, their clipped sum, noise, and a step."""

    def __init__(self, seed: int, *, per_layer: bool = False, noise_in_update: bool = False, decay: float = 0.0):
        self.rng = np.random.default_rng(seed)
        self.per_layer, self.noise_in_update, self.decay = per_layer, noise_in_update, decay

    def factors(self, grad_samples: Any) -> list[Any]:
        squares = [np.square(g).reshape(len(g), int(np.prod(g.shape[1:]))).sum(axis=1) for g in grad_samples]
        over = squares if self.per_layer else [np.sum(squares, axis=0)] * len(squares)
        return [np.minimum(1.0, 2.0 / np.maximum(np.sqrt(square), 1e-30)) for square in over]

    def __call__(self, weights: Any, grad_samples: Any) -> list[Any]:
        samples = [np.clip(np.where(np.isfinite(g), g, 0.0).astype(np.float64), -1e30, 1e30) for g in grad_samples]
        new = []
        for w, g, factor in zip(weights, samples, self.factors(samples), strict=True):
            noise = self.rng.normal(0.0, 2.0, w.shape)
            # Put into the weights with the learning rate once more.
            noise = RATE * noise if self.noise_in_update else noise
            new.append((1 - self.decay) * w - RATE * (np.tensordot(factor, g, axes=1) + noise) / 32.0)
        return new


def own_step(seed: int, **broken: Any) -> Mechanism:
    return training_step(OpacusStyle(seed, **broken), learning_rate=RATE)


@pytest.mark.parametrize("right", [{}, {"decay": 0.01}], ids=["plain", "decoupled weight decay"])
@pytest.mark.long
def test_a_right_step_of_ones_own_passes(right):
    """Level 1e-6 an inspection; fixed seeds. Weight decay does not touch the release: the probe's weights are 0."""
    for seed in range(3):
        found = inspect_mechanism(own_step(seed, **right), STATED, seed=seed, effort=EFFORT)
        assert found.findings == ()
        assert found.noise_multiplier == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize(
    ("broken", "check", "sigma"),
    [({"per_layer": True}, "sensitivity", 1 / np.sqrt(3)), ({"noise_in_update": True}, "noise", RATE)],
    ids=["per layer", "learning rate folded into the noise"],
)
@pytest.mark.long
def test_a_broken_step_of_ones_own_is_caught(broken, check, sigma):
    """Three layers at full C are √3 times the sensitivity; a learning rate of 0.1 leaves a tenth of the noise."""
    found = inspect_mechanism(own_step(1, **broken), STATED, seed=1, effort=EFFORT)
    assert check in {finding.check for finding in found.violations}
    assert found.noise_multiplier == pytest.approx(sigma, rel=0.1)


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.long
def test_a_server_as_a_mechanism(broken):
    """DP-FedAvg: new model out of model, updates and weights; broken, it clips what has been averaged."""
    rng = np.random.default_rng(4)

    def aggregate(model: Any, updates: Any, weights: Any) -> list[Any]:
        clean = [np.clip(np.where(np.isfinite(u), u, 0.0).astype(np.float64), -1e30, 1e30) for u in updates]
        if broken:
            means = [u.sum(axis=0, keepdims=True) / 32.0 for u in clean]
            moved = [32.0 * m for m in STATED.clipped_sum(means)]
        else:
            moved = STATED.clipped_sum(clean)
        return [m + u + rng.normal(0.0, 2.0 / 32.0, m.shape) for m, u in zip(model, moved, strict=True)]

    found = inspect_mechanism(aggregator(aggregate), STATED, seed=2, effort=EFFORT)
    checks = {finding.check for finding in found.violations}
    assert "sensitivity" in checks if broken else not checks
