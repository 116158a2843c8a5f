"""How many records one run should guess, and how coins that are not fair are best made so; measured beside each other.

    python benchmarks/guesses.py            the table of choices of guesses, some minutes
    python benchmarks/guesses.py --uneven   records left out beside unequal rates in the formula, some minutes
    python benchmarks/guesses.py --smoke    tiny, to see that it runs

The first criterion is the mean over all cells of the median of ε̂ / ε: randomised response, Laplace, Gaussian leaks of
ε = 1, 2, 4, 8, with 100, 1,000 and 10,000 fair coins, at δ = 0 and 1e-5.
"""

import argparse
import itertools
import math
from collections.abc import Callable, Mapping

import numpy as np
from scipy.signal import fftconvolve
from scipy.stats import binom

from dpaudit.accounting.gaussian import gaussian_mu
from dpaudit.bounds.choosing import CrossFit, GuessSelection, HeldOut, UnionGuesses
from dpaudit.bounds.one_run import one_run
from dpaudit.bounds.trial_counts import Guesses, guess_counts
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.scores.scores import Sides

LEVEL, DELTA = 0.05, 1e-5
Generator = np.random.Generator
Bounded = Callable[[Sides, float, int], float]  # scores, δ, seed -> ε


def leak(kind: str, epsilon: float, member: BoolArray, rng: Generator) -> FloatArray:
    if kind == "randomised response":
        told = member ^ (rng.random(member.size) < 1 / (1 + math.exp(epsilon)))
        return np.where(told, 1.0, -1.0)
    noise = rng.laplace(0, 1 / epsilon, member.size) if kind == "Laplace" else rng.normal(size=member.size)
    return np.asarray((1.0 if kind == "Laplace" else gaussian_mu(epsilon, DELTA)) * member + noise, np.float64)


def by(select: Callable[[int], GuessSelection], level: float = LEVEL) -> Bounded:
    def bound(scores: Sides, delta: float, seed: int) -> float:
        chosen = guess_counts(scores, select(seed), lambda guesses: one_run(guesses, delta, level))
        return chosen.bound(lambda guesses, at: one_run(guesses, delta, at), level)

    return bound


def union(*shares: float) -> Bounded:
    return by(lambda seed: UnionGuesses(shares, seed))


def weighted(shares: tuple[float, ...], weights: tuple[float, ...]) -> Bounded:
    parts = [by(lambda seed, share=share: UnionGuesses((share,), seed), LEVEL * weight / sum(weights))  # type: ignore[misc]
             for share, weight in zip(shares, weights, strict=True)]  # fmt: skip
    return lambda scores, delta, seed: max(part(scores, delta, seed) for part in parts)


def top(*shares: float) -> Bounded:
    def bound(scores: Sides, delta: float, seed: int) -> float:
        ranked = scores.truth[np.lexsort((np.random.default_rng(seed).random(len(scores)), scores.values))]
        made = [math.ceil(share * len(scores) / 2) for share in shares]
        return max(one_run(Guesses(len(scores), n, int(ranked[-n:].sum())), delta, LEVEL / len(shares)) for n in made)

    return bound


def splits(number: int) -> Bounded:
    """Median over several held-out halves, each at half of the level."""
    half = by(lambda seed: HeldOut(seed, 0.5), LEVEL / 2)
    return lambda scores, delta, seed: float(np.median([half(scores, delta, number * seed + i) for i in range(number)]))


CHOICES: Mapping[str, Bounded] = {
    "half held out (the default before)": by(lambda seed: HeldOut(seed, 0.5)),
    "0.3 held out": by(lambda seed: HeldOut(seed, 0.3)),
    "cross-fit, 2 folds": by(CrossFit),
    "5 held-out halves, median at half of the level": splits(5),
    "all": union(1.0),
    "0.6": union(0.6),
    "0.2": union(0.2),
    "union 0.1, 1": union(0.1, 1.0),
    "union 0.1, 0.5": union(0.1, 0.5),
    "union 0.1, 0.7": union(0.1, 0.7),
    "union 0.05, 0.7": union(0.05, 0.7),
    "union 0.05, 0.2, 1": union(0.05, 0.2, 1.0),
    "union 0.1, 0.3, 0.7": union(0.1, 0.3, 0.7),
    "union 0.03, 0.1, 0.3, 1": union(0.03, 0.1, 0.3, 1.0),
    "union 0.02, 0.06, 0.2, 0.6": union(0.02, 0.06, 0.2, 0.6),
    "union 0.1, 0.7, a quarter and three of the level": weighted((0.1, 0.7), (1, 3)),
    "union 0.03, 0.1, 0.3, 1, top only": top(0.03, 0.1, 0.3, 1.0),
}


