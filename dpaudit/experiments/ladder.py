"""The audit ladder on every model of an audit: reconcile, forensics, step canaries, one run, many runs."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from dpaudit.claim import Claim
from dpaudit.errors import InputError
from dpaudit.experiments.audit import Audit, Subject
from dpaudit.experiments.budget import Allotment, allot
from dpaudit.experiments.canary_runs import many_runs, one_run
from dpaudit.experiments.rungs import RUNGS, Outcome, RungOutcome, Settings, seconds
from dpaudit.files import read_text, write_text
from dpaudit.forensics.inspection import inspect_mechanism
from dpaudit.forensics.mechanism import Mechanism, Stated
from dpaudit.forensics.reconcile import reconcile_training
from dpaudit.forensics.step_canaries import StepCanaries
from dpaudit.training.dp_sgd import DpSgd
from dpaudit.training.tf_privacy import TFPrivacy

CHOICES = "ladder.json"  # in the run folder: what a budget chose, so that a run that goes on does not choose again
ALLOTMENTS = TypeAdapter(dict[str, Allotment])


def run(settings: Settings, audit: Audit) -> Outcome:
    """Climb every rung with every subject.

    With a budget all choices are made, and kept in the run folder, before the first rung is climbed.
    """
    work: dict[int, Callable[[Settings, Audit, Subject], dict[str, Any] | str]] = {
        0: _reconcile,
        1: _inspect,
        2: _step_canaries,
        3: one_run,
        4: many_runs,
    }
    outcomes = []
    allotted = _allotted(settings, audit) if settings.budget is not None else {}
    with audit.progress.task("climbing the ladder", len(settings.rungs) * len(audit.subjects)) as advance:
        for subject in audit.subjects:
            own = allotted.get(subject.name, Allotment(settings=settings, choices=[]))
            choices = {choice.rung: choice for choice in own.choices}
            for rung in settings.rungs:
                name, sees, blind_to = RUNGS[rung]
                start = time.perf_counter()
                chosen = choices.get(rung)
                found = (
                    work[rung](own.settings, audit, subject)
                    if chosen is None or chosen.chosen
                    else f"left out by the budget: {chosen.reason}"
                )
                facts = {"skipped": found} if isinstance(found, str) else found
                outcomes.append(
                    RungOutcome(
                        model=subject.name,
                        rung=rung,
                        name=name,
                        sees=sees,
                        blind_to=blind_to,
                        seconds=round(time.perf_counter() - start, 3),
                        choice=chosen,
                        **facts,
                    )
                )
                advance(1)
    return Outcome(rungs=outcomes)


def _allotted(settings: Settings, audit: Audit) -> dict[str, Allotment]:
    """What the budget gives each subject: an equal share of the time left, or what an earlier run chose."""
    path = audit.folder / CHOICES
    if path.exists():
        try:
            return ALLOTMENTS.validate_json(read_text(path))
        except ValidationError as error:
            raise InputError(f"{path} does not hold what a budget chose; remove it to choose again.") from error
    assert settings.budget is not None
    end = audit.begun + seconds(settings.budget)
    allotted: dict[str, Allotment] = {}
    for position, subject in enumerate(audit.subjects):
        asked = mechanism_of(subject, seed=audit.seed_for("timing", subject.name))
        mechanism = asked if isinstance(asked, str) else asked[0]
        spoken_for = sum(choice.seconds for own in allotted.values() for choice in own.choices)
        left = (end - time.monotonic() - spoken_for) / (len(audit.subjects) - position)
        allotted[subject.name] = allot(settings, audit, subject, mechanism, left)
    write_text(path, ALLOTMENTS.dump_json(allotted, indent=1).decode())
    return allotted


def _reconcile(_: Settings, audit: Audit, subject: Subject) -> dict[str, Any] | str:
    mechanism = subject.model.mechanism
    if subject.claim is None or mechanism is None:
        return "it claims nothing, or was trained without DP"
    return {"findings": list(reconcile_training(subject.claim, mechanism))}


def _inspect(_: Settings, audit: Audit, subject: Subject) -> dict[str, Any] | str:
    asked = mechanism_of(subject, seed=audit.seed_for("forensics", subject.name))
    if isinstance(asked, str):
        return asked
    mechanism, stated, claim = asked
    found = inspect_mechanism(mechanism, stated, seed=audit.seed_for("probe", subject.name), claim=claim)
    return {"findings": list(found.findings), "noise_multiplier": found.noise_multiplier}


def _step_canaries(settings: Settings, audit: Audit, subject: Subject) -> dict[str, Any] | str:
    asked = mechanism_of(subject, seed=audit.seed_for("steps", subject.name))
    if isinstance(asked, str):
        return asked
    mechanism, stated, claim = asked
    if stated.noise_multiplier == 0:
        return "it adds no noise, so there is none to measure"
    audited = StepCanaries(steps=settings.steps, canaries=settings.canaries_per_step)(
        mechanism, stated, claim, confidence=audit.confidence, seed=audit.seed_for("canaries", subject.name)
    )
    # The mechanism is probed with one example zeroed out; its noise is the same under the adjacency of the audit.
    return {
        "bound": replace(audited.bound, adjacency=audit.adjacency),
        "noise_multiplier": audited.noise_multiplier,
    }


def mechanism_of(subject: Subject, *, seed: int) -> tuple[Mechanism, Stated, Claim] | str:
    """A subject's trainer as a mechanism with what it states; a reason where its gradients cannot be chosen."""
    trainer, ran = subject.trainer, subject.model.mechanism
    if ran is None or subject.claim is None:
        return "it claims nothing, or was trained without DP"
    claim = replace(subject.claim, adjacency="zero-out", mechanism=replace(ran, slack=0.0))
    if isinstance(trainer, DpSgd) and trainer.l2_norm_clip is not None:
        from dpaudit.forensics.stacked import stacked_step

        clip, noise, size = trainer.l2_norm_clip, trainer.noise_multiplier, trainer.batch_size
        mechanism = stacked_step(clip=clip, noise_multiplier=noise, denominator=size, seed=seed)
        return mechanism, Stated(clip, noise, size, "zero-out"), claim
    if isinstance(trainer, TFPrivacy):
        from dpaudit._tensorflow import keras
        from dpaudit.forensics.keras import model, optimizer

        size = trainer.batch_size
        if trainer.optimizer == "dp-sequential":
            mechanism = model(lambda ls: trainer.dp_sequential(keras.Sequential(ls)), batch_size=size, seed=seed)
        else:
            mechanism = optimizer(trainer.dp_optimizer, batch_size=size, partial=False, seed=seed)
        return mechanism, Stated(trainer.l2_norm_clip, trainer.noise_multiplier, "batch", "zero-out"), claim
    return (
        f"the gradients of a {type(trainer).__name__} trainer cannot be chosen from outside; "
        "write a factory for its step and use `dpaudit inspect`"
    )
