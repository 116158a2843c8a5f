"""Canaries in language models: what one training shows without DP, and to one who sees every step of it with DP.

    python benchmarks/text_canaries.py            1000 canaries (about ten minutes on two idle cores)
    python benchmarks/text_canaries.py --smoke    100 canaries and few steps

**Without DP**: new tokens, 0.73 million parameters, the attack by loss. To reach: a true-positive rate of 0.9 at a
false-positive rate of 1 %, and ε ≥ 3.

**With DP**: full batches, ten steps, a claim of ε = 8. Whoever sees the weights after every step knows each noisy sum u
of clipped gradients. The attacker knows the other records and subtracts their part exactly, and knows the gradient of
every canary, a row of G. These overlap, so the product of one with u is mostly about the others. The best linear
estimate of who was in is (4 I + Σ G Gᵀ / σ²)⁻¹ Σ G (u - half of all canaries) / σ²; 1/4 is the variance of a fair coin.
To reach: ε ≥ 1. Beside it stands what canaries with orthogonal gradients of the clip norm would show, by simulation.
Every bound is valid: the coins are the only randomness that it relies on.
"""

import argparse
from typing import Any

import numpy as np

from dpaudit.accounting.accounted_claim import account
from dpaudit.accounting.claim import Poisson
from dpaudit.bounds.default import default_bound
from dpaudit.data.dataset import Dataset
from dpaudit.data.inclusion import fair_coins
from dpaudit.data.member_choice import Coins
from dpaudit.data.source import Source
from dpaudit.data.text import TextRoles
from dpaudit.data.text_canaries import TextCanaries
from dpaudit.engine.gradients import clipped_sum, plain_sum
from dpaudit.engine.losses import per_example_loss
from dpaudit.engine.network import Network
from dpaudit.engine.optimizers import GradientDescent
from dpaudit.engine.schedules import Constant
from dpaudit.engine.training import Member, TrainingRecipe, train
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.tensorflow import tf
from dpaudit.scores.from_outputs import phi
from dpaudit.scores.roc import Roc
from dpaudit.scores.scores import Scores
from dpaudit.training.decoder import Decoder
from dpaudit.training.dp_sgd import DpSgd
from dpaudit.training.keras_model import keras_targets, network_inputs

DELTA, RATE, AT_A_TIME = 1e-5, 1.0, 50


def records(count: int, context: int, population: float) -> Dataset:
    """Texts, with canaries of new tokens at their end."""
    canaries = TextCanaries("new-token", count)
    where = {"task": "multiclass", "label": "label", "user": None, "clients": None}
    roles = TextRoles(context=context)
    return Source("shakespeare", population=population, seed=1, text=roles, canaries=canaries, **where)()[0]  # type: ignore[arg-type]


def judge(name: str, scores: FloatArray, coins: BoolArray) -> None:
    """Print what scores of canaries show."""
    joined = Scores.join(scores, coins)
    terms = {"delta": DELTA, "confidence": 0.95, "adjacency": "add-remove", "unit": "record"}
    bound = default_bound("one-run", Coins(0.5), seed=3)(joined, **terms)  # type: ignore[arg-type]
    roc = Roc.of(joined)
    print(
        f"{name}: AUC {roc.auc:.3f}, TPR at 1 % FPR {roc.tpr_at(0.01).tpr:.3f}, valid ε ≥ {bound.epsilon:.2f}",
        flush=True,
    )


def without_privacy(count: int, epochs: int) -> None:
    """The loss of new tokens, of one training."""
    data, coins = records(count, 32, 0.85), fair_coins(count, seed=2)
    trainer = DpSgd(
        Decoder(112, 3, 4),
        l2_norm_clip=None,
        epochs=epochs,
        batch_size=128,
        learning_rate=1e-3,
        optimizer="adam",
        sampling="shuffled",
    )
    model = trainer(data, np.concatenate([np.ones(len(data) - count, bool), coins]), seed=1)
    canaries = data.take(np.arange(len(data)) >= len(data) - count)
    seen = phi(model.predict(canaries.features), canaries.labels, task="next-token").values
    judge(f"without DP, {count} canaries, loss", seen, coins)


