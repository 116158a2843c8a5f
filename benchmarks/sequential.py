"""How long a sequential test takes beside the best test of a fixed number of trials that knows the alternative.

    python benchmarks/sequential.py            the tables, about a minute
    python benchmarks/sequential.py --smoke    one alternative, to see that it runs

A trial is right at the rate p₀ under the claim and p₁ under the alternative. The best fixed test is the smallest number
of trials whose exact binomial test has power 1/2. The ratio is the median stopping time over that number, both exact,
for the betting test of `dpaudit.bounds.sequential`, for bets spread evenly over all rates above p₀, and for a bet that
knows the alternative.

The second table is the limit of every test, whatever its rule. Suppose a test stops under each of several alternatives
within r times its fixed number with probability 1/2. For any weights λ the false-alarm rate is then at least the value
of an optimal stopping problem (the Lagrangian dual), which is computed exactly; the best weights are searched for.
"""

import argparse
import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize
from scipy.special import betainc, betaln, ndtr
from scipy.stats import binom

from dpaudit.bounds.sequential import log_wealth
from dpaudit.runtime.check import FloatArray

NOISE_LEFT = (0.9, 0.8, 0.7, 0.5)  # share of the claimed noise, with a noise multiplier of 1 claimed
NULL = float(ndtr(0.5))
Wealth = Callable[[FloatArray, float], FloatArray]  # right guesses so far, trials -> logarithm of the wealth


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


def median(wealth: Wealth, rate: float, level: float, every: int) -> int:
    """Median stopping time when one looks after ``every`` trials."""
    alive, first, trials, stopped, goal = np.array([1.0]), 0, 0, 0.0, -math.log(level)
    step = binom.pmf(np.arange(every + 1), every, rate)
    while stopped < 0.5:
        alive, trials = np.convolve(alive, step), trials + every
        rich = wealth(first + np.arange(alive.size, dtype=np.float64), float(trials)) >= goal
        stopped += float(alive[rich].sum())
        alive = alive[~rich]  # the wealth grows with the right guesses, so the rich are the last ones
        likely = np.flatnonzero(alive > 1e-15)
        alive, first = alive[likely[0] : likely[-1] + 1], first + int(likely[0])
    return trials


def least_level(rates: FloatArray, horizons: list[int], weights: FloatArray) -> float:
    """The dual at these weights: no test with power 1/2 within the horizons has a smaller false-alarm rate."""
    gain, loss = np.log(rates / NULL), np.log((1 - rates) / (1 - NULL))
    value = np.zeros(max(horizons) + 2)
    for n in range(max(horizons), -1, -1):
        v = np.arange(n + 1)
        stop = np.ones(n + 1)
        for a, b, horizon, weight in zip(gain, loss, horizons, weights, strict=True):
            if n <= horizon:
                stop -= weight * np.exp(v * a + (n - v) * b)
        go_on = NULL * value[1 : n + 2] + (1 - NULL) * value[: n + 1]
        value = np.minimum(stop, go_on if n < max(horizons) else 0)
    return float(value[0] + weights.sum() / 2)


def ratios(level: float, every: int, lefts: tuple[float, ...]) -> None:
    print(f"\nlevel {level:g}, a look after {every} trials\n")
    print("| noise left | fixed test that knows it | our bets | even bets | bets that know it |\n|---|---|---|---|---|")
    for left in lefts:
        rate = right(left)
        size = fixed(rate, level, every)
        ways: tuple[Wealth, ...] = (lambda v, n: log_wealth(v, n, NULL), evenly, knowing(rate))
        found = [f"{median(way, rate, level, every) / size:.2f}" for way in ways]
        print(f"| {left:g} | {size:,} | {' | '.join(found)} |", flush=True)


def limits(level: float, lefts: tuple[float, ...]) -> None:
    rates = np.array([right(left) for left in lefts])
    sizes = [fixed(float(rate), level, 1) for rate in rates]
    print(f"\nAlternatives of {', '.join(f'{left:g}' for left in lefts)} of the noise, level {level:g}\n")
    print("| within r times the fixed test | false alarms of any test, at least |\n|---|---|")
    for r in (1.0, 1.2, 1.3, 1.4, 1.5):
        horizons = [math.floor(r * size) for size in sizes]
        start = np.full(rates.size, math.log(2 * level / rates.size))
        dual = lambda x, h=horizons: -least_level(rates, h, np.exp(x))  # noqa: E731  # one line for the optimiser
        best = minimize(dual, start, method="Nelder-Mead", options={"maxfev": 150, "fatol": 1e-3 * level})
        print(f"| {r:g} | {-best.fun:.4f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="one alternative, to see that it runs")
    smoke = parser.parse_args().smoke
    ratios(0.05, 1, NOISE_LEFT[-1:] if smoke else NOISE_LEFT)
    ratios(0.05, 32, NOISE_LEFT[-1:] if smoke else NOISE_LEFT)
    if not smoke:
        ratios(1e-6, 32, NOISE_LEFT)
    limits(0.05, NOISE_LEFT[-1:] if smoke else NOISE_LEFT[1:])


if __name__ == "__main__":
    main()
