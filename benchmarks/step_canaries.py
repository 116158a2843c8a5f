"""What step canaries reach on right and on broken mechanisms.

For ε of 1, 2, 4 and 8 at δ = 1e-5 (q 0.01, 1,000 steps): the certified ε over the theoretical one, on the stacked
engine's DP-SGD and on TensorFlow Privacy's optimizer; how often it lies above the truth; and how many steps a claim of
4 takes to fall when the truth is 8. ``python benchmarks/step_canaries.py --repeats 200`` for the figures of the docs.
"""

import argparse
import statistics
import time

import numpy as np
from scipy.optimize import brentq

from dpaudit.accounting import epsilon, gaussian_mu
from dpaudit.claim import Claim, GaussianSteps, Poisson
from dpaudit.forensics.keras import optimizer
from dpaudit.forensics.mechanism import Mechanism, Stated
from dpaudit.forensics.stacked import stacked_step
from dpaudit.forensics.step_canaries import StepCanaries

STEPS, RATE, DELTA, BATCH = 1000, 0.01, 1e-5, 33
GRID = 1e-3


def noise_for(target: float) -> float:
    def excess(sigma: float) -> float:
        mechanism = GaussianSteps(sigma, STEPS, Poisson(RATE))
        return epsilon(mechanism, delta=DELTA, adjacency="zero-out", grid=GRID).epsilon - target

    return float(brentq(excess, 0.4, 5.0, xtol=1e-4))


def claim_for(target: float, sigma: float) -> Claim:
    return Claim(target, DELTA, "record", "zero-out", "accountant", GaussianSteps(sigma, STEPS, Poisson(RATE)))


def stacked(sigma: float, seed: int) -> tuple[Mechanism, Stated]:
    mechanism = stacked_step(clip=1.0, noise_multiplier=sigma, denominator=BATCH, batch_size=BATCH, seed=seed)
    return mechanism, Stated(1.0, sigma, BATCH, "zero-out")


def tf_privacy(sigma: float, seed: int) -> tuple[Mechanism, Stated]:
    def build() -> object:
        from tensorflow_privacy.privacy.optimizers.dp_optimizer_keras_vectorized import VectorizedDPKerasSGDOptimizer

        return VectorizedDPKerasSGDOptimizer(l2_norm_clip=1.0, noise_multiplier=sigma, learning_rate=0.1)

    return optimizer(build, batch_size=BATCH, seed=seed), Stated(1.0, sigma, "batch", "zero-out")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--epsilons", type=float, nargs="+", default=[1.0, 2.0, 4.0, 8.0])
    chosen = parser.parse_args()
    canaries = StepCanaries(steps=chosen.steps, canaries=32)
    for name, build in (("stacked DP-SGD", stacked), ("TF Privacy vectorized", tf_privacy)):
        for target in chosen.epsilons:
            sigma = noise_for(target)
            claim = claim_for(target, sigma)
            subject, stated = build(sigma, 1)
            shares, seconds = [], []
            for repeat in range(chosen.repeats):
                start = time.perf_counter()
                audit = canaries(subject, stated, claim, confidence=0.95, seed=repeat)
                seconds.append(time.perf_counter() - start)
                shares.append(audit.bound.epsilon / target)
            above = sum(share > 1 for share in shares)
            print(
                f"{name:22s} ε {target:g} (σ {sigma:.3f}): certified {statistics.median(shares):.3f} of it "
                f"(least {min(shares):.3f}), above it in {above} of {len(shares)}, {statistics.median(seconds):.1f} s"
            )
    # One Gaussian release: a fixed-size exact test of claim 4 against truth 8 needs 97 trials at power 0.8.
    four, eight = (1 / gaussian_mu(figure, DELTA) for figure in (4.0, 8.0))
    for name, claimed, true in (("claim 4, truth 8", four, eight), ("half of the noise", 1.0, 0.5)):
        steps = []
        for repeat in range(max(chosen.repeats, 5)):
            rng = np.random.default_rng(repeat)
            stated = Stated(1.0, claimed, 1.0, "zero-out")

            def release(
                gradients: object, stated: Stated = stated, rng: np.random.Generator = rng, true: float = true
            ) -> object:
                exact = stated.clipped_sum(gradients)  # type: ignore[arg-type]
                return [g + rng.normal(0.0, true, g.shape) for g in exact]

            one = StepCanaries(steps=5000, canaries=1, stop_early=True)
            release_once = GaussianSteps(claimed, 1, Poisson(1.0))
            claim = Claim(4.0, DELTA, "record", "zero-out", "accountant", release_once)
            steps.append(one(release, stated, claim, confidence=0.95, seed=repeat).steps)  # type: ignore[arg-type]
        print(f"{name}: contradicted after a median of {statistics.median(steps):.0f} steps of one canary")


if __name__ == "__main__":
    main()
