"""Real texts: how much reference models find that the public model alone does not.

    python benchmarks/text_members.py                   4 references
    python benchmarks/text_members.py --references 16   the same with 16
    python benchmarks/text_members.py --texts 1000      fewer texts
    python benchmarks/text_members.py --smoke           300 texts, one epoch

A small model is trained on public speeches of Shakespeare and then fine-tuned without DP on half of 4,000 others. The
usual attack compares the loss of a text with that under the public model. The stronger one compares it with models that
were fine-tuned alike on other halves: ``offset``, φ above the middle of what it is with and without the text, fixed
beforehand; other attacks are shown for comparison. Every model of the pool is the target in turn, without its pair.
To reach, in true-positive rate at a false-positive rate of 1 %: 1.5 times the public model's with 4 references, twice
with 16. Intervals are 95 %, from resampling the texts.
"""

import argparse
import time

import numpy as np

from dpaudit.attacks.membership.base import Base
from dpaudit.attacks.membership.calibrated import Calibrated, Offset
from dpaudit.attacks.membership.lira import Lira
from dpaudit.attacks.membership.pools import Attack, leave_pair_out
from dpaudit.data.inclusion import complementary_pairs
from dpaudit.data.text import TextRoles, load_text
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.scores.from_outputs import phi
from dpaudit.scores.signals import PoolSignals
from dpaudit.training.decoder import Decoder
from dpaudit.training.dp_sgd import DpSgd

FPR, DRAWS = 0.01, 400


def tpr(scores: FloatArray, member: BoolArray) -> float:
    """Share of the members above all but 1 % of the others, mean over the targets, of scores (targets, texts)."""
    rates = [
        float(np.mean(row[inside] > np.quantile(row[~inside], 1 - FPR, method="higher")))
        for row, inside in zip(scores, member, strict=True)
    ]
    return float(np.mean(rates))


def ratio(scores: FloatArray, beside: FloatArray, member: BoolArray) -> tuple[float, float, float]:
    """How many times the rate of the other scores, with the interval."""
    rng = np.random.default_rng(5)
    drawn = []
    for _ in range(DRAWS):
        rows = rng.integers(0, scores.shape[1], scores.shape[1])
        drawn.append(tpr(scores[:, rows], member[:, rows]) / tpr(beside[:, rows], member[:, rows]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return tpr(scores, member) / tpr(beside, member), float(low), float(high)


def measure(texts: int, references: int, epochs: int) -> None:
    """Train the public model and the pool, attack, print."""
    begin = time.process_time()
    data = load_text("shakespeare", TextRoles(context=32))
    order = np.random.default_rng(1).permutation(len(data))
    private, public = data.take(order[:texts]), data.take(order[texts : 4 * texts])
    trainer = DpSgd(
        Decoder(64, 2, 4),
        l2_norm_clip=None,
        epochs=2,
        batch_size=64,
        learning_rate=3e-3,
        optimizer="adam",
        sampling="shuffled",
    )
    start = trainer(public, np.ones(len(public), bool), seed=1)
    weights = [value for _, value in sorted(start.weights.items())]
    included = complementary_pairs(references + 2, texts, seed=2)
    tuned = DpSgd(
        Decoder(64, 2, 4),
        l2_norm_clip=None,
        epochs=epochs,
        batch_size=64,
        learning_rate=1e-3,
        optimizer="adam",
        sampling="shuffled",
    )
    seeds = list(range(len(included)))
    models = tuned.train_many(private, included, seeds=seeds, start=[weights] * len(seeds))

    def believed(losses: FloatArray) -> FloatArray:
        return phi(losses, private.labels, task="next-token").values

    pool = PoolSignals(np.stack([believed(model.predict(private.features)) for model in models]), included)
    own = believed(start.predict(private.features))
    against_public = np.logaddexp(0, -own) - np.logaddexp(0, -pool.phi)
    print(f"public model: loss {np.logaddexp(0, -own).mean():.3f}, tuned {np.logaddexp(0, -pool.phi).mean():.3f}")
    print(f"public-model difference: TPR at 1 % FPR {tpr(against_public, included):.4f}", flush=True)
    attacks: dict[str, Attack] = {"offset": Offset(), "lira": Lira(), "base": Base(), "calibrated": Calibrated()}
    for name, attack in attacks.items():
        scores = leave_pair_out(attack, pool)
        times, low, high = ratio(scores, against_public, included)
        print(
            f"{name}, {references} references: TPR at 1 % FPR {tpr(scores, included):.4f}, {times:.2f} times "
            f"({low:.2f} to {high:.2f}) that of the public model",
            flush=True,
        )
    print(f"{time.process_time() - begin:.0f} CPU s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--references", type=int, default=4, help="an even number; default 4")
    parser.add_argument("--texts", type=int, default=4000, help="half of them for each model; default 4000")
    parser.add_argument("--epochs", type=int, default=8, help="of the fine-tuning; default 8")
    parser.add_argument("--smoke", action="store_true", help="300 texts, one epoch")
    given = parser.parse_args()
    measure(300 if given.smoke else given.texts, given.references, 1 if given.smoke else given.epochs)


if __name__ == "__main__":
    main()