def choices(audits: int, sizes: tuple[int, ...]) -> None:
    kinds, epsilons = ("randomised response", "Laplace", "Gaussian"), (1.0, 2.0, 4.0, 8.0)
    cells = list(itertools.product(sizes, (0.0, DELTA), kinds, epsilons))
    found: dict[str, list[float]] = {name: [] for name in CHOICES}
    for size, delta, kind, epsilon in cells:
        rng = np.random.default_rng([size, int(epsilon)])
        scores = []
        for _ in range(audits):
            member = rng.random(size) < 0.5
            values = leak(kind, epsilon, member, rng)
            scores.append(Sides(values[member], values[~member]))
        for name, bound in CHOICES.items():
            # Several splits and folds take most of the time; a quarter of the audits says enough of them.
            part = scores[:: 4 if "median" in name or "cross" in name else 1]
            found[name].append(float(np.median([bound(each, delta, seed) for seed, each in enumerate(part)])) / epsilon)
    heads = [
        "all cells",
        *kinds,
        *(f"{size:,} coins" for size in sizes),
        "Gaussian ε = 1 / 2 / 4, 1,000 coins, δ = 1e-5",
    ]
    print(f"\n| guesses | {' | '.join(heads)} |\n" + "|---" * (len(heads) + 1) + "|")
    for name, values in sorted(found.items(), key=lambda item: -float(np.mean(item[1]))):
        row = [np.mean(values)]
        row += [np.mean([v for v, cell in zip(values, cells, strict=True) if cell[2] == kind]) for kind in kinds]
        row += [np.mean([v for v, cell in zip(values, cells, strict=True) if cell[0] == size]) for size in sizes]
        single = [v for v, cell in zip(values, cells, strict=True) if cell[:3] == (1000, DELTA, "Gaussian")][:3]
        print(f"| {name} | {' | '.join(f'{v:.3f}' for v in row)} | {' / '.join(f'{v:.3f}' for v in single)} |")


def unequal(made: tuple[int, int], correct: int, p: float, epsilon: float, budget: float) -> float:
    """p-value with p in the formula: right guesses are a sum of two binomials, and leaks cost ``budget`` at the most.

    A guess "in" is right with probability p e^ε / (p e^ε + 1 - p) at most, "out" likewise. The mean number of coins
    beyond that is at most ``budget``; nothing is assumed of how it depends on the others, so it goes where it is
    cheapest: to outcomes that lack one right guess, then two.
    """
    grow = math.exp(epsilon)
    rates = (p * grow / (p * grow + 1 - p), (1 - p) * grow / ((1 - p) * grow + p))
    laws, start = [], 0
    for number, rate in zip(made, rates, strict=True):
        reach = 10 * math.sqrt(number * rate * (1 - rate)) + 10
        low, high = max(0, int(number * rate - reach)), min(number, int(number * rate + reach))
        laws.append(binom.pmf(np.arange(low, high + 1), number, rate))
        start += low
    law = np.clip(fftconvolve(*laws), 0, None)
    first = max(correct - start, 0)
    tail = float(law[first:].sum())
    below = law[: min(first, law.size)][::-1]
    lacking = np.arange(1, below.size + 1) + max(0, first - law.size)
    spent = np.cumsum(below * lacking)
    paid = int(np.searchsorted(spent, budget))
    rest = (budget - (spent[paid - 1] if paid else 0)) / lacking[paid] if paid < below.size else 0.0
    return min(1.0, tail + float(below[:paid].sum()) + rest)


def in_formula(made: tuple[int, int], correct: int, p: float, budget: float) -> float:
    low, high = 0.0, 12.0
    if unequal(made, correct, p, 0.0, budget) > LEVEL:
        return 0.0
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (middle, high) if unequal(made, correct, p, middle, budget) <= LEVEL else (low, middle)
    return low


def uneven(audits: int, sizes: tuple[int, ...]) -> None:
    """Both ways, each with the numbers of guesses that suit every cell best."""
    print("\n| records | p | δ | p in the formula | records left out |\n|---|---|---|---|---|")
    for size, p, delta in itertools.product(sizes, (0.55, 0.7, 0.83, 0.95, 0.98), (0.0, DELTA)):
        totals = []
        for kind, epsilon in itertools.product(("randomised response", "Laplace", "Gaussian"), (1.0, 4.0)):
            rng = np.random.default_rng([size, int(100 * p), int(epsilon)])
            formula: dict[tuple[float, float], list[float]] = {}
            left: dict[tuple[float, str], list[float]] = {}
            for _ in range(audits):
                member = rng.random(size) < p
                truth = member[np.lexsort((rng.random(size), leak(kind, epsilon, member, rng)))]
                for share, other in itertools.product((0, 0.1, 0.3, 0.6, 1.0), repeat=2):
                    ins, outs = int(share * size * p), int(other * size * (1 - p))
                    if ins + outs:
                        right = int(truth[size - ins :].sum() + (~truth[:outs]).sum())
                        budget = delta * size * (p * (ins > 0) + (1 - p) * (outs > 0))
                        formula.setdefault((share, other), []).append(in_formula((ins, outs), right, p, budget))
                kept = truth[~truth | (rng.random(size) < (1 - p) / p)]
                for share, side in itertools.product((0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0), ("both", "in", "out")):
                    half = max(1, int(share * kept.size / 2)) if kept.size > 1 else 0
                    ins, outs = half * (side != "out"), half * (side != "in")
                    if ins + outs:
                        right = int(kept[kept.size - ins :].sum() + (~kept[:outs]).sum())
                        guesses = Guesses(kept.size, ins + outs, right)
                        left.setdefault((share, side), []).append(one_run(guesses, delta, LEVEL))
            best = [max(float(np.median(found)) for found in way.values()) / epsilon for way in (formula, left)]
            totals.append(best)
        print(f"| {size:,} | {p} | {delta:g} | {' | '.join(f'{v:.3f}' for v in np.mean(totals, axis=0))} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uneven", action="store_true", help="the two ways of unequal coins instead")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs")
    arguments = parser.parse_args()
    if arguments.uneven:
        uneven(*((1, (200,)) if arguments.smoke else (11, (1000, 10_000))))
    else:
        choices(*((2, (100, 1000)) if arguments.smoke else (100, (100, 1000, 10_000))))


if __name__ == "__main__":
    main()
