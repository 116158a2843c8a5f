"""Audit numbers one already has: attack scores of a model of any framework."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from dpaudit.accounting import replaced
from dpaudit.accounting.accounted_claim import account
from dpaudit.accounting.claim import Adjacency, Claim, Design, Protection, Unit
from dpaudit.attacks.membership.user_level import user_scores
from dpaudit.audits.membership import attack_jobs as scoring
from dpaudit.audits.membership import run as membership
from dpaudit.audits.record_scores import with_record_scores
from dpaudit.bounds.lower_bound import ErrorLevel
from dpaudit.data.as_data import AsData
from dpaudit.data.member_choice import ChosenBy, Coins, MemberChoice, NotRandom, RandomSplit, member_choice
from dpaudit.data.member_choice import refuse_other_coins as refuse_coins
from dpaudit.data.users import user_truth
from dpaudit.results.facts import with_verdicts
from dpaudit.results.membership import MembershipResult
from dpaudit.results.result import DataSummary, ModelResult, Result, provenance
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.seeds import derive_seed
from dpaudit.scores.scores import Scores

Users = npt.NDArray[np.generic]


def audit_scores(
    scores: object,
    member: object,
    *,
    delta: float = 1e-5,
    epsilon: float | None = None,
    confidence: float = 0.95,
    design: Design = "one-run",
    chosen_by: ChosenBy | None = None,
    probability: float | None = None,
    users: object = None,
    lower_is_member: bool = False,
    unit: Unit | None = None,
    adjacency: Adjacency = "add-remove",
    name: str = "scores",
    seed: int = 0,
) -> Result:
    """Lower bound on ε, ROC and verdict from scores (higher = more likely a member).

    There is no ``task``: a score is all that is asked of a model, whatever it predicts.

    Args:
        scores: one per record, shape (records,).
        member: whether each record was trained on, shape (records,), true/false or 1/0.
        delta: δ at which ε is measured; with ``epsilon`` the δ of the claim.
        epsilon: the claimed ε; None claims nothing.
        confidence: of the bound.
        design: ``one-run``: all scores come from one model, whose records are not independent. ``many-runs``: every
            score comes from a training of its own, and nothing is assumed about how members were chosen.
        chosen_by: how the members were chosen, on which every bound of one run rests. ``coin``: each record (or user)
            by a coin of its own. ``split``: a random set of a fixed size, as ``train_test_split`` draws it; the bound
            is then about replacing one record by another. ``other``: by date, by source or by hand, which allows no
            bound. None is taken as a random split, and the report says that nobody said so.
        probability: of the coins; None is 1/2.
        users: whose record it is, shape (records,). One coin then decided about all records of a user, a user's score
            is the mean of the scores of their records, and the bound is about one user.
        lower_is_member: lower scores mean members, as those of a loss do; they are negated.
        unit: what one coin decided about, ``record`` or ``user``; None is ``user`` where ``users`` are given.
        adjacency: neighbouring data sets that the claim is about, and that one coin makes.
        name: what the report calls the model.
        seed: of everything drawn: which records are judged, and how ties are broken.

    Raises:
        InputError: scores that are not finite numbers, lengths that differ, membership that is empty or one-sided, a δ
            or ε out of range, coins that the number of members refutes, a user with records on both sides.

    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> coins = rng.random(2000) < 0.5
    >>> result = audit_scores(rng.normal(size=2000) + 3 * coins, coins, epsilon=0.5, delta=1e-5, chosen_by="coin")
    >>> result.comparisons[0].verdict
    'contradicted'
    """
    values = check.vector("scores", scores)
    truth = check.flags("membership", member, length=values.size)
    owner = checked_users(users, truth, design)
    stated = Statement(
        name=name,
        seed=seed,
        epsilon=epsilon,
        delta=delta,
        confidence=confidence,
        chosen=choice(chosen_by, probability, design),
        unit=unit_of(unit, owner, design),
        adjacency=adjacency,
        design=design,
    )
    values = -values if lower_is_member else values
    joined = one_score_each(values, truth, owner)
    result = result_of_scores(
        {"scores": (_Given(), joined)}, stated, truth, trained_by="given scores", lower_is_member=lower_is_member
    )
    return with_record_scores(result, {"scores": (values, np.ones(values.size, bool))}, truth, owner)


class _Given:
    """Stands for the attack behind scores that were given."""

    version: ClassVar[str] = "given"
    paper: ClassVar[str] = ""


@dataclass(frozen=True)
class Statement:
    """What a caller states beside the numbers; the fields are those of `audit_scores`."""

    name: str
    seed: int
    epsilon: float | None
    delta: float
    confidence: float
    chosen: MemberChoice
    unit: Unit = "record"
    adjacency: Adjacency = "add-remove"
    design: Design = "one-run"

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


def choice(chosen_by: str | None, probability: float | None, design: str) -> MemberChoice:
    """How members were chosen; ``many-runs`` assumes nothing about it."""
    if design != "many-runs":
        return member_choice(chosen_by, probability)
    if chosen_by is not None or probability is not None:
        raise InputError(
            "many-runs assumes nothing about how members were chosen: leave out chosen_by and probability."
        )
    return Coins()


def checked_users(users: object, member: BoolArray, design: str) -> Users | None:
    """Users as an array, each with all records on one side; None where none are given."""
    if users is None:
        return None
    if design == "many-runs":
        raise InputError("under many-runs every score is a training of its own: leave users out, and say the unit.")
    user_truth(users, member)
    return np.asarray(users)


def unit_of(unit: Unit | None, users: Users | None, design: str) -> Unit:
    """The unit of the coins.

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


