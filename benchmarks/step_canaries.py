"""What step canaries reach on right and on broken mechanisms.

For ε of 1, 2, 4 and 8 at δ = 1e-5 (q 0.01, 1,000 steps): the certified ε over the theoretical one, on the stacked
engine's DP-SGD and on TensorFlow Privacy's optimizer; how often it lies above the truth; and how many steps a claim of
4 takes to fall when the truth is 8. ``python benchmarks/step_canaries.py --out FILE.json`` for the figures of the docs.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import brentq

from dpaudit.accounting.claim import Claim, GaussianSteps, Poisson
from dpaudit.accounting.gaussian import gaussian_mu
from dpaudit.accounting.mechanism import epsilon
from dpaudit.inspection.engine_step import stacked_step
from dpaudit.inspection.keras_optimizer import optimizer
from dpaudit.inspection.mechanism import Mechanism, Stated
from dpaudit.inspection.step_canaries import StepCanaries

STEPS, RATE, DELTA, BATCH = 1000, 0.01, 1e-5, 33
GRID = 1e-3
Build = Callable[[float, int], tuple[Mechanism, Stated]]


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


def shares_of(build: Build, sigma: float, target: float, *, steps: int, repeats: int) -> tuple[list[float], float]:
    """Certified over theoretical ε of some audits, and the median of their seconds."""
    claim = claim_for(target, sigma)
    subject, stated = build(sigma, 1)
    shares, seconds = [], []
    for repeat in range(repeats):
        start = time.perf_counter()
        audit = StepCanaries(steps=steps, canaries=32)(subject, stated, claim, confidence=0.95, seed=repeat)
        seconds.append(time.perf_counter() - start)
        shares.append(audit.bound.epsilon / target)
    return shares, statistics.median(seconds)


def steps_to_contradict(claimed: float, true: float, *, repeats: int) -> float:
    """Median steps of one canary until noise ``true`` contradicts ``claimed`` at 95 %; one Gaussian release a step."""
    steps = []
    for repeat in range(repeats):
        rng = np.random.default_rng(repeat)
        stated = Stated(1.0, claimed, 1.0, "zero-out")

        def release(gradients: Any, stated: Stated = stated, rng: np.random.Generator = rng) -> Any:
            return [g + rng.normal(0.0, true, g.shape) for g in stated.clipped_sum(gradients)]

        once = GaussianSteps(claimed, 1, Poisson(1.0))
        claim = Claim(4.0, DELTA, "record", "zero-out", "accountant", once)
        one = StepCanaries(steps=5000, canaries=1, stop_early=True)
        steps.append(one(release, stated, claim, confidence=0.95, seed=repeat).steps)
    return statistics.median(steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="audits of --steps steps")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument(
        "--short", type=int, default=200, help="audits of --short-steps, to count those above the truth"
    )
    parser.add_argument("--short-steps", type=int, default=100)
    parser.add_argument("--epsilons", type=float, nargs="+", default=[1.0, 2.0, 4.0, 8.0])
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    ratios: dict[str, dict[str, float]] = {}
    figures: dict[str, float] = {}
    targets: dict[str, float] = {}
    subjects: tuple[tuple[str, Build], ...] = (("stacked DP-SGD", stacked), ("TF Privacy vectorized", tf_privacy))
    for name, build in subjects:
        for target in chosen.epsilons:
            sigma, case = noise_for(target), f"{name}, ε {target:g}"
            shares, seconds = shares_of(build, sigma, target, steps=chosen.steps, repeats=chosen.repeats)
            short, _ = shares_of(build, sigma, target, steps=chosen.short_steps, repeats=chosen.short)
            above = sum(share > 1 for share in short)
            ratios[case] = {"median": statistics.median(shares), "low": min(shares), "high": max(shares)}
            targets[case] = 0.9
            figures |= {
                f"{case}: seconds": seconds,
                f"{case}: above the truth in {chosen.short} audits of {chosen.short_steps} steps": above,
            }
            print(
                f"{case} (σ {sigma:.3f}): certified {statistics.median(shares):.3f} of it (least {min(shares):.3f}), "
                f"above it in {above} of {len(short)}, {seconds:.1f} s",
                flush=True,
            )
    # One Gaussian release: a fixed-size exact test of claim 4 against truth 8 needs 97 trials at power 0.8.
    four, eight = (1 / gaussian_mu(figure, DELTA) for figure in (4.0, 8.0))
    for name, claimed, true, target in (
        ("claim 4, truth 8", four, eight, 194.0),
        ("half of the noise", 1.0, 0.5, 100.0),
    ):
        name = f"{name}: median steps of one canary"
        figures[name], targets[name] = steps_to_contradict(claimed, true, repeats=max(chosen.short, 5)), target
        print(f"{name}: {figures[name]:.0f} (wanted: at most {target:.0f})", flush=True)
    if chosen.out is not None:
        found = {"ratios": ratios, "figures": figures, "targets": targets}
        chosen.out.write_text(json.dumps(found, indent=1, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
