"""Audit numbers one already has: attack scores of a model of any framework."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from typing_extensions import Unpack

from dpaudit.accounting.accounted_claim import account
from dpaudit.accounting.claim import Protection
from dpaudit.attacks.membership.user_level import user_scores
from dpaudit.audits.membership.judgement import Named, Terms, judge_attack
from dpaudit.audits.record_scores import with_record_scores
from dpaudit.audits.statement import Statement, StatementKeywords, Users, refuse_unknown, stated
from dpaudit.bounds.lower_bound import ErrorLevel
from dpaudit.data.as_data import AsData
from dpaudit.data.member_choice import NotRandom
from dpaudit.data.member_choice import refuse_other_coins as refuse_coins
from dpaudit.data.users import user_truth
from dpaudit.results.facts import with_verdicts
from dpaudit.results.membership import MembershipResult
from dpaudit.results.result import DataSummary, ModelResult, Result, Utility, provenance
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.seeds import derive_seed
from dpaudit.scores.scores import Scores


def audit_scores(
    scores: object, member: object, *, lower_is_member: bool = False, **keywords: Unpack[StatementKeywords]
) -> Result:
    """Lower bound on ε, ROC and verdict from scores (higher = more likely a member).

    There is no ``task``: a score is all that is asked of a model, whatever it predicts.

    Args:
        scores: one per record, shape (records,).
        member: whether each record was trained on, shape (records,), true/false or 1/0.
        lower_is_member: lower scores mean members, as those of a loss do; they are negated.
        keywords: what is stated: ``epsilon``, ``delta``, ``confidence``, ``design``, ``chosen_by``, ``probability``,
            ``users``, ``unit``, ``adjacency``, ``name`` and ``seed``, as `StatementKeywords` explains them.

    Raises:
        InputError: scores that are not finite numbers, lengths that differ, membership that is empty or one-sided, a δ
            or ε out of range, independent inclusion that the number of members refutes, a user with records on both
            sides.

    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> member = rng.random(2000) < 0.5
    >>> result = audit_scores(rng.normal(size=2000) + 3 * member, member, epsilon=0.5, delta=1e-5, chosen_by="coin")
    >>> result.comparisons[0].verdict
    'contradicted'
    """
    refuse_unknown(keywords, StatementKeywords.__optional_keys__, "audit_scores")
    values = check.vector("scores", scores)
    truth = check.flags("membership", member, length=values.size)
    statement = stated(keywords, truth, name="scores")
    values = -values if lower_is_member else values
    joined = one_score_each(values, truth, statement.users)
    result = result_of_scores(
        {"scores": (_Given(), joined)}, truth, statement, AboutModel("given scores"), lower_is_member=lower_is_member
    )
    return with_record_scores(result, {"scores": (values, np.ones(values.size, bool))}, truth, statement.users)


class _Given:
    """Stands for the attack behind scores that were given."""

    version: ClassVar[str] = "given"
    paper: ClassVar[str] = ""


@dataclass(frozen=True)
class AboutModel:
    """What is known of a model beside its scores, for the report.

    Args:
        trained_by: what it is, or what trained it.
        utility: how well it predicts.
        references: reference models behind the attacks.
        data: the records themselves; when members differ from others as data, there is no bound.
        caveats: what a reader must know, one sentence each.
    """

    trained_by: str
    utility: Utility | None = None
    references: int = 0
    data: AsData | None = None
    caveats: Sequence[str] = ()


def one_score_each(scores: FloatArray, member: BoolArray, users: Users | None) -> Scores:
    """Scores joined to the truth, one for each record, or for each user the mean of their records'.

    >>> import numpy as np
    >>> one_score_each(np.array([1.0, 3.0, 0.0]), np.array([True, True, False]), np.array(["a", "a", "b"]))
    Scores(member=array([2.]), nonmember=array([0.]))
    """
    if users is None:
        return Scores.join(scores, member)
    return Scores.join(user_scores(scores, users).scores, user_truth(users, member))


def result_of_scores(
    attacked: Mapping[str, tuple[Named, Scores]],
    member: BoolArray,
    statement: Statement,
    known: AboutModel,
    *,
    lower_is_member: bool = False,
) -> Result:
    """A result from the scores of attacks on one model, with the truth joined to them.

    Args:
        attacked: attacks by name, with their scores.
        member: of all records, shape (records,).
        statement: of the caller.
        known: of the model.
        lower_is_member: whether scores were negated.
    """
    begin = time.monotonic()
    name, unit, adjacency, claim = statement.name, statement.unit, statement.adjacency, statement.claim
    first = next(iter(attacked.values()))[1]
    if statement.design == "one-run":
        refuse_coins(statement.chosen, members=first.member.size, trials=len(first))
    level = ErrorLevel.shared(statement.confidence, len(attacked))
    chosen = NotRandom() if known.data is not None and known.data.blind.differs else statement.chosen
    about = Protection(unit, adjacency, statement.measured_delta)
    terms = Terms(statement.design, about, level.per_bound, chosen)
    outcomes = [
        judge_attack(name, key, attack, scores, terms=terms, seed=derive_seed(statement.seed, "bound", name, key))
        for key, (attack, scores) in attacked.items()
    ]
    outcome = MembershipResult(
        design=statement.design,
        chosen=None if statement.design == "many-runs" else statement.chosen,
        lower_is_member=lower_is_member,
        blind=None if known.data is None else known.data.blind,
        duplicates=None if known.data is None else known.data.duplicates,
        attacks=outcomes,
        references=known.references,
        caveats=list(known.caveats),
    )
    found = Result(
        schema=1,
        name=name,
        title=f"Privacy audit of {name}",
        unit=unit,
        adjacency=adjacency,
        delta=statement.delta,
        provenance=provenance(seed=statement.seed),
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
                trainer=known.trained_by,
                parameters={},
                mechanism=None,
                accounted=account(None, claim, delta=statement.delta, adjacency=adjacency, unit=unit),
                utility=known.utility,
            )
        ],
        comparisons=[],
        membership=outcome,
        timing={"total": round(time.monotonic() - begin, 3)},
    )
    return with_verdicts(found)
