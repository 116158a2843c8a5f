"""How many records one run should guess, and how coins that are not fair are best made so; measured beside each other.

    python benchmarks/guesses.py            the table of choices of guesses, some minutes
    python benchmarks/guesses.py --runs     how many trainings best choose their threshold, two minutes
    python benchmarks/guesses.py --uneven   records left out beside unequal rates in the formula, some minutes
    python benchmarks/guesses.py --smoke    tiny, to see that it runs

The criterion of the first table has two halves. Mechanisms: the mean over all cells of the median of ε̂ / ε, for
randomised response, Laplace and Gaussian leaks of ε = 1, 2, 4, 8, with 1,000 and 10,000 fair coins at δ = 1e-5 and
100,000 at 1e-7. Models: scikit-learn classifiers, attacked by their loss, each record in by its own fair coin, δ =
1e-5; the mean over them of the median of ε̂, relative to the largest of all choices. A model counts when that largest
is at least 0.5. "A fifth at most" is the mean over the mechanisms' cells of the value that a fifth of the audits stay
below, over ε: what four audits in five certify.
"""

import argparse
import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from scipy.signal import fftconvolve
from scipy.stats import binom
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.tree import DecisionTreeClassifier

from dpaudit.accounting.gaussian import gaussian_mu
from dpaudit.attacks.membership.loss import Loss
from dpaudit.bounds.choosing import GuessSelection, HeldOut, SeveralSplits
from dpaudit.bounds.clopper_pearson import ClopperPearson
from dpaudit.bounds.conditional import Conditional
from dpaudit.bounds.one_run import one_run
from dpaudit.bounds.trial_counts import Guesses, guess, guess_counts, pair
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.scores.from_outputs import observe
from dpaudit.scores.scores import Scores, Sides

LEVEL, DELTA = 0.05, 1e-5
ASKED: Any = {"delta": DELTA, "confidence": 1 - LEVEL, "adjacency": "add-remove", "unit": "record"}
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


def plain_median(fraction: float) -> Bounded:
    """The median of seven splits at half the level, as jax-privacy has it."""

    def bound(scores: Sides, delta: float, seed: int) -> float:
        splits = SeveralSplits(seed, 7, fraction)
        chosen = guess_counts(scores, splits, lambda guesses: one_run(guesses, delta, LEVEL / 2))
        return float(np.median([one_run(each, delta, LEVEL / 2) for each in chosen.pieces]))

    return bound


def union(*pairs: tuple[float, float], weights: tuple[float, ...] = (), level: float = LEVEL) -> Bounded:
    """Shares guessed from the top and from the bottom, each at its part of the level."""
    parts = weights or (1.0,) * len(pairs)

    def bound(scores: Sides, delta: float, seed: int) -> float:
        made = [guess(scores, *pair(top, bottom, len(scores)), seed=seed) for top, bottom in pairs]
        return max(one_run(each, delta, level * w / sum(parts)) for each, w in zip(made, parts, strict=True))

    return bound


def both(*shares: float) -> tuple[tuple[float, float], ...]:
    return tuple((share, share) for share in shares)


def sides(*shares: float) -> tuple[tuple[float, float], ...]:
    return tuple(each for share in shares for each in ((share, 0.0), (0.0, share)))


def held(fraction: float, level: float = LEVEL) -> Bounded:
    return by(lambda seed: HeldOut(seed, fraction), level)


def either(one: Bounded, other: Bounded) -> Bounded:
    return lambda scores, delta, seed: max(one(scores, delta, seed), other(scores, delta, seed))


def by_size(few: Bounded, many: Bounded) -> Bounded:
    return lambda scores, delta, seed: (few if len(scores) <= 10_000 else many)(scores, delta, seed)


