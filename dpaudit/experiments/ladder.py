"""The audit ladder on every model of an audit: reconcile, forensics, step canaries, one run, many runs."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from dpaudit.errors import InputError
from dpaudit.experiments.audit import Audit, Subject
from dpaudit.experiments.budget import Allotment, allot
from dpaudit.experiments.canary_runs import many_runs, one_run
from dpaudit.experiments.mechanisms import mechanism_of
from dpaudit.experiments.rungs import RUNGS, Settings, seconds
from dpaudit.files import read_text, write_text
from dpaudit.forensics.federated import Server, inspect_server
from dpaudit.forensics.inspection import inspect_mechanism
from dpaudit.forensics.reconcile import reconcile_training
from dpaudit.forensics.step_canaries import StepCanaries
from dpaudit.results.ladder import LadderResult, RungResult

CHOICES = "ladder.json"  # in the run folder: what a budget chose, so that a run that goes on does not choose again
ALLOTMENTS = TypeAdapter(dict[str, Allotment])


def run(settings: Settings, audit: Audit) -> LadderResult:
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
                    RungResult(
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
    return LadderResult(rungs=outcomes)


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
        asked = mechanism_of(audit, subject, seed=audit.seed_for("timing", subject.name))
        mechanism = asked if isinstance(asked, str) else asked[0]
        own = settings
        if isinstance(mechanism, Server):
            own, mechanism = _for_server(settings, mechanism), mechanism.mechanism()
        spoken_for = sum(choice.seconds for given in allotted.values() for choice in given.choices)
        left = (end - time.monotonic() - spoken_for) / (len(audit.subjects) - position)
        allotted[subject.name] = allot(own, audit, subject, mechanism, left)
    write_text(path, ALLOTMENTS.dump_json(allotted, indent=1).decode())
    return allotted


def _reconcile(_: Settings, audit: Audit, subject: Subject) -> dict[str, Any] | str:
    mechanism = subject.model.mechanism
    if subject.claim is None or mechanism is None:
        return "it claims nothing, or was trained without DP"
    return {"findings": list(reconcile_training(subject.claim, mechanism))}


def _inspect(_: Settings, audit: Audit, subject: Subject) -> dict[str, Any] | str:
    asked = mechanism_of(audit, subject, seed=audit.seed_for("forensics", subject.name))
    if isinstance(asked, str):
        return asked
    mechanism, stated, claim = asked
    seed = audit.seed_for("probe", subject.name)
    if isinstance(mechanism, Server):
        found = inspect_server(mechanism, stated, seed=seed, claim=claim)
    else:
        found = inspect_mechanism(mechanism, stated, seed=seed, claim=claim)
    return {"findings": list(found.findings), "noise_multiplier": found.noise_multiplier}


def _step_canaries(settings: Settings, audit: Audit, subject: Subject) -> dict[str, Any] | str:
    asked = mechanism_of(audit, subject, seed=audit.seed_for("steps", subject.name))
    if isinstance(asked, str):
        return asked
    mechanism, stated, claim = asked
    if stated.noise_multiplier == 0:
        return "it adds no noise, so there is none to measure"
    if isinstance(mechanism, Server):
        settings, mechanism = _for_server(settings, mechanism), mechanism.canary_rounds(stated.clip)
    audited = StepCanaries(steps=settings.steps, canaries=settings.canaries_per_step)(
        mechanism, stated, claim, confidence=audit.confidence, seed=audit.seed_for("canaries", subject.name)
    )
    # Most mechanisms are probed with one example zeroed out; their noise is the same under the adjacency of the audit.
    return {
        "bound": replace(audited.bound, adjacency=audit.adjacency),
        "noise_multiplier": audited.noise_multiplier,
    }


def _for_server(settings: Settings, server: Server) -> Settings:
    """No more canaries in a round than a server's weights would show."""
    return settings.model_copy(update={"canaries_per_step": min(settings.canaries_per_step, server.canaries)})