def one_score_each(scores: FloatArray, member: BoolArray, users: Users | None) -> Scores:
    """Scores joined to the truth, one for each record, or for each user the mean of their records'.

    >>> one_score_each(np.array([1.0, 3.0, 0.0]), np.array([True, True, False]), np.array(["a", "a", "b"]))
    Scores(member=array([2.]), nonmember=array([0.]))
    """
    if users is None:
        return Scores.join(scores, member)
    return Scores.join(user_scores(scores, users, combine="mean").scores, user_truth(users, member))


def result_of_scores(
    attacked: Mapping[str, tuple[scoring.Named, Scores]],
    stated: Statement,
    member: BoolArray,
    *,
    trained_by: str,
    lower_is_member: bool = False,
    data: AsData | None = None,
    caveats: Sequence[str] = (),
) -> Result:
    """A result from the scores of attacks on one model, with the truth joined to them.

    Args:
        attacked: attacks by name, with their scores.
        stated: by the caller.
        member: of all records, shape (records,).
        trained_by: for the report.
        lower_is_member: whether scores were negated.
        data: the records themselves, where they are known; when they differ there is no bound.
        caveats: for the report.
    """
    begin = time.monotonic()
    name, unit, adjacency, claim = stated.name, stated.unit, stated.adjacency, stated.claim
    first = next(iter(attacked.values()))[1]
    if stated.design == "one-run":
        refuse_coins(stated.chosen, members=first.member.size, trials=len(first))
    level = ErrorLevel.shared(stated.confidence, len(attacked))
    chosen = NotRandom() if data is not None and data.blind.differs else stated.chosen
    about = Protection(unit, adjacency, stated.measured_delta)
    terms = membership.Terms(stated.design, about, level.per_bound, chosen)
    outcomes = [
        membership.judge_attack(
            name, key, attack, scores, terms=terms, seed=derive_seed(stated.seed, "bound", name, key)
        )
        for key, (attack, scores) in attacked.items()
    ]
    outcome = MembershipResult(
        design=stated.design,
        chosen=None if stated.design == "many-runs" else stated.chosen,
        lower_is_member=lower_is_member,
        blind=None if data is None else data.blind,
        duplicates=None if data is None else data.duplicates,
        attacks=outcomes,
        caveats=list(caveats),
    )
    found = Result(
        schema=1,
        name=name,
        title=f"Privacy audit of {name}",
        unit=unit,
        adjacency=adjacency,
        delta=stated.delta,
        provenance=provenance(seed=stated.seed),
        data=DataSummary(
            name=name,
            records=member.size,
            members=int(member.sum()),
            population=0,
            fingerprint=None,
            licence="not stated",
        ),
        level=level,
        models=[
            ModelResult(
                name=name,
                trainer=trained_by,
                parameters={},
                mechanism=None,
                accounted=account(None, claim, delta=stated.delta, adjacency=adjacency, unit=unit),
                utility=None,
            )
        ],
        comparisons=[],
        membership=outcome,
        timing={"total": round(time.monotonic() - begin, 3)},
    )
    return with_verdicts(found)
