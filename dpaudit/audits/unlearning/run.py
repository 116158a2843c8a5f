"""Unlearning as an experiment: is a record that was forgotten told from one that was never there?

The attack is U-LiRA of `Hayes et al. (2024) <https://arxiv.org/abs/2403.01218>`_, which judges each record by models
of its own. The records are included by independent random choices, for every model anew, so that one set of models
serves all records. The bound is that of one run over the choices of all judged models together: it takes the choices
as independent, which they are, and nothing else. Scores of records within one model may depend on each other.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from dpaudit.attacks.membership.lira import Lira
from dpaudit.audits.audit import Audit, Subject
from dpaudit.audits.membership.judgement import Terms, judge_attack
from dpaudit.audits.unlearning.forget_set import ForgetSet, choose_forget_set
from dpaudit.audits.unlearning.settings import UnlearningSettings
from dpaudit.audits.unlearning.tasks import Answers, UnlearnModels
from dpaudit.data.inclusion import complementary_pairs, fair_coins
from dpaudit.data.member_choice import Coins
from dpaudit.data.source import Records
from dpaudit.results.unlearning import UnlearnedModel, UnlearningResult, UnlearningState
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.scores import Scores
from dpaudit.scores.signals import Signals
from dpaudit.scores.vulnerable_records import Exposed, find_exposed
from dpaudit.training.capabilities import reference_trainer, require_records
from dpaudit.training.reference_models.masks import Packed
from dpaudit.training.reference_models.task_cache import in_order, run_cached, store_of

AT_A_TIME = 32  # models trained together
FDR = 0.05  # of the list of records that still show
ATTACK = "u-lira"
ABOUT_ATTACK = {"version": "u-lira/1", "paper": "Hayes et al. (2024), arXiv 2403.01218"}
STATES = ("before", "after", "retrained")


def audit_unlearning(settings: UnlearningSettings, audit: Audit) -> UnlearningResult:
    """Train models like every subject, make them forget, and tell forgotten records from those never there.

    Raises:
        InputError: no such records, too few that stay, or a method that cannot be had or returns no model.
    """
    chosen = choose_forget_set(settings.forget, audit)
    asked = _requests(settings, len(chosen.names), audit)
    found = [_unlearned(settings, audit, subject, chosen, asked) for subject in audit.subjects]
    task = audit.dataset.task
    return UnlearningResult(
        method=settings.method,
        epsilon=settings.epsilon,
        forgotten=len(chosen.names),
        rest=len(chosen.records) - len(chosen.names),
        references=settings.references,
        models=settings.models,
        metric="mean squared error" if task == "regression" else "accuracy",
        found=found,
    )


def check_requests(settings: UnlearningSettings, audit: Audit) -> None:
    """Refuse, before anything is trained, what `audit_unlearning` would refuse of the records."""
    _requests(settings, len(choose_forget_set(settings.forget, audit).names), audit)


def _requests(settings: UnlearningSettings, forgotten: int, audit: Audit) -> BoolArray:
    """What each model holds and is to forget, shape (references + models, forgotten); references come in pairs."""
    seed = audit.seed_for("unlearning", "requests")
    judged = fair_coins(settings.models * forgotten, seed=seed).reshape(settings.models, forgotten)
    if judged.all() or not judged.any():
        raise InputError(
            f"unlearning: with {settings.models} model(s) and {forgotten} records every choice fell on one side; "
            "give more models or records."
        )
    pairs = complementary_pairs(settings.references, forgotten, seed=audit.seed_for("unlearning", "pairs"))
    return np.concatenate([pairs, judged])


def _unlearned(
    settings: UnlearningSettings, audit: Audit, subject: Subject, chosen: ForgetSet, asked: BoolArray
) -> UnlearnedModel:
    trainer = reference_trainer(subject.trainer, chosen.records)
    stays = np.ones((1, len(chosen.records) - len(chosen.names)), bool)
    require_records(trainer, stays, name=f"the records of {chosen.records.name} that stay")
    answers = _answers(settings, audit, subject, chosen, asked)
    states = []
    for place, state in enumerate(STATES[: len(answers.phi)]):
        exposed = find_exposed(answers.phi[place][: settings.references], asked[: settings.references], fdr=FDR)
        scores = u_lira(answers.phi[place], asked, references=settings.references)
        judged = asked[settings.references :]
        attack = judge_attack(
            subject.name,
            ATTACK,
            Lira(),
            Scores.join(scores.ravel(), judged.ravel()),
            terms=Terms("one-run", audit.protection, audit.confidence, Coins()),
            seed=audit.seed_for("unlearning bound", subject.name, state),
        )
        values: dict[str, Any] = {
            "state": state,
            "attack": attack.model_copy(update=ABOUT_ATTACK),
            "quality": round(float(answers.quality[place][settings.references :].mean()), 6),
            "exposed": _named(exposed, chosen),
        }
        states.append(UnlearningState(**values))
    return UnlearnedModel(model=subject.name, stacked=trainer is not subject.trainer, states=states)


def _answers(
    settings: UnlearningSettings, audit: Audit, subject: Subject, chosen: ForgetSet, asked: BoolArray
) -> Answers:
    """What all models answer, the references first; trained some at a time, and kept."""
    trainer = reference_trainer(subject.trainer, chosen.records)
    method, records = settings.build(), Records.of(chosen.records, chosen.population)
    seeds = [audit.seed_for("unlearning", subject.name, model) for model in range(len(asked))]
    tasks = {
        f"make models of {subject.name} forget, from number {part.start}": UnlearnModels(
            trainer, method, records, Packed.of(asked[part]), tuple(seeds[part])
        )
        for part in (slice(first, first + AT_A_TIME) for first in range(0, len(asked), AT_A_TIME))
    }
    with audit.progress.task(f"unlearning from {subject.name}", len(tasks)) as advance:
        store, workers, memory = store_of(audit.folder / "unlearning"), audit.workers, audit.memory
        results = run_cached(tasks, Answers, store=store, workers=workers, memory=memory, done=lambda name: advance(1))
        parts = list(in_order(results, tasks))
    return Answers(
        np.concatenate([part.phi for part in parts], axis=1), np.concatenate([part.quality for part in parts], axis=1)
    )


def u_lira(phi: FloatArray, asked: BoolArray, *, references: int) -> FloatArray:
    """Scores of the judged models' records, shape (judged models, records): higher where the model once held it.

    For each record the likelihood ratio of φ among references that were made to forget it over those that never held
    it. Where the references of a side all say the same of every record there is no law to fit, and the score is how
    much nearer φ is to one side than to the other.

    Args:
        phi: of the records, shape (models, records), the references first.
        asked: which model held which record and was made to forget it, in the same shape.
        references: how many models are references; the choices of the others are not looked at.

    >>> phi = np.array([[2.0], [3.0], [-3.0], [-2.0], [2.5], [-2.5]])
    >>> asked = np.array([[True], [True], [False], [False], [True], [False]])
    >>> u_lira(phi, asked, references=4).round(1).tolist()
    [[16.7], [-16.7]]
    """
    known, held, judged = phi[:references], asked[:references], phi[references:]
    sides = [np.where(side, known, np.nan) for side in (held, ~held)]
    if any((np.nanmax(side, axis=0) == np.nanmin(side, axis=0)).all() for side in sides):
        inside, outside = (np.nanmean(side, axis=0) for side in sides)
        nearer: FloatArray = np.abs(judged - outside) - np.abs(judged - inside)
        return nearer
    attack = Lira()
    return np.stack([attack(Signals(each, reference=known, included=held)) for each in judged])


def _named(exposed: Exposed, chosen: ForgetSet) -> Exposed:
    return replace(exposed, records=tuple(chosen.names[list(exposed.records)].tolist()))
