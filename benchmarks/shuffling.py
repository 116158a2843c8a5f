"""What shuffled batches cost when they are accounted as Poisson: on traces of real trainings.

A network with one weight is trained by the stacked engine on shuffled batches, with a canary that pulls its weight one
way or, in the other world, a record that does nothing in its place; all others pull the other way (the worst data set
known: Annamalai, Balle, Hayes and De Cristofaro (2024), arXiv 2411.10614). Every step is watched. An epoch is a trial:
the likelihood ratio of its steps, with the canary's batch unknown. For each noise multiplier:

- the ε that the Poisson accountant promises for one epoch,
- a lower bound on the ε of shuffling by simulation (`dpaudit.accounting.shuffle_lower_bound`),
- what the real traces show, at 95 % with the threshold chosen on other epochs: whether they contradict the trade-off
  curve that the Poisson accountant promises, and a lower bound on ε that holds for every mechanism.

``python benchmarks/shuffling.py --out FILE.json``.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logsumexp

from dpaudit._check import FloatArray
from dpaudit.accounting import epsilon, shuffle_lower_bound
from dpaudit.bounds.clopper_pearson import ClopperPearson
from dpaudit.bounds.null import Mechanism
from dpaudit.bounds.selection import HeldOut
from dpaudit.bounds.whole_curve import WholeCurve
from dpaudit.claim import GaussianSteps, Poisson, Shuffled
from dpaudit.scores import Scores

BATCHES, BATCH_SIZE, DELTA, RATE, SEED = 100, 2, 1e-5, 1e-5, 20241115
PUBLISHED = {1.0: (0.718, 4.01), 0.7: (2.37, 6.57), 0.5: (6.48, 9.89)}  # σ -> promised, simulated


def traces(noise_multiplier: float, *, present: bool, epochs: int, models: int) -> FloatArray:
    """Releases of real trainings over the clip norm, the others' pull taken out, shape (epochs, batches)."""
    from dpaudit._tensorflow import keras
    from dpaudit.stacked.network import Network
    from dpaudit.stacked.schedules import Constant
    from dpaudit.stacked.training import Member, Recipe, train

    records = BATCHES * BATCH_SIZE
    network = Network.from_keras(keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)]))
    steps = BATCHES * -(-epochs // models)
    recipe = Recipe(
        "regression",
        steps=steps,
        batch_size=BATCH_SIZE,
        learning_rate=Constant(RATE),
        clip=1.0,
        noise_multiplier=noise_multiplier,
    )
    # (x·w - target)² has the gradient 2 x (x·w - target), clipped to ±1 or 0: the sign of x decides where it pulls.
    features = np.full((records, 1), 10.0, np.float32)
    features[0] = -10.0 if present else 0.0
    members = [Member(model, np.arange(records), Shuffled(BATCHES)) for model in range(models)]
    weights = np.empty((models, steps + 1))

    def watch(numbers: Any, step: int, before: Any, after: Any) -> None:
        weights[list(numbers), step] = before[0].numpy()[:, 0, 0]
        weights[list(numbers), step + 1] = after[0].numpy()[:, 0, 0]

    train(
        network,
        network.stack([[np.zeros((1, 1), np.float32)]] * models),
        recipe,
        members,
        features=features,
        targets=np.full((records, 1), 1000.0, np.float32),
        seed=SEED + present,
        watch=watch,
    )
    released = np.diff(weights, axis=1) * BATCH_SIZE / RATE  # minus the gradients' sum: others add +1 each
    return (BATCH_SIZE - released).reshape(-1, BATCHES)[:epochs]


def log_ratio(released: FloatArray, noise_multiplier: float) -> FloatArray:
    """Likelihood of an epoch with the canary over that without: one batch, any, has mean 2 instead of 1, others 0."""
    variance = noise_multiplier**2
    present = logsumexp((2 * released - 2) / variance, axis=1)
    absent = logsumexp((released - 0.5) / variance, axis=1)
    ratio: FloatArray = present - absent
    return ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.5, 0.7, 1.0, 2.0])
    parser.add_argument("--epochs", type=int, default=20_000, help="in each world")
    parser.add_argument("--models", type=int, default=200, help="trained side by side")
    parser.add_argument("--samples", type=int, default=2_000_000, help="of the simulation")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    figures: dict[str, float] = {}
    targets: dict[str, float] = {}
    for noise in chosen.noise:
        begin = time.monotonic()
        claim = GaussianSteps(noise, BATCHES, Poisson(1 / BATCHES))
        promised = epsilon(claim, delta=DELTA, adjacency="zero-out").epsilon
        simulated = shuffle_lower_bound(
            GaussianSteps(noise, BATCHES, Shuffled(BATCHES)),
            delta=DELTA,
            confidence=0.95,
            samples=chosen.samples,
            seed=SEED,
        ).epsilon
        worlds = [
            log_ratio(traces(noise, present=here, epochs=chosen.epochs, models=chosen.models), noise)
            for here in (True, False)
        ]
        terms: Any = {"delta": DELTA, "confidence": 0.95, "adjacency": "zero-out", "unit": "record"}
        scores, selection = Scores(*worlds), HeldOut(SEED)
        measured = ClopperPearson(selection)(scores, **terms).epsilon
        broken = WholeCurve(selection, Mechanism(claim, "zero-out"))(scores, **terms).epsilon > promised
        name = f"σ {noise:g}"
        found = {"promised": promised, "simulated": simulated, "real traces": measured, "contradicted": float(broken)}
        figures |= {f"{name}: {what}": figure for what, figure in found.items()}
        if noise in PUBLISHED:
            targets |= {f"{name}: promised": PUBLISHED[noise][0], f"{name}: simulated": PUBLISHED[noise][1]}
        print(
            f"{name}: Poisson promises ε {promised:.3f}; simulation shows at least {simulated:.2f}; "
            f"{chosen.epochs} epochs of real training in each world show {measured:.2f} and "
            f"{'contradict' if broken else 'do not contradict'} the promised curve ({time.monotonic() - begin:.0f} s)",
            flush=True,
        )
    if chosen.out is not None:
        found_there = {"ratios": {}, "figures": figures, "targets": targets}
        chosen.out.write_text(json.dumps(found_there, indent=1, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
