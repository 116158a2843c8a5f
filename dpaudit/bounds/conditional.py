"""Conditional exact binomial bound for independent fair-coin trials, abstentions allowed; any mechanism.

A rule fixed beforehand guesses "in", "out" or nothing. Over the fair coin, P[right] ≤ e^ε P[wrong] + δ, so among the
trials it guesses it is right at a rate of at most (e^ε + δ / g) / (1 + e^ε), with g the probability that it guesses.
At δ = 0 that is a plain binomial; otherwise a tenth of the level pays for a lower bound on g.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from dpaudit.accounting.claim import Adjacency, Unit
from dpaudit.bounds.certified import BoundTerms, certified
from dpaudit.bounds.choosing import Fixed, HeldOut, SeveralSplits, Union
from dpaudit.bounds.fair_coins import FAIR, fair_part
from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.bounds.trial_counts import Chosen, Guesses, held_out_cuts, rule_of
from dpaudit.data.member_choice import MemberChoice
from dpaudit.runtime import check
from dpaudit.scores.intervals import lower_limit
from dpaudit.scores.scores import Scores, Sides

ASSUMPTIONS = (
    "each trial is a training (or a step) of its own",
    "the thresholds were chosen without the trials they are judged on",
)
SHARE_FOR_RATE = 0.1  # of the level; the guessing rate needs little


@dataclass(frozen=True)
class Conditional:
    """Conditional exact binomial bound over independent fair-coin trials; holds for any mechanism.

    A fixed threshold guesses every trial; a held-out choice may abstain between two thresholds.

    Args:
        selection: how the thresholds are chosen.
        chosen: how the trials with the record were chosen, as in `Accuracy`.
        seed: of the part with fair coins.

    >>> import numpy as np
    >>> scores = Scores(np.full(500, 1.0), np.full(500, -1.0))
    >>> bound = Conditional(Fixed(0.0))
    >>> round(bound(scores, delta=0.0, confidence=0.95, adjacency="add-remove", unit="record").epsilon, 3)
    5.809
    """

    designs: ClassVar = ("many-runs",)
    selection: Fixed | Union | HeldOut | SeveralSplits
    chosen: MemberChoice = FAIR
    seed: int = 0

    def __call__(
        self, scores: Scores, *, delta: float, confidence: float, adjacency: Adjacency, unit: Unit
    ) -> LowerBound:
        """Lower bound on ε from scores of independent fair-coin trials."""
        asked = BoundTerms(delta, confidence, adjacency, unit)
        part = fair_part(scores, self.chosen, seed=self.seed, level=asked.level, independent=True)
        chosen = self._choose(part.scores, delta, part.level)

        procedure = self.selection.procedure
        return certified("conditional", asked, chosen, conditional, ASSUMPTIONS, procedure, part=part, perfect=_ceiling)

    def _choose(self, scores: Sides, delta: float, level: float) -> Chosen[Guesses]:
        match self.selection:
            case Fixed(threshold):
                return Chosen((guess_outside(scores, threshold, threshold),))
            case Union(thresholds):
                return Chosen(tuple(guess_outside(scores, cut, cut) for cut in thresholds), "union")
            case HeldOut() | SeveralSplits():
                cuts = held_out_cuts(scores, self.selection, lambda guesses: conditional(guesses, delta, level))
                pieces = tuple(guess_outside(judging, low, high) for judging, low, high in cuts)
                return Chosen(pieces, rule_of(self.selection))


def _ceiling(guesses: Guesses, delta: float, level: float) -> float:
    every, made = guesses.canaries, guesses.made
    return max(conditional(Guesses(every, right, right), delta, level) for right in (every, made))


def guess_outside(scores: Sides, low: float, high: float) -> Guesses:
    """Guess "member" above ``high``, "non-member" at or below ``low``, nothing between.

    >>> guess_outside(Scores([2.0, 0.5], [-1.0, 0.4]), 0.0, 1.0)
    Guesses(canaries=4, made=2, correct=2)
    """
    hits, misses = int((scores.member > high).sum()), int((scores.member <= low).sum())
    alarms, rejections = int((scores.nonmember > high).sum()), int((scores.nonmember <= low).sum())
    return Guesses(len(scores), hits + misses + alarms + rejections, hits + rejections)


@lru_cache(maxsize=65536)  # few outcomes of a fixed threshold are different
def conditional(guesses: Guesses, delta: float, level: float) -> float:
    """Lower bound on ε at ``level`` from the guesses of independent fair-coin trials.

    >>> round(conditional(Guesses(1000, 1000, 800), 0.0, 0.05), 5)
    1.25433
    """
    slack, alpha = check.delta("delta", delta), check.open_unit("level", level)
    if guesses.correct == 0:
        return 0.0
    every = guesses.made == guesses.canaries
    guessing = 1.0 if every or slack == 0 else lower_limit(guesses.made, guesses.canaries, SHARE_FOR_RATE * alpha)
    left = alpha if every or slack == 0 else (1 - SHARE_FOR_RATE) * alpha
    rate = lower_limit(guesses.correct, guesses.made, left)
    return math.log(max(1.0, (rate - slack / guessing) / (1 - rate)))
