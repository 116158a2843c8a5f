"""Lower bound from one training with many canaries, against any trade-off curve.

`Mahloujifar, Melis and Chaudhuri (2024) <https://arxiv.org/abs/2410.22235>`_: if a mechanism obeys the curve f, the
probability of many right guesses obeys a recursion. With ``made`` guesses g, ``correct`` c, canaries m and level α it
starts from r = α c / m and h = α (g - c) / m; for i = c - 1 ... 0

    h' = max(h, φ(r)),   r += i / (g - i) (h' - h),   h = h',

with φ the inverse of the curve (FPR at a given TPR); f is refuted when r + h exceeds g / m. The canaries need not leak
independently of each other.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import ClassVar

from dpaudit.accounting.claim import Adjacency, Unit
from dpaudit.bounds.certified import BoundTerms, certified
from dpaudit.bounds.choosing import GuessSelection
from dpaudit.bounds.fair_coins import FAIR, fair_part
from dpaudit.bounds.hypothesis import Curve, Definition, Gaussian, MechanismFamily, strongest_refuted
from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.bounds.one_run import CHOICE
from dpaudit.bounds.trial_counts import Guesses, guess_counts
from dpaudit.data.member_choice import MemberChoice
from dpaudit.runtime import check
from dpaudit.scores.scores import Scores

CHECK_EVERY = 32  # steps of the recursion between two looks at whether what is left can still matter
SEARCH = 1e-7  # relative precision of the strength


@dataclass(frozen=True)
class OneRunTradeOff:
    """One-run bound of Mahloujifar, Melis and Chaudhuri (2024), against any trade-off curve.

    Args:
        selection: how the number of guesses is chosen.
        null: the curves to refute; ``Definition()`` assumes no family.
        chosen: how members were chosen, as in `OneRun`.
        seed: of the part with fair coins.

    >>> import numpy as np
    >>> from dpaudit.bounds.choosing import FixedGuesses
    >>> scores = Scores(np.linspace(1, 2, 500), np.linspace(-2, -1, 500))
    >>> bound = OneRunTradeOff(FixedGuesses(500, 500, seed=0))
    >>> round(bound(scores, delta=1e-5, confidence=0.95, adjacency="add-remove", unit="record").epsilon, 3)
    12.335
    """

    designs: ClassVar = ("one-run",)
    selection: GuessSelection
    null: Definition | Gaussian | MechanismFamily = field(default_factory=Gaussian)
    chosen: MemberChoice = FAIR
    seed: int = 0

    def __call__(
        self, scores: Scores, *, delta: float, confidence: float, adjacency: Adjacency, unit: Unit
    ) -> LowerBound:
        """Lower bound on ε from the canaries' scores of one run."""
        asked = BoundTerms(delta, confidence, adjacency, unit)

        # The family does not change which number of guesses is best by much; the Gaussian one is fast.
        part = fair_part(scores, self.chosen, seed=self.seed, level=asked.level)
        chosen = guess_counts(
            part.scores,
            self.selection,
            lambda guesses: one_run_trade_off(guesses, 1e-5, part.level, null=Gaussian(), search=1e-3),
        )

        def perfect(guesses: Guesses, delta: float, level: float) -> float:
            every = guesses.canaries
            numbers = sorted({max(1, guesses.made), every})
            return max(one_run_trade_off(Guesses(every, n, n), delta, level, null=self.null) for n in numbers)

        value, family = partial(one_run_trade_off, null=self.null), self.null.family
        procedure = replace(self.selection.procedure, split=part.replaces)
        return certified(
            "one-run-trade-off", asked, chosen, value, (CHOICE,), procedure, part=part, perfect=perfect, family=family
        )


@lru_cache(maxsize=65536)  # a selection and a ceiling ask for the same counts again
def one_run_trade_off(
    guesses: Guesses,
    delta: float,
    level: float,
    *,
    null: Definition | Gaussian | MechanismFamily,
    search: float = SEARCH,
) -> float:
    """Lower bound on ε at ``level`` from counts, within the family of ``null``.

    >>> round(one_run_trade_off(Guesses(1000, 100, 95), 1e-5, 0.05, null=Gaussian()), 4)
    3.3233
    """
    slack, alpha = check.delta("delta", delta), check.open_unit("level", level)
    if guesses.correct == 0:
        return 0.0
    return strongest_refuted(
        lambda strength: 1.0 if guesses_refute(guesses, null.symmetric(strength, slack), alpha) else -1.0,
        null,
        slack,
        tolerance=search,
    )


def guesses_refute(guesses: Guesses, curve: Curve, level: float) -> bool:
    """Whether the guesses contradict a trade-off curve that holds in both directions.

    >>> from dpaudit.bounds.hypothesis import GaussianCurve
    >>> guesses_refute(Guesses(1000, 100, 95), GaussianCurve(0.5), 0.05)
    True
    """
    m, g, c = guesses.canaries, guesses.made, guesses.correct
    if c == 0:
        return False
    inverse = curve.fpr_at
    limit = g / m
    r, h = level * c / m, level * (g - c) / m
    for i in range(c - 1, -1, -1):
        gain = inverse(r) - h
        if gain <= 0:
            return False  # r stays, so the inverse stays below h: the recursion has stopped
        h += gain
        step = i / (g - i) * gain
        r += step
        if r + h > limit:
            return True
        if i % CHECK_EVERY == 0 and _nothing_left(inverse, r, h, step, i / (g - i), limit):
            return False
    return False


def _nothing_left(
    inverse: Callable[[float], float], r: float, h: float, step: float, ratio: float, limit: float
) -> bool:
    """Whether the rest of the recursion cannot reach the limit.

    The inverse is convex, so as long as r grows by less than ``room`` its slope stays below the chord beyond; the steps
    then shrink at least geometrically, and their sum is bounded.
    """
    room = (limit - r - h) / 4
    slope = (inverse(min(1.0, r + 2 * room)) - inverse(r + room)) / room
    shrink = ratio * slope
    if shrink >= 1:
        return False
    rest = step * shrink / (1 - shrink)
    return rest < room and rest + slope * (step + rest) < limit - r - h
