"""How a threshold, or a number of guesses, is chosen: a type of its own, because an unpaid choice breaks every bound.

`Fixed` and `FixedGuesses` were decided before any score was seen. `HeldOut` looks at one part of the trials and is
judged on the rest. `Union` and `UnionGuesses` try a list decided beforehand and pay for its length. `SeveralSplits`
holds out several times and takes a median. A choice made after looking at the same scores cannot be expressed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dpaudit.bounds.lower_bound import Procedure
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.seeds import derive_seed
from dpaudit.scores.scores import Scores, Sides

LARGEST_HELD_OUT = 50_000  # records: a threshold is known to a fraction of a percent by then


@dataclass(frozen=True)
class Fixed:
    """A threshold decided before the scores were seen: a score above it says "member"."""

    threshold: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "threshold", check.number("threshold", self.threshold))

    @property
    def procedure(self) -> Procedure:
        """What a bound keeps of it."""
        return Procedure("fixed", (self.threshold,))


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
        check.integer("guesses of members", self.members, at_least=0)
        check.integer("guesses of non-members", self.nonmembers, at_least=0)
        check.integer("seed", self.seed, at_least=0)
        if self.members + self.nonmembers == 0:
            raise InputError("guesses must be at least 1 in total, got 0 + 0.")

    @property
    def procedure(self) -> Procedure:
        """What a bound keeps of it."""
        return Procedure("fixed", (float(self.members), float(self.nonmembers)))


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
        check.integer("seed", self.seed, at_least=0)
        check.open_unit("held-out fraction", self.fraction)

    @property
    def procedure(self) -> Procedure:
        """What a bound keeps of it."""
        return Procedure("held-out", (self.fraction,))

    def parts(self, scores: Scores) -> Iterator[tuple[Scores, Scores]]:
        """The one pair of parts: to choose on, to judge on.

        Raises:
            InputError: one of them would hold no member, or no non-member.

        >>> ((choosing, judging),) = HeldOut(seed=0).parts(Scores(np.ones(90), np.zeros(90)))
        >>> len(choosing) + len(judging)
        180
        """
        ((choosing, judging),) = self.sides(scores)
        for side in ("member", "nonmember"):
            if min(getattr(choosing, side).size, getattr(judging, side).size) == 0:
                raise InputError(
                    f"a held-out fraction of {self.fraction:g} leaves an empty part of {getattr(scores, side).size} "
                    "scores; use more trials, or a threshold fixed beforehand."
                )
        yield Scores(choosing.member, choosing.nonmember), Scores(judging.member, judging.nonmember)

    def sides(self, scores: Sides) -> Iterator[tuple[Sides, Sides]]:
        """As `parts`; each record is held out by a coin of its own, and a side may be left empty.

        Where the coins would leave none to judge on, none is held out: they know neither scores nor membership.
        """
        rng = np.random.default_rng(self.seed)
        fraction = min(self.fraction, LARGEST_HELD_OUT / len(scores))
        held, out = (rng.random(side.size, np.float32) < fraction for side in (scores.member, scores.nonmember))
        if held.all() and out.all():
            held, out = ~held, ~out
        yield Sides(scores.member[held], scores.nonmember[out]), Sides(scores.member[~held], scores.nonmember[~out])


@dataclass(frozen=True)
class Union:
    """Thresholds listed before the scores were seen; each is tested at its share of the level."""

    thresholds: tuple[float, ...]

    def __post_init__(self) -> None:
        values = check.vector("thresholds", np.asarray(self.thresholds, np.float64))
        object.__setattr__(self, "thresholds", tuple(values.tolist()))

    @property
    def procedure(self) -> Procedure:
        """What a bound keeps of it."""
        return Procedure("union", self.thresholds)


@dataclass(frozen=True)
class UnionGuesses:
    """Shares of the canaries to guess, listed beforehand: half of each share from the top, half from the bottom."""

    shares: tuple[float, ...]
    seed: int

    def __post_init__(self) -> None:
        values = check.vector("shares of guesses", np.asarray(self.shares, np.float64))
        if not ((values > 0) & (values <= 1)).all():
            raise InputError(f"shares of guesses must be in (0, 1], got {self.shares!r}.")
        object.__setattr__(self, "shares", tuple(values.tolist()))
        check.integer("seed", self.seed, at_least=0)

    @property
    def procedure(self) -> Procedure:
        """What a bound keeps of it."""
        return Procedure("union", self.shares)


@dataclass(frozen=True)
class SeveralSplits:
    """Hold out several times, each time anew, and take the largest median of the bounds so far, at half the level.

    Each bound is above the truth with probability at most level / 2. The median of K of them is above it only where at
    least half of them are, which has probability at most the level by Markov's inequality (`Meinshausen, Meier and
    Buehlmann (2009) <https://arxiv.org/abs/0811.2177>`_). The splits are exchangeable, so the same holds for the
    largest of the medians of the first 1, 2, ..., K (`Ramdas and Manole (2023) <https://arxiv.org/abs/2304.02611>`_).

    Args:
        seed: of the splits.
        splits: how many.
        fraction: share of the trials that each spends on choosing.
    """

    seed: int
    splits: int = 7
    fraction: float = 0.2

    def __post_init__(self) -> None:
        check.integer("splits", self.splits, at_least=2)
        HeldOut(self.seed, self.fraction)  # checks itself

    @property
    def procedure(self) -> Procedure:
        """What a bound keeps of it."""
        return Procedure("several-splits", (float(self.splits), self.fraction))

    def parts(self, scores: Scores) -> Iterator[tuple[Scores, Scores]]:
        """A pair for every split: to choose on, to judge on.

        Raises:
            InputError: as for `HeldOut`.

        >>> len(list(SeveralSplits(seed=0, splits=3).parts(Scores(np.ones(90), np.zeros(90)))))
        3
        """
        for each in self._each():
            yield from each.parts(scores)

    def sides(self, scores: Sides) -> Iterator[tuple[Sides, Sides]]:
        """As `parts`; a side may be left empty."""
        for each in self._each():
            yield from each.sides(scores)

    def _each(self) -> Iterator[HeldOut]:
        return (HeldOut(derive_seed(self.seed, "split", place), self.fraction) for place in range(self.splits))


ThresholdSelection = Fixed | Union | HeldOut | SeveralSplits
GuessSelection = FixedGuesses | UnionGuesses | HeldOut | SeveralSplits
