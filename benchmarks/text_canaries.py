"""Canaries in language models: what one training shows without DP, and to one who sees every step of it with DP.

    python benchmarks/text_canaries.py            1000 canaries (about ten minutes on two idle cores)
    python benchmarks/text_canaries.py --smoke    100 canaries and few steps
    python benchmarks/text_canaries.py --only with-privacy --canaries 300 --texts 300 --steps 4 --seeds 1 2 3

**Without DP**: new tokens, 0.73 million parameters, the attack by loss. To reach: a true-positive rate of 0.9 at a
false-positive rate of 1 %, and ε ≥ 3.

**With DP**: full batches, ten steps, claims of ε = 8 and 4. Whoever sees the weights after every step knows each noisy
sum of clipped gradients; `dpaudit.audits.ladder.decorrelated` says what the attacker makes of it, which a plan runs as
the ladder's rung 3 with ``score = "decorrelated"``. To reach: ε ≥ 1 and ε ≥ 0.4. Beside it stands what canaries with
orthogonal gradients of the clip norm would show, by simulation. Every bound is valid: the coins are the only randomness
that it relies on.
"""

import argparse
import math

import numpy as np

from dpaudit.accounting.gaussian import gaussian_mu
from dpaudit.audits.ladder.decorrelated import EveryStep
from dpaudit.bounds.default import default_bound
from dpaudit.data.dataset import Dataset
from dpaudit.data.inclusion import fair_coins
from dpaudit.data.member_choice import Coins
from dpaudit.data.source import Source
from dpaudit.data.text import TextRoles
from dpaudit.data.text_canaries import TextCanaries
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.seeds import derive_seed
from dpaudit.scores.from_outputs import phi
from dpaudit.scores.roc import Roc
from dpaudit.scores.scores import Scores
from dpaudit.training.decoder import Decoder
from dpaudit.training.dp_sgd import DpSgd

DELTA, SPEECHES = 1e-5, 21267


def records(count: int, context: int, population: float) -> Dataset:
    """Texts, with canaries of new tokens at their end."""
    canaries = TextCanaries("new-token", count)
    where = {"task": "multiclass", "label": "label", "user": None, "clients": None}
    roles = TextRoles(context=context)
    return Source("shakespeare", population=population, seed=1, text=roles, canaries=canaries, **where)()[0]  # type: ignore[arg-type]


def judge(name: str, scores: FloatArray, coins: BoolArray) -> float:
    """Print what scores of canaries show; the bound on ε."""
    joined = Scores.join(scores, coins)
    terms = {"delta": DELTA, "confidence": 0.95, "adjacency": "add-remove", "unit": "record"}
    bound = default_bound("one-run", Coins(0.5), seed=3)(joined, **terms)  # type: ignore[arg-type]
    roc = Roc.of(joined)
    print(
        f"{name}: AUC {roc.auc:.3f}, TPR at 1 % FPR {roc.tpr_at(0.01).tpr:.3f}, valid ε ≥ {bound.epsilon:.2f}",
        flush=True,
    )
    return bound.epsilon


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


def with_privacy(count: int, texts: int, steps: int, claim: float, seeds: list[int]) -> None:
    """New tokens beside texts, of one training on full batches for each seed, whose every step is seen."""
    data = records(count, 24, 1 - texts / SPEECHES)
    found = []
    for seed in seeds:
        coins = fair_coins(count, seed=derive_seed(seed, "coins"))
        member = np.concatenate([np.ones(len(data) - count, bool), coins])
        trainer = DpSgd(
            Decoder(64, 2, 4),
            l2_norm_clip=1.0,
            noise_multiplier=math.sqrt(steps) / gaussian_mu(claim, DELTA),
            epochs=steps,
            batch_size=len(data) - count // 2,
            learning_rate=1.0,
            sampling="full",
        )
        watch = EveryStep(trainer, data, member[:-count], count, int(member.sum()))
        trainer.train_many(data, member[None], seeds=[seed], watch=watch)
        name = f"claimed ε = {claim:g}, {count} canaries, seed {seed}"
        found.append(judge(f"{name}, decorrelated", watch.scores(), coins))
        judge(f"{name}, products alone", watch.products, coins)
        noise = np.random.default_rng(seed).normal(size=count) * trainer.noise_multiplier * math.sqrt(steps)
        judge(f"{name}, orthogonal gradients (simulated)", steps * coins + noise, coins)
    if len(found) > 1:
        low, middle, high = min(found), float(np.median(found)), max(found)
        print(f"claimed ε = {claim:g}, decorrelated: median ε ≥ {middle:.2f} ({low:.2f} to {high:.2f})", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="small: 100 canaries and few steps")
    parser.add_argument("--only", choices=["without-privacy", "with-privacy"], help="one of the two parts")
    parser.add_argument("--canaries", type=int, default=1000)
    parser.add_argument("--texts", type=int, default=850, help="beside the canaries, with DP; default 850")
    parser.add_argument("--steps", type=int, default=10, help="with DP; default 10")
    parser.add_argument("--claims", type=float, nargs="+", default=[8.0, 4.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    given = parser.parse_args()
    count = 100 if given.smoke else given.canaries
    if given.only != "with-privacy":
        without_privacy(count, 1 if given.smoke else 8)
    for claim in [] if given.only == "without-privacy" else given.claims:
        with_privacy(count, given.texts, 2 if given.smoke else given.steps, claim, given.seeds)


if __name__ == "__main__":
    main()