class SeesEveryStep:
    """What the weights before and after each step say of every canary: adds up as the training goes."""

    def __init__(self, network: Network, data: Dataset, count: int, batch: int, sigma: float) -> None:
        x, y = network_inputs(data), keras_targets(data)
        self.network, self.batch, self.sigma = network, batch, sigma
        self.others, self.canaries = (x[:-count], y[:-count]), (x[-count:], y[-count:])
        self.gram, self.seen, self.dot = np.zeros((count, count)), np.zeros(count), np.zeros(count)
        self._each, self._together = tf.function(self._gradients), tf.function(self._sum, jit_compile=True)

    def __call__(self, models: object, step: int, before: Any, after: Any) -> None:
        """One step of one model."""
        moved = [(old - new).numpy()[0] * (self.batch / RATE) for old, new in zip(before, after, strict=True)]
        gradients = np.concatenate([self._each(before, *part).numpy() for part in _parts(*self.canaries, AT_A_TIME)])
        released = np.concatenate([each.ravel() for each in moved])
        for x, y in _parts(*self.others, AT_A_TIME):
            released -= np.concatenate([each.numpy()[0].ravel() for each in self._together(before, x, y[None])])
        self.gram += gradients @ gradients.T
        self.dot += gradients @ released
        self.seen += gradients @ (released - gradients.sum(axis=0) / 2)

    def scores(self) -> FloatArray:
        """The best linear estimate of each coin, shape (canaries,)."""
        precision = 4 * np.eye(len(self.seen)) + self.gram / self.sigma**2
        return np.linalg.solve(precision, self.seen / self.sigma**2)

    def _gradients(self, parameters: Any, x: Any, y: Any) -> Any:
        """Each record's clipped gradient, shape (records, parameters): as many copies of the model with one record."""
        copies = [tf.repeat(value, len(x), axis=0) for value in parameters]
        sums, _ = plain_sum(self.network, tuple(copies), x[:, None], y[:, None], loss=_loss)
        flat = tf.concat([tf.reshape(value, [len(x), -1]) for value in sums], axis=1)
        return flat / tf.maximum(tf.norm(flat, axis=1, keepdims=True), 1.0)

    def _sum(self, parameters: Any, x: Any, y: Any) -> Any:
        return clipped_sum(self.network, parameters, x, y, loss=_loss, clip=1.0).gradients


def with_privacy(count: int, steps: int, sigma: float) -> None:
    """New tokens, of one training on full batches whose every step is seen."""
    data, coins = records(count, 24, 0.96), fair_coins(count, seed=2)
    member = np.concatenate([np.ones(len(data) - count, bool), coins])
    network = DpSgd(Decoder(64, 2, 4)).network(data)
    recipe = TrainingRecipe(
        "next-token", steps, int(member.sum()), GradientDescent(), Constant(RATE), clip=1.0, noise_multiplier=sigma
    )
    mechanism = recipe.mechanism(Poisson(1.0), int(member.sum()))
    claimed = account(mechanism, None, delta=DELTA, adjacency="add-remove", unit="record")
    assert claimed is not None
    watch = SeesEveryStep(network, data, count, int(member.sum()), sigma)
    train(
        network,
        network.initial(seed=1, models=[0]),
        recipe,
        [Member(0, np.flatnonzero(member), Poisson(1.0))],
        features=network_inputs(data),
        targets=keras_targets(data),
        seed=1,
        watch=watch,
    )
    name = f"claimed ε = {claimed.claim.epsilon:.2f}, {count} canaries"
    judge(f"{name}, decorrelated", watch.scores(), coins)
    judge(f"{name}, products alone", watch.dot, coins)
    noise = np.random.default_rng(4).normal(size=count)
    judge(f"{name}, orthogonal gradients (simulated)", steps * coins + np.sqrt(steps) * sigma * noise, coins)


def _loss(outputs: Any, targets: Any) -> Any:
    return per_example_loss("next-token", outputs, targets)


def _parts(x: Any, y: Any, size: int) -> list[tuple[Any, Any]]:
    """Parts of at most ``size`` records."""
    return [(tf.constant(x[at : at + size]), tf.constant(y[at : at + size])) for at in range(0, len(x), size)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="small: 100 canaries and few steps")
    smoke = parser.parse_args().smoke
    without_privacy(*((100, 1) if smoke else (1000, 8)))
    with_privacy(*((100, 2, 0.849) if smoke else (1000, 10, 1.898)))


if __name__ == "__main__":
    main()
