"""The one bound on ε that a design of an audit has, wherever the audit comes from."""

from typing import Literal, Protocol, get_args

from dpaudit.accounting.claim import Adjacency, Unit
from dpaudit.bounds.choosing import HeldOut
from dpaudit.bounds.clopper_pearson import ClopperPearson
from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.bounds.one_run import OneRun
from dpaudit.data.member_choice import MemberChoice, NotRandom
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.seeds import derive_seed
from dpaudit.scores.scores import Scores

BoundDesign = Literal["one-run", "many-runs"]
# Share of the records of one run that chooses the numbers of guesses, and share of many runs that chooses the
# threshold; docs/bounds.md has the table.
HELD_OUT = 0.3


class Bound(Protocol):
    """A lower bound on ε from scores."""

    def __call__(
        self, scores: Scores, *, delta: float, confidence: float, adjacency: Adjacency, unit: Unit
    ) -> LowerBound:
        """The bound at δ, with a confidence."""


def default_bound(design: BoundDesign, chosen: MemberChoice, *, seed: int) -> Bound:
    """The bound that every audit of a design is judged by.

    Args:
        design: ``one-run`` for many records of one training, ``many-runs`` for one record in many trainings.
        chosen: how members were chosen, of the records or of the trainings.
        seed: of everything drawn; it is fixed before any score is seen.

    Raises:
        InputError: members were not chosen at random, so that no bound follows.

    >>> import numpy as np
    >>> from dpaudit.data.member_choice import RandomSplit
    >>> bound = default_bound("one-run", RandomSplit(), seed=0)
    >>> found = bound(
    ...     Scores(np.ones(500), np.zeros(500)), delta=1e-5, confidence=0.95, adjacency="add-remove", unit="record"
    ... )
    >>> found.adjacency, found.trials
    ('replace-one', 606)
    """
    check.one_of("design", design, get_args(BoundDesign))
    if isinstance(chosen, NotRandom):
        raise InputError("members were not chosen at random: no bound on ε follows from their scores.")
    if design == "many-runs":
        return ClopperPearson(HeldOut(derive_seed(seed, "threshold"), HELD_OUT))
    return OneRun(HeldOut(derive_seed(seed, "guesses"), HELD_OUT), chosen, derive_seed(seed, "fair coins"))
