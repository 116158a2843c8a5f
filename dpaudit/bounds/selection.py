"""How a threshold, or a number of guesses, is chosen: a type of its own, because an unpaid choice breaks every bound.

`Fixed` and `FixedGuesses` were decided before any score was seen. `HeldOut` looks at one part of the trials and is
judged on the rest. `Union` and `UnionGuesses` try a list decided beforehand and pay for its length. `CrossFit` holds
out every part once and averages the p-values. A choice made after looking at the same scores cannot be expressed.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np
from scipy.special import betaincinv

from dpaudit import _check
from dpaudit._check import BoolArray, FloatArray, IntArray
from dpaudit.errors import InputError
from dpaudit.scores import Scores

CANDIDATES = 256  # thresholds tried on a held-out part; more change the chosen one by less than its own noise
LARGEST_HELD_OUT = 50_000  # records: a threshold is known to a fraction of a percent by then
ROUGH_LEVEL, FINALISTS = 0.05, 4  # of the first look at numbers of guesses
SHARES_OF_LEVEL = np.array(
    [1e-6, 1e-4, 1e-3, 0.01, 0.05, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 0.95, 0.99, 0.999]
)
SHARES = tuple(float(share) for share in np.geomspace(0.01, 1.0, 13))
PAIRS = tuple(pair for share in SHARES for pair in ((share, share), (share, 0.0), (0.0, share)))  # top, bottom


@dataclass(frozen=True)
class Fixed:
    """A threshold decided before the scores were seen: a score above it says "member"."""

    threshold: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "threshold", _check.number("threshold", self.threshold))


@dataclass(frozen=True)
class FixedGuesses:
    """Numbers of guesses decided beforehand: the highest scores say "member", the lowest "non-member".

    Args:
        members: how many of the highest scores are guessed.
        nonmembers: how many of the lowest scores are guessed.
        seed: breaks ties between equal scores; it must not depend on membership.
    """

    members: int
    nonmembers: int
    seed: int

    def __post_init__(self) -> None:
        _check.integer("guesses of members", self.members, at_least=0)
        _check.integer("guesses of non-members", self.nonmembers, at_least=0)
        _check.integer("seed", self.seed, at_least=0)
        if self.members + self.nonmembers == 0:
            raise InputError("guesses must be at least 1 in total, got 0 + 0.")


@dataclass(frozen=True)
class HeldOut:
    """Choose on a random part of the trials, judge on the rest.

    Args:
        seed: of the split.
        fraction: share of the trials spent on choosing (at most 50,000 of them).
    """

    seed: int
    fraction: float = 0.3

    def __post_init__(self) -> None:
        _check.integer("seed", self.seed, at_least=0)
        _check.open_unit("held-out fraction", self.fraction)


@dataclass(frozen=True)
class Union:
    """Thresholds listed before the scores were seen; each is tested at its share of the level."""

    thresholds: tuple[float, ...]

    def __post_init__(self) -> None:
        values = _check.vector("thresholds", np.asarray(self.thresholds, np.float64))
        object.__setattr__(self, "thresholds", tuple(values.tolist()))


@dataclass(frozen=True)
class UnionGuesses:
    """Shares of the canaries to guess, listed beforehand: half of each share from the top, half from the bottom."""

    shares: tuple[float, ...]
    seed: int

    def __post_init__(self) -> None:
        values = _check.vector("shares of guesses", np.asarray(self.shares, np.float64))
        if not ((values > 0) & (values <= 1)).all():
            raise InputError(f"shares of guesses must be in (0, 1], got {self.shares!r}.")
        object.__setattr__(self, "shares", tuple(values.tolist()))
        _check.integer("seed", self.seed, at_least=0)


@dataclass(frozen=True)
class CrossFit:
    """Choose on all folds but one, judge on that one, for every fold; twice the mean of the p-values is a p-value.

    The mean holds whatever the dependence between folds is: `Vovk and Wang (2020) <https://arxiv.org/abs/1212.4966>`_.
    """

    seed: int
    folds: int = 2

    def __post_init__(self) -> None:
        _check.integer("seed", self.seed, at_least=0)
        _check.integer("folds", self.folds, at_least=2)


ThresholdSelection = Fixed | Union | HeldOut | CrossFit
GuessSelection = FixedGuesses | UnionGuesses | HeldOut | CrossFit


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
            _check.integer(name, getattr(self, name), at_least=0)
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
        _check.integer("canaries", self.canaries, at_least=1)
        _check.integer("guesses made", self.made, at_least=0, at_most=self.canaries)
        _check.integer("correct guesses", self.correct, at_least=0, at_most=self.made)

    @property
    def trials(self) -> int:
        """All canaries, guessed or not."""
        return self.canaries


Evidence = TypeVar("Evidence", Counts, Guesses)


@dataclass(frozen=True)
class Chosen(Generic[Evidence]):
    """Evidence after the choice was paid for: ``pieces`` share the level by ``rule``."""

    pieces: tuple[Evidence, ...]
    rule: str = field(default="single")

    @property
    def trials(self) -> int:
        """Trials behind the judgement, not those spent on choosing."""
        if self.rule == "mean":
            return sum(piece.trials for piece in self.pieces)
        return self.pieces[0].trials

    def bound(self, value: Callable[[Evidence, float], float], level: float) -> float:
        """Lower bound at ``level`` from ``value(evidence, level)``, which must not decrease with the level."""
        if self.rule == "single":
            return value(self.pieces[0], level)
        if self.rule == "union":
            return max(value(piece, level / len(self.pieces)) for piece in self.pieces)
        return _mean_bound(lambda at: [value(piece, at) for piece in self.pieces], level)


def threshold_counts(
    scores: Scores, selection: ThresholdSelection, criterion: Callable[[Scores, FloatArray], FloatArray]
) -> Chosen[Counts]:
    """Counts at the threshold(s) of a selection; ``criterion(part, thresholds)`` ranks them on held-out scores."""
    match selection:
        case Fixed(threshold):
            return Chosen((count(scores, threshold),))
        case Union(thresholds):
            return Chosen(tuple(count(scores, threshold) for threshold in thresholds), "union")
        case HeldOut():
            choosing, judging = _held_out(scores, selection)
            return Chosen((count(judging, _best_threshold(choosing, criterion)),))
        case CrossFit():
            pairs = _folds(scores, selection)
            return Chosen(tuple(count(fold, _best_threshold(rest, criterion)) for rest, fold in pairs), "mean")


def guess_counts(scores: Scores, selection: GuessSelection, criterion: Callable[[Guesses], float]) -> Chosen[Guesses]:
    """Right guesses for the number(s) of guesses of a selection; ``criterion`` ranks candidates on held-out scores."""
    match selection:
        case FixedGuesses(members, nonmembers, seed):
            if members + nonmembers > len(scores):
                raise InputError(f"guesses must be at most the {len(scores)} canaries, got {members} + {nonmembers}.")
            return Chosen((guess(scores, members, nonmembers, seed=seed),))
        case UnionGuesses(shares, seed):
            pairs = [_pair(share, share, len(scores)) for share in shares]
            return Chosen(tuple(guess(scores, *pair, seed=seed) for pair in pairs), "union")
        case HeldOut(seed=seed):
            choosing, judging = _held_out(scores, selection)
            top, bottom = _best_shares(_ranked(choosing, seed), criterion)
            return Chosen((guess(judging, *_pair(top, bottom, len(judging)), seed=seed),))
        case CrossFit(seed=seed):
            pieces = []
            for rest, fold in _folds(scores, selection):
                top, bottom = _best_shares(_ranked(rest, seed), criterion)
                pieces.append(guess(fold, *_pair(top, bottom, len(fold)), seed=seed))
            return Chosen(tuple(pieces), "mean")


def guess(scores: Scores, members: int, nonmembers: int, *, seed: int) -> Guesses:
    """Guess "member" for the highest scores and "non-member" for the lowest; ties are broken at random by ``seed``.

    >>> guess(Scores([3.0, 2.0, 0.0], [1.0, -1.0]), 2, 2, seed=0)
    Guesses(canaries=5, made=4, correct=3)
    """
    rng = np.random.default_rng(seed)
    values, total = scores.values, len(scores)
    # The places where guessing stops; what lies beyond is certain, what equals them is drawn without replacement.
    places = {total - members if members else 0, nonmembers - 1 if nonmembers else 0}
    ordered = np.partition(values, sorted(places))
    right, taken = 0, {}
    if members:
        cut = ordered[total - members]
        above, ties = int((scores.member > cut).sum()), _ties(scores, cut)
        missing = members - above - int((scores.nonmember > cut).sum())
        drawn = int(rng.hypergeometric(*ties, missing))
        right += above + drawn
        taken[cut] = (drawn, missing - drawn)
    if nonmembers:
        cut = ordered[nonmembers - 1]
        below, ties = int((scores.nonmember < cut).sum()), _ties(scores, cut)
        missing = nonmembers - below - int((scores.member < cut).sum())
        gone = taken.get(cut, (0, 0))
        drawn = int(rng.hypergeometric(ties[1] - gone[1], ties[0] - gone[0], missing))
        right += below + drawn
    return Guesses(canaries=total, made=members + nonmembers, correct=right)


def _ties(scores: Scores, cut: float) -> tuple[int, int]:
    return int((scores.member == cut).sum()), int((scores.nonmember == cut).sum())


def held_out_cuts(
    scores: Scores, selection: HeldOut | CrossFit, criterion: Callable[[Guesses], float]
) -> list[tuple[Scores, float, float]]:
    """Parts to judge, each with the two thresholds its other part chose: guess below the first and above the second."""
    parts = [_held_out(scores, selection)] if isinstance(selection, HeldOut) else list(_folds(scores, selection))
    cuts = []
    for choosing, judging in parts:
        ordered = np.sort(choosing.values)
        members, nonmembers = _pair(*_best_shares(_ranked(choosing, selection.seed), criterion), ordered.size)
        low = ordered[nonmembers - 1] if nonmembers else -np.inf
        high = ordered[ordered.size - members - 1] if members < ordered.size else -np.inf
        cuts.append(
            (judging, min(float(low), float(high)) if members else float(low), float(high) if members else np.inf)
        )
    return cuts


def count(scores: Scores, threshold: float) -> Counts:
    """Outcomes of one threshold.

    >>> count(Scores([2.0, 3.0], [1.0, 2.5]), 2.2)
    Counts(true_positives=1, false_negatives=1, false_positives=1, true_negatives=1)
    """
    positives = int(np.count_nonzero(scores.member > threshold))
    alarms = int(np.count_nonzero(scores.nonmember > threshold))
    return Counts(positives, scores.member.size - positives, alarms, scores.nonmember.size - alarms)


def _held_out(scores: Scores, selection: HeldOut) -> tuple[Scores, Scores]:
    rng = np.random.default_rng(selection.seed)
    fraction = min(selection.fraction, LARGEST_HELD_OUT / len(scores))
    parts = []
    for side in (scores.member, scores.nonmember):
        held = rng.random(side.size, np.float32) < fraction
        if held.all() or not held.any():
            raise InputError(
                f"a held-out fraction of {selection.fraction:g} leaves an empty part of {side.size} scores; "
                "use more trials, or a threshold fixed beforehand."
            )
        parts.append((side[held], side[~held]))
    (member, others), (nonmember, rest) = parts
    return Scores(member, nonmember), Scores(others, rest)


def _folds(scores: Scores, selection: CrossFit) -> Iterator[tuple[Scores, Scores]]:
    rng = np.random.default_rng(selection.seed)
    if min(scores.member.size, scores.nonmember.size) < 2 * selection.folds:
        raise InputError(
            f"{selection.folds} folds need at least {2 * selection.folds} members and as many non-members, "
            f"got {scores.member.size} and {scores.nonmember.size}."
        )
    member = rng.permutation(scores.member.size) % selection.folds
    nonmember = rng.permutation(scores.nonmember.size) % selection.folds
    for fold in range(selection.folds):
        rest = Scores(scores.member[member != fold], scores.nonmember[nonmember != fold])
        yield rest, Scores(scores.member[member == fold], scores.nonmember[nonmember == fold])


def _best_threshold(part: Scores, criterion: Callable[[Scores, FloatArray], FloatArray]) -> float:
    ordered = np.unique(part.values)
    if ordered.size == 1:
        return float(ordered[0])
    # Finer in the tails, where the best threshold of a strong leak lies.
    spread = (1 - np.cos(np.linspace(0, np.pi, min(CANDIDATES, ordered.size - 1)))) / 2
    left = np.unique(np.rint(spread * (ordered.size - 2)).astype(np.int64))
    thresholds = (ordered[left] + ordered[left + 1]) / 2
    return float(thresholds[int(np.argmax(criterion(part, thresholds)))])


def _ranked(scores: Scores, seed: int) -> BoolArray:
    """Membership from the lowest to the highest score; ties in random order, for their order must not tell."""
    order = np.random.default_rng(seed).permutation(len(scores))
    ranking = np.argsort(scores.values[order], kind="stable")
    truth: BoolArray = scores.truth[order][ranking]
    return truth


def _pair(top: float, bottom: float, canaries: int) -> tuple[int, int]:
    members = math.ceil(top * canaries / 2)
    return members, min(math.floor(bottom * canaries / 2), canaries - members)


def _best_shares(ranked: BoolArray, criterion: Callable[[Guesses], float]) -> tuple[float, float]:
    """Shares guessed from the top and the bottom: the closed form at δ = 0 picks a few, ``criterion`` the best."""
    members, nonmembers = _numbers(ranked.size)
    upto = np.concatenate([[0], np.cumsum(ranked)])  # members among so many of the lowest scores
    correct = upto[-1] - upto[ranked.size - members] + nonmembers - upto[nonmembers]
    made = members + nonmembers
    rates = betaincinv(np.maximum(correct, 1e-9), made - correct + 1, ROUGH_LEVEL)
    finalists = np.argsort(-rates, kind="stable")[:FINALISTS].tolist()
    best = max(finalists, key=lambda i: criterion(Guesses(ranked.size, int(made[i]), int(correct[i]))))
    return PAIRS[best]


@lru_cache(maxsize=1024)
def _numbers(canaries: int) -> tuple[IntArray, IntArray]:
    pairs = np.array([_pair(*pair, canaries) for pair in PAIRS])
    return pairs[:, 0], pairs[:, 1]


def _mean_bound(bounds: Callable[[float], list[float]], level: float) -> float:
    """Largest ε that twice the mean p-value still rejects; p_k(ε) is the smallest level at which bound k exceeds ε.

    The levels tried are shares of all that one of the p-values may be when the others are 0; the next share up stands
    for a p-value between two of them, which is conservative.
    """
    pieces = len(bounds(level))
    levels = SHARES_OF_LEVEL * level * pieces / 2
    table = np.array([bounds(float(at)) for at in levels[levels < 1]])
    best = 0.0
    for figure in np.unique(table):
        # At a figure just below this one, p_k is the first level whose bound reaches it.
        reached = table >= figure
        values = np.where(reached.any(axis=0), levels[np.argmax(reached, axis=0)], 1.0)
        if figure > best and 2 * float(values.mean()) <= level * (1 + 1e-12):
            best = float(figure)
    return best
