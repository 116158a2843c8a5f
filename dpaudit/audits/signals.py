"""Attack one model by its signals, and put what is found into a result."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from dpaudit.attacks.membership.pools import audited_part
from dpaudit.audits.membership.attack_jobs import resolve_attack
from dpaudit.audits.membership.judgement import FPRS
from dpaudit.audits.membership.run import chosen_groups
from dpaudit.audits.record_scores import with_record_scores
from dpaudit.audits.score import AboutModel, one_score_each, result_of_scores
from dpaudit.audits.statement import Statement
from dpaudit.data.dataset import Task
from dpaudit.results.membership import SkippedAttack
from dpaudit.results.result import Result, Utility
from dpaudit.runtime import plugins as registry
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.out_of_core import current_room
from dpaudit.runtime.progress import Progress, Silent
from dpaudit.scores.sanity import learned_nothing
from dpaudit.scores.signals import Signals
from dpaudit.scores.slices import judge_slices

# By the knowledge they need; an attack whose knowledge is not at hand is left out and named in the result.
DEFAULT_ATTACKS = (
    "loss",
    "confidence",
    "entropy",
    "modified-entropy",
    "hinge",
    "gap",
    "attack-p",
    "quantile",
    "auto",
    "base",
    "rmia",
    "lira",
    "attack-r",
    "calibrated",
)


def attack_signals(
    signals: Signals,
    member: BoolArray,
    statement: Statement,
    known: AboutModel,
    *,
    attacks: Sequence[str] = (),
    slices: Mapping[str, object] | None = None,
    classes: Sequence[str] = (),
    progress: Progress | None = None,
) -> Result:
    """Run attacks on signals, join the truth, and put the findings into a result.

    An attack that is named and cannot run is an error; of the default ones those that lack something are left out,
    with the reason in the result.

    Args:
        signals: of the model, for all records.
        member: whether each was trained on, shape (records,).
        statement: of the caller.
        known: of the model.
        attacks: names as in the registry; all that can run when empty.
        slices: further columns to slice the records by, each with one value per record.
        classes: names of the classes.
        progress: where long steps say how far they are.
    """
    users = statement.users
    if users is not None and slices:
        raise InputError("slices are of records, and with users there is one score a user: leave one of them out.")
    current_room().need(len(signals))
    scored: dict[str, tuple[Any, FloatArray, BoolArray]] = {}
    skipped: list[SkippedAttack] = []
    names = list(attacks) or list(DEFAULT_ATTACKS)
    with (progress or Silent()).task("attacking", len(names)) as advance:
        for one in names:
            attack = registry.build("membership", one, {}, where=f"attack {one!r}")
            try:
                seen, kept = audited_part(attack, signals, member)
                scores, judged = attack(seen), kept
                if users is not None:  # the membership of one record tells that of all records of its user
                    judged = kept & ~np.isin(users, users[~kept])
                    if not judged.any():
                        raise InputError(f"{one} is told the membership of some record of every user: none is left.")
                scored[one] = (resolve_attack(attack, signals), scores[judged[kept]], judged)
            except InputError as error:
                if attacks:
                    raise
                skipped.append(SkippedAttack(attack=one, reason=str(error)))
            advance(1)
    result = result_of_scores(
        {
            one: (attack, one_score_each(scores, member[kept], None if users is None else users[kept]))
            for one, (attack, scores, kept) in scored.items()
        },
        member,
        statement,
        replace(known, caveats=[*known.caveats, *filter(None, [learned_nothing(signals, member, statement.name)])]),
    )
    assert result.membership is not None
    columns = {by: np.asarray(values) for by, values in (slices or {}).items()}
    if classes and signals.labels is not None:  # under its name a class is found again, under its place it is not
        columns.setdefault("class", np.asarray(classes)[signals.labels])
    groups = {} if users is not None else chosen_groups(signals, [*_slices(signals), *columns], columns)
    found = []
    for outcome in result.membership.attacks:
        _, scores, kept = scored[outcome.attack]
        update: dict[str, object] = {"spent": int((~kept).sum())}
        if groups:
            parts = {by: values[kept] for by, values in groups.items()}
            update["slices"] = judge_slices(scores, member[kept], parts, fpr=FPRS[0])
        found.append(outcome.model_copy(update=update))
    update = {"attacks": found, "skipped": skipped, "floored": {statement.name: signals.floored}}
    result = result.model_copy(update={"membership": result.membership.model_copy(update=update)})
    seen_by = {one: (scores, kept) for one, (_, scores, kept) in scored.items()}
    return with_record_scores(result, seen_by, member, users)


def _slices(signals: Signals) -> list[str]:
    return ["loss"] if signals.log_probabilities is None else ["class", "loss", "classified"]


def utility_of(task: Task, signals: Signals, outputs: object, labels: object, member: BoolArray) -> Utility | None:
    """Accuracy, or the mean squared error of a regression; None where several labels are given for each record."""
    if signals.log_probabilities is not None:
        metric: Literal["accuracy", "mean squared error"] = "accuracy"
        each = signals.correct().astype(np.float64)
    elif task == "regression":
        metric = "mean squared error"
        truth, predicted = (np.asarray(part, np.float64).reshape(member.size, -1) for part in (labels, outputs))
        each = np.square(predicted - truth).mean(axis=1)
    else:
        return None
    return Utility(metric=metric, train=float(each[member].mean()), test=float(each[~member].mean()))
