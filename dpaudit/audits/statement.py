"""What a caller states beside the numbers: the claim, how members were chosen, and the unit."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from typing_extensions import TypedDict

from dpaudit.accounting import replaced
from dpaudit.accounting.claim import Adjacency, Claim, Design, Unit
from dpaudit.data.member_choice import ChosenBy, Coins, MemberChoice, RandomSplit, member_choice
from dpaudit.data.users import user_truth
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, nearest
from dpaudit.runtime.errors import InputError

Users = npt.NDArray[np.generic]


class StatementKeywords(TypedDict, total=False):
    """Keyword arguments that every audit of one's own scores, predictions or model takes.

    Args:
        epsilon: the claimed ε; None, the default, claims nothing.
        delta: δ of the claim, and at which ε is measured. 1e-5.
        confidence: that all bounds of the audit hold together. 0.95.
        design: ``one-run`` (the default): all scores come from one model, whose records are not independent.
            ``many-runs``: every score comes from a training of its own, and nothing is assumed about how members were
            chosen.
        chosen_by: how the members were chosen, on which every bound of one run rests. ``coin``: each record (or user)
            was included independently. ``split``: a random set of a fixed size, as ``train_test_split`` draws it; the
            bound is then about replacing one record by another. ``other``: by date, by source or by hand, which allows
            no bound. None, the default, is taken as a random split, and the report says that nobody said so.
        probability: of inclusion, with ``coin``; None, the default, is 1/2.
        users: whose record it is, shape (records,). All records of a user were then included together, a user's score
            is the mean of the scores of their records, and the bound is about one user. None, the default, for records.
        unit: what was included or left out as one, ``record`` or ``user``; None, the default, is ``user`` where
            ``users`` are given.
        adjacency: neighbouring data sets that the claim is about: ``add-remove`` (the default), ``replace-one`` or
            ``zero-out``.
        name: what the report calls the model.
        seed: of everything drawn: which records are judged, how ties are broken, reference models. 0.
    """

    epsilon: float | None
    delta: float
    confidence: float
    design: Design
    chosen_by: ChosenBy | None
    probability: float | None
    users: object
    unit: Unit | None
    adjacency: Adjacency
    name: str
    seed: int


@dataclass(frozen=True)
class Statement:
    """What a caller states, checked; see `StatementKeywords`."""

    name: str
    seed: int
    epsilon: float | None
    delta: float
    confidence: float
    chosen: MemberChoice
    unit: Unit = "record"
    adjacency: Adjacency = "add-remove"
    design: Design = "one-run"
    users: Users | None = None

    @property
    def claim(self) -> Claim | None:
        """What is claimed."""
        if self.epsilon is None:
            return None
        finite = check.nonnegative("epsilon", self.epsilon)
        return Claim(finite, self.delta, unit=self.unit, adjacency=self.adjacency, source="stated by the caller")

    @property
    def measured_delta(self) -> float:
        """δ of the bounds: that of the claim, or the one to which the claim is converted.

        A random split is about replacing one record. Where one may be added or removed at (ε, δ), one may be replaced
        at (2ε, (1 + e^ε) δ): a bound at that δ can be compared.
        """
        claim = self.claim
        if claim is None or self.design == "many-runs" or not isinstance(self.chosen, RandomSplit):
            return self.delta
        _, grown = replaced(claim.epsilon, claim.delta)
        return self.delta if claim.adjacency == "replace-one" or grown >= 1 else grown


def stated(keywords: StatementKeywords, member: BoolArray, *, name: str) -> Statement:
    """The keyword arguments of an audit, checked against the truth.

    Args:
        keywords: of the caller.
        member: of all records, shape (records,).
        name: where the caller gives none.

    Raises:
        InputError: values out of range, users with records on both sides, a design that the rest does not fit.

    >>> stated({"epsilon": 2.0, "chosen_by": "coin"}, np.array([True, False]), name="scores").claim.epsilon
    2.0
    """
    design = keywords.get("design", "one-run")
    users = _checked_users(keywords.get("users"), member, design)
    return Statement(
        name=keywords.get("name", name),
        seed=keywords.get("seed", 0),
        epsilon=keywords.get("epsilon"),
        delta=keywords.get("delta", 1e-5),
        confidence=keywords.get("confidence", 0.95),
        chosen=_choice(keywords.get("chosen_by"), keywords.get("probability"), design),
        unit=_unit_of(keywords.get("unit"), users, design),
        adjacency=keywords.get("adjacency", "add-remove"),
        design=design,
        users=users,
    )


def refuse_unknown(keywords: Mapping[str, object], known: Collection[str], function: str) -> None:
    """A keyword argument that a function does not have is an error as Python's own, with the nearest name.

    >>> refuse_unknown({"epsilo": 1.0}, StatementKeywords.__optional_keys__, "audit_scores")
    Traceback (most recent call last):
    TypeError: audit_scores() got an unexpected keyword argument 'epsilo'. Did you mean 'epsilon'?
    """
    for keyword in keywords:
        if keyword not in known:
            raise TypeError(f"{function}() got an unexpected keyword argument {keyword!r}.{nearest(keyword, known)}")


def _choice(chosen_by: str | None, probability: float | None, design: str) -> MemberChoice:
    if design != "many-runs":
        return member_choice(chosen_by, probability)
    if chosen_by is not None or probability is not None:
        raise InputError(
            "many-runs assumes nothing about how members were chosen: leave out chosen_by and probability."
        )
    return Coins()


def _checked_users(users: object, member: BoolArray, design: str) -> Users | None:
    """Users as an array, each with all records on one side; None where none are given."""
    if users is None:
        return None
    if design == "many-runs":
        raise InputError("under many-runs every score is a training of its own: leave users out, and say the unit.")
    user_truth(users, member)
    return np.asarray(users)


def _unit_of(unit: Unit | None, users: Users | None, design: str) -> Unit:
    """The unit that was included or left out as one.

    Raises:
        InputError: users of records, or a unit of users without knowing whose the records are.
    """
    if unit is not None:
        check.one_of("unit", unit, ("record", "user"))
    if unit == "record" and users is not None:
        raise InputError("users were given, so the unit is one user: leave the unit out, or the users.")
    if unit == "user" and users is None and design != "many-runs":
        raise InputError(
            "a unit of user needs users, the user of each record (--user COLUMN); where each row is one user, give "
            "their row numbers."
        )
    return "user" if users is not None else unit or "record"
