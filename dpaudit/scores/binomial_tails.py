"""How far observed counts lie from binomial ones: exact tails at a stated level, over many counts at once."""

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, rel_entr
from scipy.stats import binom

from dpaudit.runtime.check import FloatArray, IntArray

HALVINGS = 40  # thresholds are the quantiles 1/2, 1/4, ... of the expected counts, on both sides


@dataclass(frozen=True)
class CountSpread:
    """What is unlikely about counts that should be binomial.

    Args:
        above: smallest threshold that too many of them reach; None when none is.
        below: largest threshold that too many of them do not exceed; None when none is.
        even: whether too few of them lie away from the middle.
    """

    above: int | None
    below: int | None
    even: bool


def spread(
    counts: IntArray, trials: int, rate: float, level: float, *, independent: bool = True, most: int | None = None
) -> CountSpread:
    """Whether counts look like independent binomial ones.

    How many of them reach a threshold is binomial itself. It is tested on both sides at up to 80 thresholds fixed
    beforehand, each at its share of the level.

    Args:
        counts: shape (count,).
        trials: behind each count.
        rate: of each trial.
        level: chance that right counts are said to be anything else.
        independent: False where counts are only negatively associated, as those of records drawn without replacement;
            Chernoff's bound holds for them too (`Joag-Dev and Proschan 1983 <https://doi.org/10.1214/aos/1176346079>`_)
            and takes the place of the exact tail.
        most: at which counts were cut; the thresholds up to it see nothing of that.

    >>> spread(np.full(1000, 10), 200, 0.05, 1e-6)
    CountSpread(above=None, below=None, even=True)
    >>> spread(np.array([200] + [10, 8, 12, 9, 11, 7] * 20), 200, 0.05, 1e-6).above
    35
    """
    if rate >= 1:
        return CountSpread(None, None, False)
    halves = 0.5 ** np.arange(1, HALVINGS + 1)
    highs = np.unique(binom.isf(halves, trials, rate).astype(np.int64)) + 1
    lows = np.unique(binom.ppf(halves, trials, rate).astype(np.int64)) - 1
    most = trials if most is None else min(most, trials)
    highs, lows = highs[highs <= most], lows[(lows >= 0) & (lows < most)]
    each = level / max(1, 2 * (highs.size + lows.size))
    expected_high, expected_low = binom.sf(highs - 1, trials, rate), binom.cdf(lows, trials, rate)
    reach = np.array([(counts >= threshold).sum() for threshold in highs])
    stay = np.array([(counts <= threshold).sum() for threshold in lows])
    tail = _exact if independent else _chernoff
    above = highs[tail(reach, counts.size, expected_high, upper=True) < each]
    below = lows[tail(stay, counts.size, expected_low, upper=True) < each]
    few_high = tail(reach, counts.size, expected_high, upper=False) < each
    few_low = tail(stay, counts.size, expected_low, upper=False) < each
    return CountSpread(
        int(above.min()) if above.size else None,
        int(below.max()) if below.size else None,
        bool(few_high.any() or few_low.any()),
    )


def _exact(seen: IntArray, size: int, rates: FloatArray, *, upper: bool) -> FloatArray:
    found = binom.sf(seen - 1, size, rates) if upper else binom.cdf(seen, size, rates)
    return np.asarray(found, np.float64)


def _chernoff(seen: IntArray, size: int, rates: FloatArray, *, upper: bool) -> FloatArray:
    """exp(-n KL(seen/n, rate)) on its side of the mean, 1 on the other."""
    share = seen / size
    bound = np.exp(-size * (rel_entr(share, rates) + rel_entr(1 - share, 1 - rates)))
    return np.where(share > rates if upper else share < rates, bound, 1.0)


def too_large(counts: IntArray, trials: int, rate: float, level: float) -> bool:
    """Whether the largest of several binomial counts is too large, however they depend on each other.

    >>> too_large(np.array([60, 10]), 100, 0.1, 1e-6), too_large(np.array([20, 10]), 100, 0.1, 1e-6)
    (True, False)
    """
    return bool(binom.sf(int(counts.max()) - 1, trials, rate) * counts.size < level)


def tied_at_most(counts: IntArray, trials: int, rate: float) -> float:
    """Probability that as many of several independent binomial counts share the largest value, whatever it is.

    >>> round(tied_at_most(np.array([1, 1]), 1, 0.5), 3)  # (0, 0) and (1, 1) of four
    0.5
    """
    tied = int((counts == counts.max()).sum())
    values = np.arange(trials + 1)
    below = binom.cdf(values, trials, rate)
    values, below = values[below > 0], below[below > 0]
    share = np.minimum(binom.pmf(values, trials, rate) / below, 1.0)
    return float((below**counts.size * binom.sf(tied - 1, counts.size, share)).sum())


def found_with(counts: int, trials: int, rate: float, level: float, *, power: float = 0.8) -> float:
    """Rate of a single count, among so many at ``rate``, that `too_large` finds with probability ``power``.

    >>> round(found_with(1000, 200, 0.05, 1e-6), 3)
    0.191
    """
    needed = int(binom.isf(level / counts, trials, rate)) + 1
    return 1.0 if needed >= trials else float(betaincinv(needed, trials - needed + 1, power))