CHOICES: Mapping[str, Bounded] = {
    "0.2 held out": held(0.2),
    "0.25 held out": held(0.25),
    "0.3 held out": held(0.3),
    "0.4 held out": held(0.4),
    "half held out (the first default)": held(0.5),
    "several splits, 0.2 held out": by(SeveralSplits),
    "several splits, 0.3 held out": by(lambda seed: SeveralSplits(seed, fraction=0.3)),
    "median of splits, 0.2 held out": plain_median(0.2),
    "median of splits, half held out": plain_median(0.5),
    "all": union(*both(1.0)),
    "0.2": union(*both(0.2)),
    "union 0.1, 0.7 (the second default)": union(*both(0.1, 0.7)),
    "union 0.1, 0.7, a quarter and three of the level": union(*both(0.1, 0.7), weights=(1, 3)),
    "union 0.03, 0.1, 0.3, 1": union(*both(0.03, 0.1, 0.3, 1.0)),
    "union 0.1, 0.7, one side 0.1, 0.3": union(*both(0.1, 0.7), *sides(0.1, 0.3)),
    "union 0.1, 0.7, one side 0.03, 0.1, 0.3": union(*both(0.1, 0.7), *sides(0.03, 0.1, 0.3)),
    "union 0.1, 0.7, one side 0.06, 0.2, 0.6": union(*both(0.1, 0.7), *sides(0.06, 0.2, 0.6)),
    "the same, half of the level for the two": union(
        *both(0.1, 0.7), *sides(0.06, 0.2, 0.6), weights=(3, 3, 1, 1, 1, 1, 1, 1)
    ),
    "0.3 held out and union 0.1, 0.7, half of the level each": either(
        held(0.3, LEVEL / 2), union(*both(0.1, 0.7), level=LEVEL / 2)
    ),
    "union 0.1, 0.7 up to 10,000 records, else 0.3 held out": by_size(union(*both(0.1, 0.7)), held(0.3)),
}


def models(smoke: bool) -> Iterator[tuple[str, Sides]]:
    """Loss scores of trained classifiers."""
    sets = {
        "digits": load_digits(return_X_y=True),
        "cancer": load_breast_cancer(return_X_y=True),
        "made": make_classification(4000, 30, n_informative=10, flip_y=0.1, random_state=0),
    }
    kinds: Mapping[str, Callable[[], Any]] = {
        "forest": lambda: RandomForestClassifier(50, random_state=1),
        "tree": lambda: DecisionTreeClassifier(min_samples_leaf=3, random_state=0),
        "boosting": lambda: GradientBoostingClassifier(n_estimators=50, random_state=0),
        "logistic": lambda: LogisticRegression(C=100, max_iter=300),
        "MLP": lambda: MLPClassifier((64,), max_iter=200, random_state=0),
        "neighbours": lambda: KNeighborsClassifier(5),
    }
    for (data, (x, y)), (kind, make) in itertools.product(sets.items(), kinds.items()):
        if smoke and kind != "tree":
            continue
        member = np.random.default_rng(0).random(len(y)) < 0.5
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a model that has not converged leaks all the same
            model = make().fit(x[member], y[member])
        scores = np.asarray(Loss()(observe(model.predict_proba(x), y, kind="probabilities")))
        yield f"{data}, {kind}", Sides(scores[member], scores[~member])


