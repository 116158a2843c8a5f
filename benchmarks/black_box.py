"""Black-box auditing of DP-SGD in the setting of Annamalai and De Cristofaro (2024), arXiv 2405.14106.

A network that was trained on public digits (worst-case initialisation: ordinary records have small gradients) is
trained on 1,000 private ones with full batches, with or without a blank canary by a fair coin; the final model's loss
on the canary is the score. Many models are trained side by side by the stacked engine.

Two figures on the same scores: the published estimator (the largest over all thresholds, each limit at the full
level: about 17 % of its figures are above the truth, where 5 % are stated), once with 200 models a time as published
and once with all; and valid bounds, the threshold chosen on a random 30 % of the models and judged on the rest.

``python benchmarks/black_box.py --out FILE.json``: 1,000 models; a file that holds fewer models is gone on with.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtri

from dpaudit.accounting.claim import Poisson
from dpaudit.accounting.gaussian import gaussian_epsilon, gaussian_mu
from dpaudit.bounds.accuracy import Accuracy
from dpaudit.bounds.choosing import HeldOut
from dpaudit.bounds.clopper_pearson import ClopperPearson
from dpaudit.bounds.conditional import Conditional
from dpaudit.data.bundled import mnist_5000
from dpaudit.data.canaries import canaries
from dpaudit.data.inclusion import fair_coins
from dpaudit.scores.intervals import upper_rate
from dpaudit.scores.scores import Scores
from dpaudit.training.architecture import Architecture, Cnn, Mlp

EPSILON, DELTA, CONFIDENCE, STEPS, RECORDS, RATE = 10.0, 1e-5, 0.95, 100, 1000, 1.33e-4
PUBLISHED, THEIR_MODELS = 7.21, 200
NOISE = STEPS**0.5 / gaussian_mu(EPSILON, DELTA)
SEED, MOST = 20240514, 100_000
ARCHITECTURES: dict[str, Architecture] = {
    "cnn": Cnn(filters=(16, 32), kernels=(8, 4), strides=(2, 2), pool=2, hidden=(32,), activation="tanh"),
    "logistic": Mlp(()),
}


class Setting:
    """The records, the blank canary behind them, and the weights that every model starts from."""

    def __init__(self, architecture: Architecture) -> None:
        from dpaudit.engine.network import Network
        from dpaudit.training.dp_sgd import DpSgd

        data = mnist_5000()
        order = np.random.default_rng(SEED).permutation(len(data))
        private, public = data.take(np.sort(order[:RECORDS])), data.take(np.sort(order[RECORDS:]))
        self.blank = canaries("blank", public, data.outputs, seed=SEED).take(np.array([data.outputs - 1]))
        trainer = DpSgd(
            architecture, l2_norm_clip=None, epochs=20, batch_size=32, learning_rate=0.1, sampling="shuffled"
        )
        start = trainer(public, np.ones(len(public), bool), seed=SEED).weights
        self.start = [start[name] for name in sorted(start)]
        self.network = Network.from_keras(architecture(data.features.shape[1:], data.outputs))
        self.features = np.concatenate([private.features, self.blank.features])
        self.targets = np.concatenate([private.classes, self.blank.classes])

    def trained(self, coins: Any, models: Any, *, steps: int = STEPS, noise: float = NOISE) -> Any:
        """Parameters after training with the canary where the coin says so."""
        from dpaudit.engine.schedules import Constant
        from dpaudit.engine.training import Member, TrainingRecipe, train

        recipe = TrainingRecipe(
            "multiclass",
            steps=steps,
            batch_size=RECORDS,
            learning_rate=Constant(RATE * RECORDS),  # theirs multiplies the gradients' sum, the engine's their mean
            clip=1.0,
            noise_multiplier=noise,
        )
        members = [
            Member(int(model), np.arange(RECORDS + int(coin)), Poisson(1.0))
            for model, coin in zip(models, coins, strict=True)
        ]
        start = self.network.stack([self.start] * len(members))
        return train(self.network, start, recipe, members, features=self.features, targets=self.targets, seed=SEED)

    def scores(self, coins: Any, first: int) -> list[float]:
        """Minus the loss on the canary of models with numbers from ``first`` on."""
        from dpaudit.runtime.tensorflow import tf

        parameters = self.trained(coins, range(first, first + len(coins)))
        logits = self.network.predict(parameters, self.blank.features)[:, 0]
        logp = tf.nn.log_softmax(tf.constant(logits, tf.float64)).numpy()
        return [float(value) for value in logp[:, int(self.blank.classes[0])]]

    def step(self, *, models: int = 100) -> tuple[float, float]:
        """How far the canary moves the sum of one step, and the noise in it, over what is stated: both should be 1."""
        without, having, silent = (
            np.concatenate([np.reshape(value, (len(value), -1)) for value in found], axis=1) / RATE
            for found in (
                [
                    np.asarray(value, np.float64)
                    for value in self.trained([coin] * models, range(models), steps=1, **how)
                ]
                for coin, how in ((False, {}), (True, {}), (False, {"noise": 0.0}))
            )
        )
        moved = np.linalg.norm(having - without, axis=1).mean()  # the same model number draws the same noise
        return float(moved), float((without - silent).std() / NOISE)


def published_estimate(scores: Scores) -> float:
    """Largest over all thresholds and both directions; each Clopper-Pearson limit at the full level."""
    level, best = 1 - CONFIDENCE, 0.0
    for member, nonmember in ((scores.member, scores.nonmember), (-scores.member, -scores.nonmember)):
        cuts = np.unique(np.concatenate([member, nonmember]))
        misses = np.searchsorted(np.sort(member), cuts, side="right")
        alarms = nonmember.size - np.searchsorted(np.sort(nonmember), cuts, side="right")
        highest = [upper_rate(count, side.size, level) for count, side in ((misses, member), (alarms, nonmember))]
        best = max(best, float((-ndtri(highest[1]) - ndtri(highest[0])).max()))
    return gaussian_epsilon(best, DELTA) if best > 0 else 0.0


def valid_bounds(scores: Scores) -> dict[str, float]:
    """ε of three bounds whose threshold was chosen on other models than it is judged on."""
    selection = HeldOut(SEED)
    bounds: dict[str, Any] = {
        "accuracy, Gaussian family": Accuracy(selection, "runs"),
        "conditional, any mechanism": Conditional(selection),
        "clopper-pearson, any mechanism": ClopperPearson(selection),
    }
    return {
        name: bound(scores, delta=DELTA, confidence=CONFIDENCE, adjacency="add-remove", unit="record").epsilon
        for name, bound in bounds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--architecture", choices=sorted(ARCHITECTURES), default="cnn")
    parser.add_argument("--chunk", type=int, default=50, help="models trained between two savings")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    coins = fair_coins(MOST, seed=SEED)[: chosen.models]  # the same coins, however many models are asked for
    found: dict[str, Any] = {"architecture": chosen.architecture, "scores": [], "seconds": 0.0, "cpu_seconds": 0.0}
    if chosen.out is not None and chosen.out.exists():
        found = json.loads(chosen.out.read_text(encoding="utf-8"))
        if found["architecture"] != chosen.architecture or len(found["scores"]) > chosen.models:
            parser.error(f"{chosen.out} holds {len(found['scores'])} models of {found['architecture']}.")
    setting = Setting(ARCHITECTURES[chosen.architecture])
    moved, noise = setting.step()
    print(f"in one step the canary moves the sum by {moved:.4f} clip norms; noise over what is planned: {noise:.4f}")
    while (first := len(found["scores"])) < chosen.models:
        begin, cpu = time.monotonic(), time.process_time()
        part = coins[first : first + chosen.chunk]
        found["scores"] += setting.scores(part, first)
        found["seconds"] += time.monotonic() - begin
        found["cpu_seconds"] += time.process_time() - cpu
        print(f"{len(found['scores'])} models, {found['seconds']:.0f} s, CPU {found['cpu_seconds']:.0f} s", flush=True)
        if chosen.out is not None:
            chosen.out.write_text(json.dumps(found), encoding="utf-8")
    scores = np.array(found["scores"])
    groups = range(0, len(scores) - THEIR_MODELS + 1, THEIR_MODELS)
    theirs = [published_estimate(Scores.join(*(x[at : at + THEIR_MODELS] for x in (scores, coins)))) for at in groups]
    whole = Scores.join(scores, coins)
    figures = {
        **({"published estimator, 200 models a time (mean)": statistics.fmean(theirs)} if theirs else {}),
        "published estimator, all models": published_estimate(whole),
        **valid_bounds(whole),
        "clip norms that the canary moves a step's sum by": moved,
        "noise of a step over what is planned": noise,
        "seconds": found["seconds"],
        "CPU seconds": found["cpu_seconds"],
    }
    for name, figure in figures.items():
        print(f"{name}: {figure:.2f}")
    print(f"theoretical ε {EPSILON:g}; published: {PUBLISHED} with {THEIR_MODELS} models")
    if chosen.out is not None:
        name = "published estimator, 200 models a time, over the published figure"
        ratio = [each / PUBLISHED for each in theirs]
        ratios = {name: {"median": statistics.median(ratio), "low": min(ratio), "high": max(ratio)}} if ratio else {}
        found |= {"ratios": ratios, "figures": figures, "targets": {name: 1.0}}
        chosen.out.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
