"""What shuffled batches cost when they are accounted as Poisson: on traces of real trainings.

A network with one weight is trained by the stacked engine on shuffled batches, with a canary that pulls its weight one
way or, in the other world, a record that does nothing in its place; all others pull the other way (the worst data set
known: Annamalai, Balle, Hayes and De Cristofaro (2024), arXiv 2411.10614). Every step is watched. A trial is a training
of one or of ten epochs: the likelihood ratio of its steps, with the canary's batch in each epoch unknown. In each case:

- the ε that the Poisson accountant claims,
- a lower bound on the ε of shuffling by simulation (`dpaudit.accounting.shuffle_lower_bound`),
- what the real traces show, at 95 % with the threshold chosen on other trials: whether they contradict the trade-off
  curve that the Poisson accountant claims, and a lower bound on ε that holds for every mechanism.

``python benchmarks/shuffling.py --trials 4000 --samples 300000 --out FILE.json``: the figures of the docs.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logsumexp

from dpaudit.accounting.claim import GaussianSteps, Poisson, Shuffled
from dpaudit.accounting.mechanism import epsilon
from dpaudit.accounting.shuffling import shuffle_lower_bound
from dpaudit.bounds.choosing import HeldOut
from dpaudit.bounds.clopper_pearson import ClopperPearson
from dpaudit.bounds.hypothesis import MechanismFamily
from dpaudit.bounds.whole_curve import WholeCurve
from dpaudit.runtime.check import FloatArray
from dpaudit.scores.scores import Scores

BATCH_SIZE, RATE, SEED = 2, 1e-5, 20241115


@dataclass(frozen=True)
class Case:
    """A training, with what an independent simulation of it found: the ε claimed, and the least ε of shuffling."""

    noise: float
    epochs: int
    batches: int
    delta: float
    claimed: float | None = None
    simulated: float | None = None

    @property
    def name(self) -> str:
        many = f"{self.epochs} epochs" if self.epochs > 1 else "1 epoch"
        return f"σ {self.noise:g}, {many} of {self.batches} batches, δ {self.delta:g}"

    @property
    def steps(self) -> int:
        return self.epochs * self.batches


CASES = (
    Case(2.0, 1, 100, 1e-5),
    Case(1.0, 1, 100, 1e-5, 0.718, 4.011),
    Case(0.7, 1, 100, 1e-5, 2.37, 6.57),
    Case(0.5, 1, 100, 1e-5, 6.476, 9.888),
    Case(2.0, 10, 100, 1e-4, 0.51, 0.88),
    Case(1.0, 10, 100, 1e-4, 1.513, 8.007),
    Case(1.0, 10, 10, 1e-5, 7.047, 14.83),
)


def traces(case: Case, *, present: bool, trials: int, models: int) -> FloatArray:
    """Releases of real trainings over the clip norm, the others' pull taken out, shape (trials, epochs, batches)."""
    from dpaudit.engine.network import Network
    from dpaudit.engine.schedules import Constant
    from dpaudit.engine.training import Member, TrainingRecipe, train
    from dpaudit.runtime.tensorflow import keras

    records = case.batches * BATCH_SIZE
    network = Network.from_keras(keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)]))
    steps = case.steps * -(-trials // models)
    recipe = TrainingRecipe(
        "regression",
        steps=steps,
        batch_size=BATCH_SIZE,
        learning_rate=Constant(RATE),
        clip=1.0,
        noise_multiplier=case.noise,
    )
    # (x·w - target)² has the gradient 2 x (x·w - target), clipped to ±1 or 0: the sign of x decides where it pulls.
    features = np.full((records, 1), 10.0, np.float32)
    features[0] = -10.0 if present else 0.0
    members = [Member(model, np.arange(records), Shuffled(case.batches)) for model in range(models)]
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
    return (BATCH_SIZE - released).reshape(-1, case.epochs, case.batches)[:trials]


def log_ratio(released: FloatArray, noise_multiplier: float) -> FloatArray:
    """Likelihood of a training with the canary over that without, shape (trials,).

    In every epoch one batch, any, has mean 2 instead of 1, and the others 0.
    """
    variance = noise_multiplier**2
    present = logsumexp((2 * released - 2) / variance, axis=2)
    absent = logsumexp((released - 0.5) / variance, axis=2)
    ratio: FloatArray = (present - absent).sum(axis=1)
    return ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--noise", type=float, nargs="+", help="only cases with these noise multipliers")
    parser.add_argument("--epochs", type=int, nargs="+", help="only cases of so many epochs")
    parser.add_argument("--trials", type=int, default=20_000, help="trainings in each world")
    parser.add_argument("--models", type=int, default=200, help="trained side by side")
    parser.add_argument("--samples", type=int, default=2_000_000, help="of the simulation")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    figures: dict[str, float] = {}
    targets: dict[str, float] = {}
    for case in CASES:
        if (chosen.noise and case.noise not in chosen.noise) or (chosen.epochs and case.epochs not in chosen.epochs):
            continue
        begin = time.monotonic()
        claim = GaussianSteps(case.noise, case.steps, Poisson(1 / case.batches))
        claimed = epsilon(claim, delta=case.delta, adjacency="zero-out").epsilon
        simulated = shuffle_lower_bound(
            GaussianSteps(case.noise, case.steps, Shuffled(case.batches)),
            delta=case.delta,
            confidence=0.95,
            samples=chosen.samples,
            seed=SEED,
        ).epsilon
        worlds = [
            log_ratio(traces(case, present=here, trials=chosen.trials, models=chosen.models), case.noise)
            for here in (True, False)
        ]
        terms: Any = {"delta": case.delta, "confidence": 0.95, "adjacency": "zero-out", "unit": "record"}
        scores, selection = Scores(*worlds), HeldOut(SEED)
        measured = ClopperPearson(selection)(scores, **terms).epsilon
        broken = WholeCurve(selection, MechanismFamily(claim, "zero-out"))(scores, **terms).epsilon > claimed
        found = {"claimed": claimed, "simulated": simulated, "real traces": measured, "contradicted": float(broken)}
        figures |= {f"{case.name}: {what}": figure for what, figure in found.items()}
        published = {"claimed": case.claimed, "simulated": case.simulated}
        targets |= {f"{case.name}: {what}": figure for what, figure in published.items() if figure is not None}
        print(
            f"{case.name}: Poisson claims ε {claimed:.3f}; simulation shows at least {simulated:.2f}; "
            f"{chosen.trials} real trainings in each world show {measured:.2f} and "
            f"{'contradict' if broken else 'do not contradict'} the claimed curve ({time.monotonic() - begin:.0f} s)",
            flush=True,
        )
    if chosen.out is not None:
        found_there = {"ratios": {}, "figures": figures, "targets": targets}
        chosen.out.write_text(json.dumps(found_there, indent=1, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
