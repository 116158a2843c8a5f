"""A test whose largest number of trials is known beforehand, and which may stop at any of its looks.

The bets of `dpaudit.bounds.sequential` hold for ever, and pay for it: a gambler who must stop at a known time is rich
less often. Here the test refutes a rate of right guesses when its bets reach the smallest goal at which the probability
of ever reaching it at one of the looks is at most the level, computed exactly.

Where the test stops, the rate is bounded by the order of stages (`Fairbanks and Madsen (1982)
<https://doi.org/10.1093/biomet/69.1.69>`_): an earlier refutation is more extreme than a later one, and at the same
look more right guesses are more extreme than fewer. The limit is the rate under which outcomes as extreme have
probability equal to the level. It lies above the refuted rate wherever the test refutes it. More right guesses never
make an outcome less extreme, so both hold too when the rate varies with the past and is at most the one stated.

How long it takes, beside the best test of a fixed number of trials and beside what any test could do:
`benchmarks/sequential.py`.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln, xlog1py, xlogy

from dpaudit.accounting.claim import Adjacency, Unit
from dpaudit.bounds.accuracy import INDEPENDENCE
from dpaudit.bounds.certified import BoundTerms, certified
from dpaudit.bounds.hypothesis import Definition, Gaussian, MechanismFamily, accuracy, strongest_refuted
from dpaudit.bounds.lower_bound import LowerBound, Procedure
from dpaudit.bounds.sequential import log_wealth
from dpaudit.bounds.trial_counts import Chosen, Counts, count_outcomes
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.scores import Scores

MOST_LOOKS = 400  # more looks stop no sooner by more than a four-hundredth of the trials
NEGLIGIBLE = 1e-18  # probability of a number of right guesses that is followed no further; it counts as a refutation
GOAL_ERROR = 5e-3  # of the logarithm of the goal, which is rounded up
SPENT = 0.99  # of the level, so that the limit of a late refutation lies above the refuted rate by more than rounding


@dataclass(frozen=True)
class StoppingRule:
    """When a test stops because it refutes "right guesses come at a rate of at most ``null_accuracy``".

    Args:
        looks: trials at each look, growing; the last is the largest number there is.
        null_accuracy: p₀ in [1/2, 1); None where nothing is refuted and every trial is used.
        level: probability, at most, of refuting p₀ although it holds.

    >>> rule = StoppingRule((32, 64, 96), 0.7, 0.05)
    >>> rule.least
    (28, 53, 77)
    >>> rule.refutes(28, 32), rule.refutes(27, 32)
    (True, False)
    >>> round(rule.lower_rate(28, 32), 3)
    0.736
    """

    looks: tuple[int, ...]
    null_accuracy: float | None
    level: float

    def __post_init__(self) -> None:
        if not self.looks or any(np.diff((0, *self.looks)) < 1):
            raise InputError(f"looks must be numbers of trials that grow, got {self.looks!r}.")
        check.open_unit("level", self.level)
        if self.null_accuracy is not None and not 0.5 <= self.null_accuracy < 1:
            raise InputError(f"null_accuracy must be in [0.5, 1), got {self.null_accuracy!r}.")

    @classmethod
    def every(cls, trials: int, most: int, null_accuracy: float | None, level: float) -> "StoppingRule":
        """A look after so many trials, up to ``most`` trials, and fewer looks where they would be more than 400.

        >>> StoppingRule.every(32, 80, 0.7, 0.05).looks
        (32, 64, 80)
        """
        apart = trials * math.ceil(most / trials / MOST_LOOKS)
        return cls((*range(apart, most, apart), most), null_accuracy, level)

    @cached_property
    def least(self) -> tuple[int, ...]:
        """Fewest right guesses that refute p₀ at each look; one more than all where none do."""
        if self.null_accuracy is None:
            return tuple(look + 1 for look in self.looks)
        return _least(self.looks, self.null_accuracy, self.level)

    def refutes(self, correct: int, trials: int) -> bool:
        """Whether so many right guesses refute p₀; between two looks nothing does."""
        return trials in self.looks and correct >= self.least[self.looks.index(trials)]

    def p_value(self, correct: int, trials: int, rate: float) -> float:
        """Probability, at this rate of right guesses, of an outcome as extreme as the one the test stopped at."""
        look = self._look(trials)
        reached, (first, alive) = _followed(self.looks[: look + 1], self.least[:look], rate)
        return min(1.0, reached + float(alive[max(0, correct - first) :].sum()))

    def lower_rate(self, correct: int, trials: int) -> float:
        """Lower limit at the level of the rate of right guesses; 0 when none of them was right."""
        check.integer("correct guesses", correct, at_least=0, at_most=trials)
        self._look(trials)
        return _lower_rate(self, correct, trials)

    def largest_rate(self, trials: int) -> float:
        """`lower_rate` of an attack without an error that had so many trials: it stops at the first look it can."""
        able = [look for look, least in zip(self.looks, self.least, strict=True) if least <= look <= trials]
        first = able[0] if able else trials
        return self.lower_rate(first, first)

    def _look(self, trials: int) -> int:
        if trials not in self.looks:
            raise InputError(f"the test looks after {self.looks} trials, and not after {trials}.")
        return self.looks.index(trials)


@dataclass(frozen=True)
class StoppedAccuracy:
    """Accuracy bound over independent fair-coin trials that a `StoppingRule` ended.

    Args:
        threshold: fixed before the trials.
        rule: that ended them, at the level that the bound is asked for.
        null: the curves to refute.

    >>> scores = Scores(np.full(18, 1.0), np.full(14, -1.0))
    >>> bound = StoppedAccuracy(0.0, StoppingRule((32, 64, 96), 0.7, 0.05))
    >>> found = bound(scores, delta=1e-5, confidence=0.95, adjacency="add-remove", unit="record")
    >>> round(found.epsilon, 2), found.procedure.kind
    (2.32, 'sequential')
    """

    threshold: float
    rule: StoppingRule
    null: Definition | Gaussian | MechanismFamily = field(default_factory=Definition)

    def __call__(
        self, scores: Scores, *, delta: float, confidence: float, adjacency: Adjacency, unit: Unit
    ) -> LowerBound:
        """Lower bound on ε from all trials up to the stop.

        Raises:
            InputError: another confidence than the rule's, or a number of trials at which it does not look.
        """
        asked = BoundTerms(delta, confidence, adjacency, unit)
        if not math.isclose(asked.level, self.rule.level):
            raise InputError(f"the trials were stopped at level {self.rule.level:g}, not {asked.level:g}.")

        def at(rate: float, delta: float) -> float:
            if rate <= 0.5:
                return 0.0
            return strongest_refuted(
                lambda strength: rate - accuracy(self.null.curve(strength, delta)), self.null, delta
            )

        def value(counts: Counts, delta: float, level: float) -> float:
            return at(self.rule.lower_rate(counts.correct, counts.trials), delta)

        def perfect(counts: Counts, delta: float, level: float) -> float:
            return at(self.rule.largest_rate(counts.trials), delta)

        return certified(
            "stopped-accuracy",
            asked,
            Chosen((count_outcomes(scores, self.threshold),)),
            value,
            (INDEPENDENCE["runs"], "the threshold and the number of trials at each look were fixed beforehand"),
            Procedure("sequential", (self.threshold,)),
            perfect=perfect,
            family=self.null.family,
        )


@lru_cache(maxsize=65536)  # few outcomes are different
def _lower_rate(rule: StoppingRule, correct: int, trials: int) -> float:
    low, high = 1e-9, 1 - 1e-9
    if rule.p_value(correct, trials, low) >= rule.level:
        return 0.0
    if rule.p_value(correct, trials, high) <= rule.level:
        return high
    found = brentq(lambda rate: rule.p_value(correct, trials, rate) - rule.level, low, high, xtol=1e-10)
    return float(found) - 2e-10


@lru_cache(maxsize=256)
def _least(looks: tuple[int, ...], null_accuracy: float, level: float) -> tuple[int, ...]:
    """The boundary of the smallest goal that is reached with a probability of at most ``level``."""
    low, high = -math.log(level) / 4, -math.log(level)  # the higher one holds for ever, by Ville's inequality
    while high - low > GOAL_ERROR:
        middle = (low + high) / 2
        reached, _ = _followed(looks, _boundary(looks, null_accuracy, middle), null_accuracy, level)
        low, high = (low, middle) if reached <= SPENT * level else (middle, high)
    return _boundary(looks, null_accuracy, high)


def _boundary(looks: tuple[int, ...], null_accuracy: float, goal: float) -> tuple[int, ...]:
    """Fewest right guesses at each look whose bets reach e^goal."""
    trials = np.array(looks)
    low, high = np.zeros_like(trials) - 1, trials + 1
    while (high - low > 1).any():
        middle = (low + high) // 2
        rich = log_wealth(middle.astype(np.float64), trials.astype(np.float64), null_accuracy) >= goal
        rich |= middle > trials
        low, high = np.where(rich, low, middle), np.where(rich, middle, high)
    return tuple(high.tolist())


def _followed(
    looks: tuple[int, ...], least: tuple[int, ...], rate: float, enough: float = 1.0
) -> tuple[float, tuple[int, FloatArray]]:
    """Probability of reaching a boundary at its looks, and right guesses at the last look of those that did not.

    Args:
        looks: one more than ``least`` has, where the right guesses at the last are wanted whole.
        least: right guesses that reach the boundary at each look.
        rate: of right guesses.
        enough: probability beyond which nobody asks.
    """
    reached, first, alive = 0.0, 0, np.ones(1)
    for place, (before, look) in enumerate(zip((0, *looks), looks, strict=False)):
        alive = np.convolve(alive, _binomial(look - before, rate))
        if place < len(least):
            stay = max(0, least[place] - first)
            reached += float(alive[stay:].sum())
            alive = alive[:stay]
        likely = np.flatnonzero(alive > NEGLIGIBLE)
        if not likely.size or reached > enough:
            return min(1.0, reached + float(alive.sum())), (first, np.zeros(0))
        start, stop = int(likely[0]), int(likely[-1]) + 1
        if place < len(looks) - 1:
            reached += float(alive[:start].sum() + alive[stop:].sum())
            alive, first = alive[start:stop], first + start
    return reached, (first, alive)


@lru_cache(maxsize=64)
def _binomial(trials: int, rate: float) -> FloatArray:
    """Probabilities of every number of right guesses."""
    right = np.arange(trials + 1.0)
    ways = gammaln(trials + 1) - gammaln(right + 1) - gammaln(trials - right + 1)
    law: FloatArray = np.exp(ways + xlogy(right, rate) + xlog1py(trials - right, -rate))
    return law
