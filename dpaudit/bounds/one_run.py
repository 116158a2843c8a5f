"""Lower bound from one training with many canaries, each in or out by its own fair coin.

`Steinke, Nasr and Jagielski (2023) <https://arxiv.org/abs/2305.08846>`_, theorem 3.1 and corollary: with ``made``
guesses of which ``correct`` are right among m canaries, and X ~ Binomial(made, e^ε / (1 + e^ε)),

    p(ε) = P[X ≥ correct] + 2 m δ max_i P[correct - i ≤ X < correct] / i.

The bound is where p first exceeds the level. It needs no independence between the canaries' scores.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

from scipy.special import betainc, betaincinv

from dpaudit.accounting.claim import Adjacency, Unit
from dpaudit.bounds.certified import BoundTerms, certified
from dpaudit.bounds.choosing import GuessSelection, HeldOut, SeveralSplits
from dpaudit.bounds.fair_coins import FAIR, fair_part
from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.bounds.trial_counts import Guesses, guess_counts
from dpaudit.data.member_choice import MemberChoice
from dpaudit.runtime import check
from dpaudit.scores.scores import Scores

CHOICE = "the number of guesses was chosen without the canaries it is judged on"


@dataclass(frozen=True)
class OneRun:
    """One-run bound of Steinke, Nasr and Jagielski (2023); holds for any mechanism.

    Args:
        selection: how the number of guesses is chosen.
        chosen: how members were chosen; of other than fair coins a part with fair coins is judged (`fair_part`). For a
            random split the bound is about replacing one record, whatever adjacency it is asked for.
        seed: of that part.

    >>> import numpy as np
    >>> from dpaudit.bounds.choosing import FixedGuesses
    >>> scores = Scores(np.linspace(1, 2, 500), np.linspace(-2, -1, 500))
    >>> bound = OneRun(FixedGuesses(500, 500, seed=0))
    >>> round(bound(scores, delta=1e-5, confidence=0.95, adjacency="add-remove", unit="record").epsilon, 4)
    5.7823
    """

    designs: ClassVar = ("one-run",)
    selection: GuessSelection
    chosen: MemberChoice = FAIR
    seed: int = 0

    def __call__(
        self, scores: Scores, *, delta: float, confidence: float, adjacency: Adjacency, unit: Unit
    ) -> LowerBound:
        """Lower bound on ε from the canaries' scores of one run."""
        asked = BoundTerms(delta, confidence, adjacency, unit)
        part = fair_part(scores, self.chosen, seed=self.seed, level=asked.level)
        chosen = guess_counts(part.scores, self.selection, lambda guesses: one_run(guesses, delta, part.level))
        perfect = one_run_ceiling if isinstance(self.selection, HeldOut | SeveralSplits) else None
        procedure = replace(self.selection.procedure, split=part.replaces)
        if isinstance(self.selection, HeldOut):  # by coins: of a few canaries they may hold out many more than planned
            procedure = replace(procedure, figures=(1 - chosen.trials / len(part.scores),))
        return certified(
            "one-run", asked, chosen, one_run, (CHOICE,), procedure, part=part, perfect=perfect, without_delta=True
        )


@lru_cache(maxsize=65536)  # a selection and a ceiling ask for the same counts again
def one_run(guesses: Guesses, delta: float, level: float, accuracy: float = 1e-12) -> float:
    """Lower bound on ε at ``level`` from counts, to this accuracy.

    >>> round(one_run(Guesses(canaries=1000, made=100, correct=95), 1e-5, 0.05), 5)
    2.16518
    """
    from scipy.optimize import brentq

    slack, alpha = check.delta("delta", delta), check.open_unit("level", level)
    if guesses.correct == 0 or one_run_p_value(guesses, 0.0, slack) > alpha:
        return 0.0
    # Without δ the law is binomial and inverts in closed form; with δ the bound is below that.
    rate = float(betaincinv(guesses.correct, guesses.made - guesses.correct + 1, alpha))
    high = math.log(rate) - math.log1p(-rate)
    if slack == 0 or one_run_p_value(guesses, high, slack) <= alpha:
        return max(0.0, high)
    return float(brentq(lambda e: one_run_p_value(guesses, e, slack) - alpha, 0.0, high, xtol=accuracy, rtol=1e-14))


def one_run_p_value(guesses: Guesses, epsilon: float, delta: float) -> float:
    """How surprising the right guesses are for an (ε, δ)-private mechanism.

    >>> round(one_run_p_value(Guesses(1000, 100, 95), 1.0, 1e-5), 8)
    0.00066391
    """
    made, correct = guesses.made, guesses.correct
    if correct == 0:
        return 1.0
    rate = 1 / (1 + math.exp(-epsilon))
    tail = _at_least(correct, made, rate)
    if delta == 0:
        return tail
    return min(1.0, tail + 2 * guesses.canaries * delta * _heaviest_window(correct, made, rate))


def one_run_ceiling(guesses: Guesses, delta: float, level: float) -> float:
    """What a perfect attack on as many canaries could certify, where it may choose how many it guesses."""
    return perfect_one_run(guesses.canaries, max(guesses.made, 1), delta, level)


@lru_cache(maxsize=65536)  # it depends on how many canaries there are, not on what was guessed right
def perfect_one_run(canaries: int, made: int, delta: float, level: float) -> float:
    """The most that right guesses on ``canaries`` could certify, ``made`` among the numbers of guesses tried."""
    numbers = {made, *(max(1, canaries >> halving) for halving in range(12))}
    return max(one_run(Guesses(canaries, number, number), delta, level) for number in numbers)


def _at_least(correct: int, made: int, rate: float) -> float:
    return 1.0 if correct <= 0 else 0.0 if correct > made else float(betainc(correct, made - correct + 1, rate))


def _heaviest_window(correct: int, made: int, rate: float) -> float:
    """max over i of P[correct - i ≤ X < correct] / i: the largest mean of the probabilities just below ``correct``.

    Going down from ``correct`` the probabilities rise to the mode and then fall, so the mean rises until the next
    probability is below it: a bisection, not a walk over all i.
    """
    if rate == 1.0:  # all of the mass is at ``made``
        return 0.0
    above = _at_least(correct, made, rate)
    log_odds, log_none = math.log(rate) - math.log1p(-rate), made * math.log1p(-rate) + math.lgamma(made + 1)

    def mean(i: int) -> float:
        return (_at_least(correct - i, made, rate) - above) / i

    def next_one(i: int) -> float:
        """P[X = correct - i - 1], to the accuracy that a choice of i needs."""
        value = correct - i - 1
        return math.exp(value * log_odds + log_none - math.lgamma(value + 1) - math.lgamma(made - value + 1))

    mode = min(made, math.floor((made + 1) * rate))
    low, high = max(1, correct - mode), correct
    while low < high:
        middle = (low + high) // 2
        if next_one(middle) > mean(middle):
            low = middle + 1
        else:
            high = middle
    return mean(low)