def choices(audits: Mapping[int, int], seeds: int, *, smoke: bool) -> None:
    kinds, epsilons = ("randomised response", "Laplace", "Gaussian"), (1.0, 2.0, 4.0, 8.0)
    cells = list(itertools.product(audits, kinds, epsilons))
    found: dict[str, list[float]] = {name: [] for name in CHOICES}
    fifths: dict[str, list[float]] = {name: [] for name in CHOICES}
    for size, kind, epsilon in cells:
        rng, delta = np.random.default_rng([size, int(epsilon)]), DELTA if size <= 10_000 else 1e-7
        scores = []
        for _ in range(audits[size]):
            member = rng.random(size) < 0.5
            values = leak(kind, epsilon, member, rng)
            scores.append(Sides(values[member], values[~member]))
        for name, bound in CHOICES.items():
            bounds = [bound(each, delta, seed) for seed, each in enumerate(scores)]
            found[name].append(float(np.median(bounds)) / epsilon)
            fifths[name].append(float(np.quantile(bounds, 0.2)) / epsilon)
    trained = dict(models(smoke))
    certified = {
        name: [float(np.median([bound(scores, DELTA, seed) for seed in range(seeds)])) for scores in trained.values()]
        for name, bound in CHOICES.items()
    }
    largest = np.max(list(certified.values()), axis=0)
    counted = [(place, model) for place, model in enumerate(trained) if largest[place] >= 0.5]
    rows = {}
    for name, values in found.items():
        relative = [certified[name][place] / largest[place] for place, _ in counted]
        large = [v for v, cell in zip(values, cells, strict=True) if cell[:2] == (max(audits), "Gaussian")]
        by_coins = [np.mean([v for v, c in zip(values, cells, strict=True) if c[0] == size]) for size in audits]
        means = [float(np.mean(values)), float(np.mean(relative))]
        rows[name] = [float(np.mean(means)), *means, float(np.mean(fifths[name])), *by_coins, float(np.mean(large))]
    heads = ["both halves", "mechanisms", "models", "a fifth at most", *(f"{size:,} coins" for size in audits)]
    heads += [f"Gaussian, {max(audits):,} coins", *(model for _, model in counted)]
    print(f"\n| guesses | {' | '.join(heads)} |\n" + "|---" * (len(heads) + 1) + "|")
    for name, row in sorted(rows.items(), key=lambda item: -item[1][0]):
        shown = [f"{certified[name][place]:.2f}" for place, _ in counted]
        print(f"| {name} | {' | '.join([*(f'{v:.3f}' for v in row), *shown])} |")


def runs(audits: int, sizes: tuple[int, ...]) -> None:
    """Thresholds of many trainings, on the same mechanisms: mean over the cells of the median, and of the fifth."""
    ways: Mapping[str, Callable[[int], ClopperPearson | Conditional]] = {
        "0.3 held out": lambda seed: ClopperPearson(HeldOut(seed, 0.3)),
        "0.2 held out": lambda seed: ClopperPearson(HeldOut(seed, 0.2)),
        "several splits, 0.2 held out": lambda seed: ClopperPearson(SeveralSplits(seed)),
        "several splits, 0.3 held out": lambda seed: ClopperPearson(SeveralSplits(seed, fraction=0.3)),
        "conditional, 0.3 held out": lambda seed: Conditional(HeldOut(seed, 0.3)),
        "conditional, several splits, 0.2": lambda seed: Conditional(SeveralSplits(seed)),
    }
    heads = [f"{size:,} trainings, {what}" for size in sizes for what in ("median", "a fifth at most")]
    found: dict[str, list[float]] = {name: [] for name in ways}
    for size in sizes:
        cells: dict[str, list[FloatArray]] = {name: [] for name in ways}
        for kind, epsilon in itertools.product(("randomised response", "Laplace", "Gaussian"), (1.0, 2.0, 4.0, 8.0)):
            rng = np.random.default_rng([size, int(epsilon)])
            members = [rng.random(size) < 0.5 for _ in range(audits)]
            scores = [Scores.join(leak(kind, epsilon, member, rng), member) for member in members]
            for name, make in ways.items():
                bounds = [make(seed)(each, **ASKED).epsilon for seed, each in enumerate(scores)]
                cells[name].append(np.quantile(bounds, (0.5, 0.2)) / epsilon)
        for name, values in cells.items():
            found[name] += np.mean(values, axis=0).tolist()
    print(f"\n| threshold | {' | '.join(heads)} |\n" + "|---" * (len(heads) + 1) + "|")
    for name, row in found.items():
        print(f"| {name} | {' | '.join(f'{v:.3f}' for v in row)} |")


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
    parser.add_argument("--runs", action="store_true", help="the thresholds of many trainings instead")
    arguments = parser.parse_args()
    if arguments.runs:
        runs(*((2, (200,)) if arguments.smoke else (21, (200, 1000))))
    elif arguments.uneven:
        uneven(*((1, (200,)) if arguments.smoke else (11, (1000, 10_000))))
    else:
        sizes = {100: 2, 1000: 2} if arguments.smoke else {1000: 41, 10_000: 21, 100_000: 7}
        choices(sizes, 2 if arguments.smoke else 21, smoke=arguments.smoke)


if __name__ == "__main__":
    main()
