"""What a selection counts on scores: outcomes of thresholds, right guesses, and how a bound pays for the choice."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, Literal, TypeVar

import numpy as np
from scipy.special import betaincinv

from dpaudit.bounds.choosing import (
    Fixed,
    FixedGuesses,
    GuessSelection,
    HeldOut,
    SeveralSplits,
    ThresholdSelection,
    Union,
    UnionGuesses,
)
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.scores import Scores, Sides

CANDIDATES = 256  # thresholds tried on a held-out part; more change the chosen one by less than its own noise
ROUGH_LEVEL, FINALISTS = 0.05, 4  # of the first look at numbers of guesses
SHARES = tuple(float(share) for share in np.geomspace(0.01, 1.0, 13))
PAIRS = tuple(pair for share in SHARES for pair in ((share, share), (share, 0.0), (0.0, share)))  # top, bottom


@dataclass(frozen=True)
class Counts:
    """Outcomes of a threshold on independent trials; members are the positives.

    >>> Counts(90, 10, 5, 95).members
    100
    """

    true_positives: int
    false_negatives: int
    false_positives: int
    true_negatives: int

    def __post_init__(self) -> None:
        for name in ("true_positives", "false_negatives", "false_positives", "true_negatives"):
            check.integer(name, getattr(self, name), at_least=0)
        if self.members == 0 or self.nonmembers == 0:
            raise InputError(f"counts must hold members and non-members, got {self.members} and {self.nonmembers}.")

    @property
    def members(self) -> int:
        """Trials with the record."""
        return self.true_positives + self.false_negatives

    @property
    def nonmembers(self) -> int:
        """Trials without it."""
        return self.false_positives + self.true_negatives

    @property
    def trials(self) -> int:
        """All trials."""
        return self.members + self.nonmembers

    @property
    def correct(self) -> int:
        """Right guesses when every trial is guessed."""
        return self.true_positives + self.true_negatives

    @property
    def perfect(self) -> "Counts":
        """The same trials without an error."""
        return Counts(self.members, 0, 0, self.nonmembers)


@dataclass(frozen=True)
class Guesses:
    """Outcome of guessing: ``correct`` of ``made`` guesses were right, among ``canaries`` that could be guessed.

    >>> Guesses(canaries=1000, made=100, correct=95).made
    100
    """

    canaries: int
    made: int
    correct: int

    def __post_init__(self) -> None:
        check.integer("canaries", self.canaries, at_least=1)
        check.integer("guesses made", self.made, at_least=0, at_most=self.canaries)
        check.integer("correct guesses", self.correct, at_least=0, at_most=self.made)

    @property
    def trials(self) -> int:
        """All canaries, guessed or not."""
        return self.canaries

    @property
    def perfect(self) -> "Guesses":
        """As many guesses, all of them right."""
        return Guesses(self.canaries, self.made, self.made)


ThresholdRule = Literal["single", "union", "splits"]
Evidence = TypeVar("Evidence", Counts, Guesses)


@dataclass(frozen=True)
class Chosen(Generic[Evidence]):
    """Evidence after the choice was paid for: ``pieces`` share the level by ``rule``."""

    pieces: tuple[Evidence, ...]
    rule: ThresholdRule = "single"

    @property
    def trials(self) -> int:
        """Trials behind the judgement, not those spent on choosing."""
        return self.pieces[0].trials

    def bound(self, value: Callable[[Evidence, float], float], level: float) -> float:
        """Lower bound at ``level`` from ``value(evidence, level)``, which must not decrease with the level."""
        if self.rule == "single":
            return value(self.pieces[0], level)
        if self.rule == "union":
            return max(value(piece, level / len(self.pieces)) for piece in self.pieces)
        return running_median([value(piece, level / 2) for piece in self.pieces])


def threshold_counts(
    scores: Scores, selection: ThresholdSelection, criterion: Callable[[Scores, FloatArray], FloatArray]
) -> Chosen[Counts]:
    """Counts at the threshold(s) of a selection; ``criterion(part, thresholds)`` ranks them on held-out scores."""
    match selection:
        case Fixed(threshold):
            return Chosen((count_outcomes(scores, threshold),))
        case Union(thresholds):
            return Chosen(tuple(count_outcomes(scores, threshold) for threshold in thresholds), "union")
        case HeldOut() | SeveralSplits():
            pairs = selection.parts(scores)
            pieces = tuple(count_outcomes(rest, _best_threshold(part, criterion)) for part, rest in pairs)
            return Chosen(pieces, rule_of(selection))


def guess_counts(scores: Sides, selection: GuessSelection, criterion: Callable[[Guesses], float]) -> Chosen[Guesses]:
    """Right guesses for the number(s) of guesses of a selection; ``criterion`` ranks candidates on held-out scores."""
    match selection:
        case FixedGuesses(members, nonmembers, seed):
            if members + nonmembers > len(scores):
                raise InputError(f"guesses must be at most the {len(scores)} canaries, got {members} + {nonmembers}.")
            return Chosen((guess(scores, members, nonmembers, seed=seed),))
        case UnionGuesses(shares, seed):
            numbers = [pair(share, share, len(scores)) for share in shares]
            return Chosen(tuple(guess(scores, *each, seed=seed) for each in numbers), "union")
        case HeldOut(seed=seed) | SeveralSplits(seed=seed):
            pieces = []
            for choosing, judging in selection.sides(scores):
                top, bottom = _best_shares(_ranked(choosing, seed), criterion)
                pieces.append(guess(judging, *pair(top, bottom, len(judging)), seed=seed))
            return Chosen(tuple(pieces), rule_of(selection))


def guess(scores: Sides, members: int, nonmembers: int, *, seed: int) -> Guesses:
    """Guess "member" for the highest scores and "non-member" for the lowest; ties are broken at random by ``seed``.

    >>> guess(Scores([3.0, 2.0, 0.0], [1.0, -1.0]), 2, 2, seed=0)
    Guesses(canaries=5, made=4, correct=3)
    """
    values, total = scores.values, len(scores)
    # The places where guessing stops; what lies beyond is certain, what equals them is drawn without replacement.
    places = {total - members if members else 0, nonmembers - 1 if nonmembers else 0}
    ordered = np.partition(values, sorted(places))
    rng: np.random.Generator | None = None
    right, taken = 0, (0, 0)
    if members:
        cut = ordered[total - members]
        above, ties = np.count_nonzero(scores.member > cut), _ties(scores, cut)
        missing = members - above - np.count_nonzero(scores.nonmember > cut)
        drawn, rng = _draw(*ties, missing, rng, seed)
        right += above + drawn
        if nonmembers and cut == ordered[nonmembers - 1]:
            taken = (drawn, missing - drawn)
    if nonmembers:
        cut = ordered[nonmembers - 1]
        below, ties = np.count_nonzero(scores.nonmember < cut), _ties(scores, cut)
        missing = nonmembers - below - np.count_nonzero(scores.member < cut)
        drawn, rng = _draw(ties[1] - taken[1], ties[0] - taken[0], missing, rng, seed)
        right += below + drawn
    return Guesses(canaries=total, made=members + nonmembers, correct=int(right))


def _draw(
    wanted: int, others: int, number: int, rng: np.random.Generator | None, seed: int
) -> tuple[int, np.random.Generator | None]:
    """How many of ``number`` ties drawn without replacement are wanted ones; nothing is drawn where all are taken."""
    if number == wanted + others or not wanted or not others:
        return min(number, wanted), rng
    rng = np.random.default_rng([seed, 3]) if rng is None else rng
    return int(rng.hypergeometric(wanted, others, number)), rng


def _ties(scores: Sides, cut: float) -> tuple[int, int]:
    return np.count_nonzero(scores.member == cut), np.count_nonzero(scores.nonmember == cut)


def held_out_cuts(
    scores: Sides, selection: HeldOut | SeveralSplits, criterion: Callable[[Guesses], float]
) -> list[tuple[Sides, float, float]]:
    """Parts to judge, each with the two thresholds its other part chose: guess below the first and above the second."""
    cuts = []
    for choosing, judging in selection.sides(scores):
        ordered = np.sort(choosing.values)
        members, nonmembers = pair(*_best_shares(_ranked(choosing, selection.seed), criterion), ordered.size)
        low = ordered[nonmembers - 1] if nonmembers else -np.inf
        high = ordered[ordered.size - members - 1] if members < ordered.size else -np.inf
        cuts.append(
            (judging, min(float(low), float(high)) if members else float(low), float(high) if members else np.inf)
        )
    return cuts


def count_outcomes(scores: Scores, threshold: float) -> Counts:
    """Outcomes of one threshold.

    >>> count_outcomes(Scores([2.0, 3.0], [1.0, 2.5]), 2.2)
    Counts(true_positives=1, false_negatives=1, false_positives=1, true_negatives=1)
    """
    positives = int(np.count_nonzero(scores.member > threshold))
    alarms = int(np.count_nonzero(scores.nonmember > threshold))
    return Counts(positives, scores.member.size - positives, alarms, scores.nonmember.size - alarms)


def _best_threshold(part: Scores, criterion: Callable[[Scores, FloatArray], FloatArray]) -> float:
    ordered = np.unique(part.values)
    if ordered.size == 1:
        return float(ordered[0])
    left = candidates(ordered.size)
    thresholds = (ordered[left] + ordered[left + 1]) / 2
    return float(thresholds[int(np.argmax(criterion(part, thresholds)))])


def candidates(size: int) -> IntArray:
    """Places, counted from 0 at the lowest of ``size`` scores, after which a threshold is tried.

    >>> candidates(5)
    array([0, 1, 2, 3])
    """
    # Finer in the tails, where the best threshold of a strong leak lies.
    spread = (1 - np.cos(np.linspace(0, np.pi, min(CANDIDATES, size - 1)))) / 2
    places: IntArray = np.unique(np.rint(spread * (size - 2)).astype(np.int64))
    return places


def _ranked(scores: Sides, seed: int) -> BoolArray:
    """Membership from the lowest to the highest score; ties in random order, for their order must not tell."""
    order = np.random.default_rng([seed, 2]).permutation(len(scores))
    ranking = np.argsort(scores.values[order], kind="stable")
    truth: BoolArray = scores.truth[order][ranking]
    return truth


def pair(top: float, bottom: float, canaries: int) -> tuple[int, int]:
    """Numbers of canaries guessed "member" and "non-member", from shares of half of them each.

    >>> pair(0.1, 0.1, 1000)
    (50, 50)
    """
    members = math.ceil(top * canaries / 2)
    return members, min(math.floor(bottom * canaries / 2), canaries - members)


def _best_shares(ranked: BoolArray, criterion: Callable[[Guesses], float]) -> tuple[float, float]:
    """Shares guessed from the top and the bottom: the closed form at δ = 0 picks a few, ``criterion`` the best."""
    if not ranked.size:
        return 1.0, 1.0  # nothing to choose on: all are guessed
    members, nonmembers = tried(ranked.size)
    upto = np.concatenate([[0], np.cumsum(ranked)])  # members among so many of the lowest scores
    correct = upto[-1] - upto[ranked.size - members] + nonmembers - upto[nonmembers]
    made = members + nonmembers
    rates = betaincinv(np.maximum(correct, 1e-9), made - correct + 1, ROUGH_LEVEL)
    finalists = np.argsort(-rates, kind="stable")[:FINALISTS].tolist()
    best = max(finalists, key=lambda i: criterion(Guesses(ranked.size, int(made[i]), int(correct[i]))))
    return PAIRS[best]


@lru_cache(maxsize=1024)
def tried(canaries: int) -> tuple[IntArray, IntArray]:
    """Numbers guessed "member" and "non-member" that a held-out part of so many tries, each of shape (pairs,).

    >>> [int(numbers[0]) for numbers in tried(1000)], len(tried(1000)[0]) == len(PAIRS)
    ([5, 5], True)
    """
    pairs = np.array([pair(*shares, canaries) for shares in PAIRS])
    return pairs[:, 0], pairs[:, 1]


def rule_of(selection: HeldOut | SeveralSplits) -> ThresholdRule:
    """How the pieces of a selection share the level."""
    return "splits" if isinstance(selection, SeveralSplits) else "single"


def running_median(bounds: Sequence[float]) -> float:
    """The largest median of the first 1, 2, ..., all bounds; of an even number the upper of the two in the middle.

    It exceeds the truth only where at some time at least half of the bounds so far do.

    >>> running_median([1.0, 3.0, 0.0, 2.5])
    3.0
    """
    return max(sorted(bounds[:number])[number // 2] for number in range(1, len(bounds) + 1))
