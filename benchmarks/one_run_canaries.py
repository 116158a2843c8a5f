"""How much one run shows by each kind of canary: a CNN on MNIST-5000 trained by the stacked DP-SGD engine.

The same records, claim, inclusions and training seeds for every kind. 800 records are trained on beside canaries that
are each included with probability 1/2. The score of a canary is its logit-scaled confidence minus the mean over
reference models, which are trained on the same records and on a random half of the canaries. ``sparse`` canaries need
no public model; ``found`` ones come from a public model, trained without DP on half of the population. ``spread`` is a
candidate that the package does not have: records with another label whose gradients, as the public model gives them
without its hidden layers (centred pixels times the error of the probabilities), overlap least.

``python benchmarks/one_run_canaries.py``
"""

import argparse
import statistics
import time
from dataclasses import replace

import numpy as np
from scipy.special import softmax

from dpaudit.accounting.mechanism import epsilon
from dpaudit.bounds.default import default_bound
from dpaudit.data.bundled import mnist_5000
from dpaudit.data.canaries import CanaryKind, Predictor, canaries
from dpaudit.data.dataset import Dataset
from dpaudit.data.inclusion import fair_coins
from dpaudit.data.member_choice import Coins
from dpaudit.data.source import with_added
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.scores.from_outputs import phi
from dpaudit.scores.scores import Scores
from dpaudit.training.architecture import Cnn
from dpaudit.training.dp_sgd import DpSgd

SEED, REFERENCE_SEED, RECORDS, DELTA, CONFIDENCE = 20250715, 1000, 800, 1e-5, 0.95
KINDS: tuple[CanaryKind, ...] = ("mislabelled", "found", "out-of-distribution", "sparse")


def spread(source: Dataset, count: int, predict: Predictor) -> Dataset:
    """Mislabelled records chosen by a pivoted Cholesky factorisation of the products of their gradients."""
    rows = np.repeat(np.arange(len(source)), source.outputs - 1)
    labels = (source.classes[rows] + np.tile(np.arange(1, source.outputs), len(source))) % source.outputs
    error = softmax(predict(source.features), axis=1)[rows] - np.eye(source.outputs)[labels]
    pixels = source.features.reshape(len(source), -1)
    pixels = pixels - pixels.mean(axis=0)
    pixels = (pixels / np.linalg.norm(pixels, axis=1, keepdims=True))[rows]
    left, factor, chosen = (error**2).sum(axis=1), np.zeros((len(rows), count)), []
    for place in range(count):
        best = int(left.argmax())
        column = (pixels @ pixels[best]) * (error @ error[best]) - factor[:, :place] @ factor[best, :place]
        factor[:, place] = column / left[best] ** 0.5
        left = np.maximum(left - factor[:, place] ** 2, 0.0)
        left[rows == rows[best]] = -1.0  # each record once
        chosen.append(best)
    made = canaries("mislabelled", source, count, seed=SEED)
    return replace(made, features=source.features[rows[chosen]], labels=labels[chosen].astype(np.int64))


def confidences(
    trainer: DpSgd, private: Dataset, planted: Dataset, inclusions: list[BoolArray], first: int
) -> FloatArray:
    """Of every canary under every model, shape (models, canaries); the models have the seeds from ``first`` on."""
    included = np.stack([np.concatenate([np.ones(len(private), bool), coins]) for coins in inclusions])
    seeds = list(range(first, first + len(included)))
    models = trainer.train_many(with_added(private, planted), included, seeds=seeds)
    return np.stack([phi(m.predict(planted.features), planted.labels, task=planted.task).values for m in models])


def main() -> None:
    """Print ε, the share of right guesses and the CPU seconds of every kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--canaries", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--references", type=int, default=16)
    parser.add_argument("--noise-multiplier", type=float, default=0.3)
    given = parser.parse_args()
    begun = time.process_time()
    data = mnist_5000()
    order = np.random.default_rng(SEED).permutation(len(data))
    private, population = data.take(order[:RECORDS]), data.take(order[RECORDS:])
    half = len(population) // 2
    trainer = DpSgd(
        Cnn(filters=(8, 16), kernels=(5, 5), strides=(2, 2), pool=1, hidden=(32,), activation="tanh"),
        noise_multiplier=given.noise_multiplier,
        epochs=given.epochs,
        batch_size=100,
        learning_rate=0.5,
    )
    public = np.arange(len(population)) < half
    predict = trainer.without_privacy()(population, public, seed=SEED).predict
    source = population.take(~public)
    made: dict[str, Dataset] = {
        kind: canaries(kind, source, given.canaries, seed=SEED, predict=predict if kind == "found" else None)
        for kind in KINDS
    }
    made["spread"] = spread(source, given.canaries, predict)
    found: dict[str, list[tuple[float, float]]] = {}
    terms = {"delta": DELTA, "confidence": CONFIDENCE}
    for kind, planted in made.items():
        halves = [fair_coins(given.canaries, seed=REFERENCE_SEED + number) for number in range(given.references)]
        usual = confidences(trainer, private, planted, halves, REFERENCE_SEED).mean(axis=0)
        coins = [fair_coins(given.canaries, seed=SEED + seed) for seed in range(given.seeds)]
        found[kind] = []
        for seed, rise in enumerate(confidences(trainer, private, planted, coins, 0) - usual):
            bound = default_bound("one-run", Coins(0.5), seed=SEED + seed)
            scores = Scores.join(rise, coins[seed])
            measured = bound(scores, adjacency="add-remove", unit="record", **terms).epsilon
            auc = float((rise[coins[seed]][:, None] > rise[~coins[seed]]).mean())
            found[kind].append((measured, auc))
            print(f"{kind}, seed {seed}: ε ≥ {measured:.2f}, AUC {auc:.3f}", flush=True)
    mechanism = trainer.mechanism(RECORDS + given.canaries // 2)
    assert mechanism is not None
    accounted = epsilon(mechanism, delta=DELTA, adjacency="add-remove").epsilon
    print(f"claim about {accounted:.2f}, {time.process_time() - begun:.0f} CPU s")
    for kind, rows in found.items():
        bounds, aucs = zip(*rows, strict=True)
        means = f"{statistics.mean(bounds):.2f} ({min(bounds):.2f} to {max(bounds):.2f}) | {statistics.mean(aucs):.3f}"
        print(f"| {kind} | {means} |")


if __name__ == "__main__":
    main()
