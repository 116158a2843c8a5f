"""The audit ladder on every model of an audit: reconcile, forensics, step canaries, one run, many runs."""

import time
from collections.abc import Callable
from dataclasses import replace

from pydantic import TypeAdapter, ValidationError

from dpaudit.audits.audit import Audit, Subject
from dpaudit.audits.ladder.budget import Allotment, allot_budget
from dpaudit.audits.ladder.canary_runs import audit_many_runs, audit_one_run
from dpaudit.audits.ladder.settings import RUNGS, LadderSettings, RungFindings, seconds
from dpaudit.audits.ladder.trainer_under_test import NOTHING_CLAIMED, StepUnderTest, mechanism_of
from dpaudit.bounds.lower_bound import Skipped
from dpaudit.inspection.reconcile import reconcile_training
from dpaudit.inspection.step_canaries import StepCanaries
from dpaudit.results.ladder import LadderResult, RungResult
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import read_text, write_text

CHOICES = "ladder.json"  # in the run folder: what a budget chose, so that a run that goes on does not choose again
ALLOTMENTS = TypeAdapter(dict[str, Allotment])


def audit_ladder(settings: LadderSettings, audit: Audit) -> LadderResult:
    """Climb every rung with every subject.

    With a budget all choices are made, and kept in the run folder, before the first rung is climbed.
    """
    work: dict[int, Callable[[LadderSettings, Audit, Subject], RungFindings | Skipped]] = {
        0: _reconcile,
        1: _inspect,
        2: _step_canaries,
        3: audit_one_run,
        4: audit_many_runs,
    }
    outcomes = []
    allotted = _allotted(settings, audit) if settings.budget is not None else {}
    with audit.progress.task("climbing the ladder", len(settings.rungs) * len(audit.subjects)) as advance:
        for subject in audit.subjects:
            own = allotted.get(subject.name, Allotment(settings=settings, choices=[]))
            choices = {choice.rung: choice for choice in own.choices}
            for rung in settings.rungs:
                name, _, blind_to = RUNGS[rung]
                start = time.perf_counter()
                chosen = choices.get(rung)
                found = (
                    work[rung](own.settings, audit, subject)
                    if chosen is None or chosen.chosen
                    else Skipped(f"left out by the budget: {chosen.reason}")
                )
                skipped, facts = (found.reason, RungFindings()) if isinstance(found, Skipped) else ("", found)
                outcomes.append(
                    RungResult(
                        model=subject.name,
                        rung=rung,
                        name=name,
                        sees=settings.sees(rung),
                        blind_to=blind_to,
                        seconds=round(time.perf_counter() - start, 3),
                        choice=chosen,
                        skipped=skipped,
                        findings=list(facts.findings),
                        bound=facts.bound,
                        noise_multiplier=facts.noise_multiplier,
                    )
                )
                advance(1)
    return LadderResult(rungs=outcomes)


def _allotted(settings: LadderSettings, audit: Audit) -> dict[str, Allotment]:
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
        own, mechanism = settings, asked if isinstance(asked, Skipped) else asked.under_test.mechanism
        if not isinstance(asked, Skipped):
            own = _as_shown(settings, asked)
        spoken_for = sum(choice.seconds for given in allotted.values() for choice in given.choices)
        left = (end - time.monotonic() - spoken_for) / (len(audit.subjects) - position)
        allotted[subject.name] = allot_budget(own, audit, subject, mechanism, left)
    write_text(path, ALLOTMENTS.dump_json(allotted, indent=1).decode())
    return allotted


def _reconcile(_: LadderSettings, audit: Audit, subject: Subject) -> RungFindings | Skipped:
    mechanism = subject.model.mechanism
    if subject.claim is None or mechanism is None:
        return NOTHING_CLAIMED
    return RungFindings(findings=tuple(reconcile_training(subject.claim, mechanism)))


def _inspect(_: LadderSettings, audit: Audit, subject: Subject) -> RungFindings | Skipped:
    asked = mechanism_of(audit, subject, seed=audit.seed_for("forensics", subject.name))
    if isinstance(asked, Skipped):
        return asked
    found = asked.under_test.inspect(seed=audit.seed_for("probe", subject.name), claim=asked.claim)
    return RungFindings(findings=tuple(found.findings), noise_multiplier=found.noise_multiplier)


def _step_canaries(settings: LadderSettings, audit: Audit, subject: Subject) -> RungFindings | Skipped:
    asked = mechanism_of(audit, subject, seed=audit.seed_for("steps", subject.name))
    if isinstance(asked, Skipped):
        return asked
    stated = asked.under_test.stated
    if stated.noise_multiplier == 0:
        return Skipped("it adds no noise, so there is none to measure")
    audited = StepCanaries(steps=settings.steps, canaries=_as_shown(settings, asked).canaries_per_step)(
        asked.under_test.with_canaries(),
        stated,
        asked.claim,
        confidence=audit.confidence,
        seed=audit.seed_for("canaries", subject.name),
    )
    # Most mechanisms are probed with one example zeroed out; their noise is the same under the adjacency of the audit.
    return RungFindings(
        bound=replace(audited.bound, adjacency=audit.adjacency),
        noise_multiplier=audited.noise_multiplier,
    )


def _as_shown(settings: LadderSettings, asked: StepUnderTest) -> LadderSettings:
    """No more canaries in a step than the step can show."""
    canaries = asked.under_test.canaries(settings.canaries_per_step)
    return settings.model_copy(update={"canaries_per_step": canaries})
