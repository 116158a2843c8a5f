"""Black-box auditing of DP-SGD in the setting of Annamalai and De Cristofaro (2024), arXiv 2405.14106.

A network that was trained on public digits (worst-case initialisation: ordinary records have small gradients) is
trained on 1,000 private ones with full batches, with or without a canary by a fair coin; the final model's loss on the
canary is the score. Many models are trained side by side by the stacked engine.

``--start shared`` starts all models from the same random weights: the average case in the code of Annamalai and De
Cristofaro, on which that of Yoon, Jeung and No (2024), arXiv 2412.01756, is built. ``--start random`` gives every model
random weights of its own, which the auditor does not know. ``--canary clipbkd`` lies in the direction in which public
digits vary least, as the ladder's canary of that name does, so that no other record has its gradient.

Figures on the same scores: the published estimator (the largest over all thresholds, each limit at the full
level: about 17 % of its figures are above the truth, where 5 % are stated), once with 200 models a time as published
and once with all; valid bounds, the threshold chosen as in audits of many trainings; and, with
``--repeats``, the bound within the Gaussian family on so many equal parts of the models, each on its own.

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
from dpaudit.bounds.choosing import HeldOut, SeveralSplits
from dpaudit.bounds.clopper_pearson import ClopperPearson
from dpaudit.bounds.conditional import Conditional
from dpaudit.bounds.default import HELD_OUT, BoundOfRuns
from dpaudit.bounds.trainings_limit import trainings_limit
from dpaudit.data.bundled import mnist_5000
from dpaudit.data.canaries import CanaryKind, canaries
from dpaudit.data.dataset import Dataset
from dpaudit.data.inclusion import fair_coins
from dpaudit.scores.intervals import upper_rate
from dpaudit.scores.scores import Scores
from dpaudit.training.architecture import Architecture, Cnn, Mlp

EPSILON, DELTA, CONFIDENCE, RECORDS, RATE = 10.0, 1e-5, 0.95, 1000, 1.33e-4
STARTS = {
    "worst-case": (7.21, 200),
    "shared": (4.914, 512),
    "random": (4.914, 512),
}  # what was published, and with how many models
THEIR_MODELS = 200  # a time, for their estimator
SEED, MOST = 20240514, 100_000
FAMILY = "accuracy, Gaussian family"
ARCHITECTURES: dict[str, Architecture] = {
    "cnn": Cnn(filters=(16, 32), kernels=(8, 4), strides=(2, 2), pool=2, hidden=(32,), activation="tanh"),
    "small-cnn": Cnn(filters=(4, 8), kernels=(8, 4), strides=(2, 2), pool=2, hidden=(16,), activation="tanh"),
    "mlp": Mlp((32,), activation="tanh"),
    "logistic": Mlp(()),
}


class Setting:
    """The records, the canary behind them, and the weights that every model starts from, if they are the same.

    Args:
        architecture: of the models.
        steps: of each training; the noise is that of ε = 10 for so many full batches.
        start: a name in `STARTS`.
        canary: blank, or in the direction in which public digits vary least (clipbkd).
        rate: what the sum of the clipped gradients is multiplied by.
    """

    def __init__(self, architecture: Architecture, steps: int, start: str, canary: CanaryKind, rate: float) -> None:
        from dpaudit.engine.network import Network

        self.steps, self.noise, self.rate = steps, steps**0.5 / gaussian_mu(EPSILON, DELTA), rate
        data = mnist_5000()
        order = np.random.default_rng(SEED).permutation(len(data))
        private, public = data.take(np.sort(order[:RECORDS])), data.take(np.sort(order[RECORDS:]))
        self.canary = canaries(canary, public, data.outputs, seed=SEED).take(np.array([data.outputs - 1]))
        self.public = public
        self.network = Network.from_keras(architecture(data.features.shape[1:], data.outputs))
        self.start = _trained_on(public, architecture) if start == "worst-case" else None
        if start == "shared":
            self.start = self.network.weights(self.network.initial(seed=SEED, models=[0]), 0)
        self.features = np.concatenate([private.features, self.canary.features])
        self.targets = np.concatenate([private.classes, self.canary.classes])

    def trained(self, coins: Any, models: Any, *, steps: int | None = None, noise: float | None = None) -> Any:
        """Parameters after training with the canary where the coin says so."""
        from dpaudit.engine.schedules import Constant
        from dpaudit.engine.training import Member, TrainingRecipe, train

        recipe = TrainingRecipe(
            "multiclass",
            steps=self.steps if steps is None else steps,
            batch_size=RECORDS,
            learning_rate=Constant(self.rate * RECORDS),  # theirs multiplies the sum, the engine's the mean
            clip=1.0,
            noise_multiplier=self.noise if noise is None else noise,
        )
        members = [
            Member(int(model), np.arange(RECORDS + int(coin)), Poisson(1.0))
            for model, coin in zip(models, coins, strict=True)
        ]
        if self.start is None:
            start = self.network.initial(seed=SEED, models=[member.model for member in members])
        else:
            start = self.network.stack([self.start] * len(members))
        return train(self.network, start, recipe, members, features=self.features, targets=self.targets, seed=SEED)

    def scores(self, coins: Any, first: int) -> tuple[list[float], list[float]]:
        """Minus the loss on the canary of models with numbers from ``first`` on, and what they get right of others."""
        from dpaudit.runtime.tensorflow import tf

        parameters = self.trained(coins, range(first, first + len(coins)))
        logits = self.network.predict(parameters, self.canary.features)[:, 0]
        logp = tf.nn.log_softmax(tf.constant(logits, tf.float64)).numpy()
        others = self.public.take(np.arange(0, len(self.public), 4))  # they are sorted by class
        guesses = self.network.predict(parameters, others.features).argmax(axis=2)
        return logp[:, int(self.canary.classes[0])].tolist(), (guesses == others.classes).mean(axis=1).tolist()

    def step(self, *, models: int = 100) -> tuple[float, float]:
        """How far the canary moves the sum of one step, and the noise in it, over what is stated: both should be 1."""
        without, having, silent = (
            np.concatenate([np.reshape(value, (len(value), -1)) for value in found], axis=1) / self.rate
            for found in (
                [
                    np.asarray(value, np.float64)
                    for value in self.trained([coin] * models, range(models), steps=1, **how)
                ]
                for coin, how in ((False, {}), (True, {}), (False, {"noise": 0.0}))
            )
        )
        moved = np.linalg.norm(having - without, axis=1).mean()  # the same model number draws the same noise
        return float(moved), float((without - silent).std() / self.noise)


def _trained_on(public: Dataset, architecture: Architecture) -> list[Any]:
    """Weights after training without DP."""
    from dpaudit.training.dp_sgd import DpSgd

    trainer = DpSgd(architecture, l2_norm_clip=None, epochs=20, batch_size=32, learning_rate=0.1, sampling="shuffled")
    weights = trainer(public, np.ones(len(public), bool), seed=SEED).weights
    return [weights[name] for name in sorted(weights)]


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


def bounds() -> dict[str, Any]:
    """Three bounds with the choice of the threshold that audits of many trainings have."""
    several, one = SeveralSplits(SEED), HeldOut(SEED, HELD_OUT)
    return {
        FAMILY: BoundOfRuns(Accuracy(several, "runs"), Accuracy(one, "runs")),
        "conditional, any mechanism": BoundOfRuns(Conditional(several), Conditional(one)),
        "clopper-pearson, any mechanism": BoundOfRuns(ClopperPearson(several), ClopperPearson(one)),
    }


def epsilon(bound: Any, scores: Any, coins: Any) -> float:
    """Of a bound on some models."""
    found = bound(Scores.join(scores, coins), delta=DELTA, confidence=CONFIDENCE, adjacency="add-remove", unit="record")
    return float(found.epsilon)


def repeated(scores: Any, coins: Any, repeats: int) -> dict[str, float]:
    """The bound within the Gaussian family on equal parts of the models."""
    bound = bounds()[FAMILY]
    parts = zip(np.array_split(scores, repeats), np.array_split(coins, repeats), strict=True)
    each = np.array([epsilon(bound, *part) for part in parts])
    name = f"{FAMILY}, {repeats} times {len(scores) // repeats} models"
    return {
        f"{name}: median": float(np.median(each)),
        f"{name}: smallest": float(each.min()),
        f"{name}: largest": float(each.max()),
        f"{name}: above the true ε": float((each > EPSILON).sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--architecture", choices=sorted(ARCHITECTURES), default="cnn")
    parser.add_argument("--steps", type=int, default=100, help="full batches, at the noise of ε = 10")
    parser.add_argument("--start", choices=sorted(STARTS), default="worst-case")
    parser.add_argument("--canary", choices=["blank", "clipbkd"], default="blank")
    parser.add_argument("--rate", type=float, default=RATE, help="learning rate over the number of records")
    parser.add_argument("--repeats", type=int, nargs="*", default=[], help="parts of the models, judged one by one")
    parser.add_argument("--chunk", type=int, default=50, help="models trained between two savings")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    if min([chosen.models, chosen.steps, chosen.chunk, *chosen.repeats]) < 1:
        parser.error("--models, --steps, --chunk and --repeats are at least 1.")
    coins = fair_coins(MOST, seed=SEED)[: chosen.models]  # the same coins, however many models are asked for
    asked = {name: getattr(chosen, name) for name in ("architecture", "steps", "start", "canary", "rate")}
    found: dict[str, Any] = {"setting": asked, "scores": [], "right": [], "seconds": 0.0, "cpu_seconds": 0.0}
    if chosen.out is not None and chosen.out.exists():
        found = json.loads(chosen.out.read_text(encoding="utf-8"))
        if found["setting"] != asked or len(found["scores"]) > chosen.models:
            parser.error(f"{chosen.out} holds {len(found['scores'])} models of {found['setting']}.")
    setting = Setting(ARCHITECTURES[chosen.architecture], chosen.steps, chosen.start, chosen.canary, chosen.rate)
    moved, noise = setting.step()
    print(f"in one step the canary moves the sum by {moved:.4f} clip norms; noise over what is planned: {noise:.4f}")
    while (first := len(found["scores"])) < chosen.models:
        begin, cpu = time.monotonic(), time.process_time()
        part, right = setting.scores(coins[first : first + chosen.chunk], first)
        found["scores"] += part
        found["right"] += right
        found["seconds"] += time.monotonic() - begin
        found["cpu_seconds"] += time.process_time() - cpu
        print(f"{len(found['scores'])} models, {found['seconds']:.0f} s, CPU {found['cpu_seconds']:.0f} s", flush=True)
        if chosen.out is not None:
            chosen.out.write_text(json.dumps(found), encoding="utf-8")
    scores = np.array(found["scores"])
    groups = range(0, len(scores) - THEIR_MODELS + 1, THEIR_MODELS)
    theirs = [published_estimate(Scores.join(*(x[at : at + THEIR_MODELS] for x in (scores, coins)))) for at in groups]
    limit = trainings_limit(EPSILON, len(scores) // 2, delta=DELTA, confidence=CONFIDENCE)
    published, models = STARTS[chosen.start]
    figures = {
        **({"published estimator, 200 models a time (mean)": statistics.fmean(theirs)} if theirs else {}),
        "published estimator, all models": published_estimate(Scores.join(scores, coins)),
        **{name: epsilon(bound, scores, coins) for name, bound in bounds().items()},
        "limit of exact intervals, a perfect Gaussian leak": limit,
        **{name: figure for repeats in chosen.repeats for name, figure in repeated(scores, coins, repeats).items()},
        "clip norms that the canary moves a step's sum by": moved,
        "noise of a step over what is planned": noise,
        "share of other digits that the models get right": statistics.fmean(found["right"]),
        "seconds": found["seconds"],
        "CPU seconds": found["cpu_seconds"],
    }
    for name, figure in figures.items():
        print(f"{name}: {figure:.2f}")
    print(f"theoretical ε {EPSILON:g}; published: {published} with {models} models")
    if chosen.out is not None:
        name = "published estimator, 200 models a time, over the published figure"
        ratio = [each / published for each in theirs]
        ratios = {name: {"median": statistics.median(ratio), "low": min(ratio), "high": max(ratio)}} if ratio else {}
        found |= {"ratios": ratios, "figures": figures, "targets": {name: 1.0}}
        chosen.out.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
