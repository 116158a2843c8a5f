"""How long a sequential test takes beside the best test of a fixed number of trials that knows the alternative.

    python benchmarks/sequential.py            the tables, some minutes
    python benchmarks/sequential.py --smoke    one alternative, to see that it runs

A trial is right at the rate p₀ under the claim and p₁ under the alternative. The best fixed test is the smallest number
of trials whose exact binomial test has power 1/2. The ratio is the median stopping time over that number, both exact,
for the test of known length of `dpaudit.bounds.stopping_rule` (twice as many trials as the longest fixed test), for the
bets of `dpaudit.bounds.sequential`, which hold for ever, for bets spread evenly over all rates above p₀, and for a bet
that knows the alternative.

The second table is the limit of every test, whatever its rule and its length. Suppose a test stops under each of
several alternatives within r times its fixed number with probability 1/2. For any weights λ the false-alarm rate is
then at least the value of an optimal stopping problem (the Lagrangian dual), which is computed exactly; the best
weights are searched for. The smallest r at which that value is the level is what no test can go below.
"""

import argparse
import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize
from scipy.special import betainc, betaln, ndtr
from scipy.stats import binom

from dpaudit.bounds.sequential import log_wealth
from dpaudit.bounds.stopping_rule import StoppingRule
from dpaudit.runtime.check import BoolArray, FloatArray

NOISE_LEFT = (0.9, 0.8, 0.7, 0.5)  # share of the claimed noise, with a noise multiplier of 1 claimed
NULL = float(ndtr(0.5))
DENSE = (0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5)
Wealth = Callable[[FloatArray, float], FloatArray]  # right guesses so far, trials -> logarithm of the wealth
Stops = Callable[[FloatArray, int], BoolArray]  # right guesses so far, trials -> whether the test stops


def right(noise_left: float) -> float:
    return float(ndtr(0.5 / noise_left))


def evenly(correct: FloatArray, trials: float) -> FloatArray:
    """The integral over all rates above the null."""
    wrong = trials - correct
    with np.errstate(divide="ignore"):
        mass = np.log(betainc(wrong + 1, correct + 1, 1 - NULL))
    wealth: FloatArray = (
        betaln(correct + 1, wrong + 1) + mass - correct * math.log(NULL) - (wrong + 1) * math.log1p(-NULL)
    )
    return wealth


def knowing(rate: float) -> Wealth:
    return lambda v, n: v * math.log(rate / NULL) + (n - v) * math.log((1 - rate) / (1 - NULL))


def fixed(rate: float, level: float, every: int) -> int:
    """Trials of the best fixed test, a multiple of ``every``."""
    sizes = np.arange(every, 40_000, every)
    power = binom.sf(binom.isf(level, sizes, NULL), sizes, rate)
    return int(sizes[np.argmax(power >= 0.5)])


def rich(wealth: Wealth, level: float) -> Stops:
    """Stop when the wealth is one over the level."""
    return lambda right, trials: wealth(right, float(trials)) >= -math.log(level)


def known_length(most: int, level: float, every: int) -> Stops:
    """Stop as the test of known length does."""
    rule = StoppingRule(tuple(range(every, most + 1, every)), NULL, level)
    return lambda right, trials: right >= rule.least[trials // every - 1]


def median(stops: Stops, rate: float, every: int) -> int:
    """Median stopping time when one looks after ``every`` trials."""
    alive, first, trials, stopped = np.array([1.0]), 0, 0, 0.0
    step = binom.pmf(np.arange(every + 1), every, rate)
    while stopped < 0.5:
        alive, trials = np.convolve(alive, step), trials + every
        over = stops(first + np.arange(alive.size, dtype=np.float64), trials)
        stopped += float(alive[over].sum())
        alive = alive[~over]  # more right guesses never stop later, so they are the last ones
        likely = np.flatnonzero(alive > 1e-15)
        alive, first = alive[likely[0] : likely[-1] + 1], first + int(likely[0])
    return trials


def least_level(rates: FloatArray, horizons: list[int], weights: FloatArray, every: int) -> float:
    """The dual at these weights: no test with power 1/2 within the horizons has a smaller false-alarm rate."""
    gain, loss = np.log(rates / NULL), np.log((1 - rates) / (1 - NULL))
    step, last = binom.pmf(np.arange(every + 1), every, NULL), max(horizons)
    value = np.zeros(last + 1)
    for n in range(last, -1, -every):
        right = np.arange(n + 1)
        stop = np.ones(n + 1)
        for a, b, horizon, weight in zip(gain, loss, horizons, weights, strict=True):
            if 0 < n <= horizon:
                stop -= weight * np.exp(np.minimum(right * a + (n - right) * b, 50.0))
        value = np.minimum(stop, np.correlate(value, step, "valid") if n < last else 0.0)
    return float(value[0] + weights.sum() / 2)


def ratios(level: float, every: int, lefts: tuple[float, ...]) -> None:
    sizes = [fixed(right(left), level, every) for left in lefts]
    rules: tuple[Callable[[float], Stops], ...] = (
        lambda rate: known_length(2 * max(sizes), level, every),
        lambda rate: rich(lambda v, n: log_wealth(v, n, NULL), level),
        lambda rate: rich(evenly, level),
        lambda rate: rich(knowing(rate), level),
    )
    print(f"\nlevel {level:g}, a look after {every} trials\n")
    print("| noise left | fixed test that knows it | known length | bets for ever | even bets | bets that know it |")
    print("|---" * 6 + "|")
    for left, size in zip(lefts, sizes, strict=True):
        found = [f"{median(rule(right(left)), right(left), every) / size:.2f}" for rule in rules]
        print(f"| {left:g} | {size:,} | {' | '.join(found)} |", flush=True)


def limit(level: float, every: int, lefts: tuple[float, ...]) -> None:
    """The smallest r, rounded down to a fiftieth."""
    rates = np.array([right(left) for left in lefts])
    sizes = [fixed(float(rate), level, every) for rate in rates]
    weights = np.full(rates.size, math.log(2 * level / rates.size))
    low, high = 1.0, 2.28
    while high - low > 0.021:
        r = (low + high) / 2
        horizons = [every * max(1, math.floor(r * size / every + 1e-9)) for size in sizes]
        dual = lambda x, h=horizons: -least_level(rates, h, np.exp(x), every)  # noqa: E731  # a line for the optimiser
        best = minimize(dual, weights, method="Nelder-Mead", options={"maxfev": 60 * rates.size, "fatol": 1e-3 * level})
        weights, low, high = best.x, *((r, high) if -best.fun > level else (low, r))
    print(f"| {level:g} | {every} | {', '.join(f'{left:g}' for left in lefts)} | {low:.2f} |", flush=True)


def limits(cells: list[tuple[float, int, tuple[float, ...]]]) -> None:
    print("\n| level | trials between looks | noise left | no test within less than so many times the fixed test |")
    print("|---" * 4 + "|")
    for cell in cells:
        limit(*cell)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="one alternative, to see that it runs")
    smoke = parser.parse_args().smoke
    if smoke:
        ratios(0.05, 32, NOISE_LEFT[-1:])
        limits([(0.05, 32, NOISE_LEFT[-1:])])
        return
    for level, every in ((0.05, 8), (0.05, 32), (1e-3, 32), (1e-6, 32)):
        ratios(level, every, NOISE_LEFT)
    limits([(0.05, 8, NOISE_LEFT), (0.05, 32, NOISE_LEFT), (0.05, 8, DENSE)])
    limits([(1e-3, 32, NOISE_LEFT), (1e-6, 32, NOISE_LEFT)])


if __name__ == "__main__":
    main()
