"""The one bound on ε that a design of an audit has, wherever the audit comes from."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, Protocol, get_args

from dpaudit.accounting.claim import Adjacency, Unit
from dpaudit.bounds.choosing import HeldOut, SeveralSplits
from dpaudit.bounds.clopper_pearson import ClopperPearson
from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.bounds.one_run import OneRun
from dpaudit.data.member_choice import MemberChoice, NotRandom
from dpaudit.runtime import check
from dpaudit.runtime import plugins as registry
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.seeds import derive_seed
from dpaudit.scores.scores import Scores

BoundDesign = Literal["one-run", "many-runs"]
# Share of the records of one run that chooses the numbers of guesses, and of few runs that chooses the threshold;
# docs/bounds.md has the table.
HELD_OUT = 0.3
SEVERAL_FROM = 50  # runs with the record, and as many without, from which several splits are no worse than one


class Bound(Protocol):
    """A lower bound on ε from scores."""

    def __call__(
        self, scores: Scores, *, delta: float, confidence: float, adjacency: Adjacency, unit: Unit
    ) -> LowerBound:
        """The bound at δ, with a confidence."""


@dataclasses.dataclass(frozen=True)
class BoundOfRuns:
    """A bound over many runs: several splits choose its threshold where there are enough runs, else one.

    Which of the two is decided by how many runs have the record and how many do not, never by a score.

    Args:
        several: where each side has at least `SEVERAL_FROM` runs.
        one: where it has fewer: half of the level then costs more than it brings, and a split may leave a part empty.
    """

    several: Bound
    one: Bound

    def __call__(
        self, scores: Scores, *, delta: float, confidence: float, adjacency: Adjacency, unit: Unit
    ) -> LowerBound:
        """The bound at δ, with a confidence."""
        enough = min(scores.member.size, scores.nonmember.size) >= SEVERAL_FROM
        bound = self.several if enough else self.one
        return bound(scores, delta=delta, confidence=confidence, adjacency=adjacency, unit=unit)


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
        choice = derive_seed(seed, "threshold")
        return BoundOfRuns(ClopperPearson(SeveralSplits(choice)), ClopperPearson(HeldOut(choice, HELD_OUT)))
    return OneRun(HeldOut(derive_seed(seed, "guesses"), HELD_OUT), chosen, derive_seed(seed, "fair coins"))


def named_bound(
    name: str, parameters: Mapping[str, Any], design: BoundDesign, chosen: MemberChoice, *, seed: int
) -> Bound:
    """A bound of the registry, with the parts that an audit gives it where it has fields for them.

    These are ``chosen``, ``seed``, and ``selection``, which is then that of `default_bound`.

    Args:
        name: as in ``dpaudit list bounds``.
        parameters: of the bound.
        design: of the audit; the bound's own ``designs`` must hold it.
        chosen: how members were chosen.
        seed: of everything drawn.

    Raises:
        InputError: no such bound or parameter, or a bound that does not hold for the design or does not say so.

    >>> from dpaudit.data.member_choice import Coins
    >>> named_bound("one-run-trade-off", {}, "one-run", Coins(), seed=0).selection
    HeldOut(seed=0, fraction=0.3)
    """
    where = f"bound {name!r}"
    known = registry.resolve("bounds", name)
    designs = getattr(known, "designs", ())
    if design not in designs:
        holds = f"holds for {' and '.join(designs)} only" if designs else "does not say for which designs it holds"
        raise InputError(f"{where} {holds}, and the audit's design is {design}: its class attribute designs says so.")
    fields = {field.name for field in dataclasses.fields(known)} - set(parameters)

    def build(selection: HeldOut | SeveralSplits) -> Bound:
        parts = {"selection": selection, "chosen": chosen, "seed": seed}
        given = {part: value for part, value in parts.items() if part in fields}
        bound: Bound = registry.build("bounds", name, parameters, where=where, **given)
        return bound

    one = build(HeldOut(seed, HELD_OUT))
    return BoundOfRuns(build(SeveralSplits(seed)), one) if design == "many-runs" and "selection" in fields else one


def check_bound(bound: LowerBound, *, delta: float, unit: Unit, confidence: float) -> None:
    """Refuse a bound that is about something else than it was asked for: its ε would be taken for what it is not.

    Raises:
        InputError: another type, δ or unit, or less confidence.
    """
    if not isinstance(bound, LowerBound):
        raise InputError(f"a bound must return a LowerBound, got {type(bound).__name__}.")
    for name, found, asked in (("δ", bound.delta, delta), ("unit", bound.unit, unit)):
        if found != asked:
            raise InputError(f"bound {bound.method!r} was asked for the {name} {asked} and returned {found}.")
    if bound.confidence < confidence - 1e-12:
        raise InputError(f"bound {bound.method!r} was asked for confidence {confidence} and holds with less.")
