"""The audit ladder on every model of an audit: reconcile, forensics, step canaries, one run, many runs."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from dpaudit._check import BoolArray, FloatArray
from dpaudit.bounds.clopper_pearson import ClopperPearson
from dpaudit.bounds.one_run import OneRun
from dpaudit.bounds.selection import HeldOut
from dpaudit.claim import Claim
from dpaudit.data.canaries import Kind, canaries
from dpaudit.data.dataset import Dataset
from dpaudit.data.inclusion import fair_coins
from dpaudit.errors import InputError
from dpaudit.evidence import Finding, LowerBound
from dpaudit.experiments.audit import Audit, Subject
from dpaudit.forensics.inspection import inspect_mechanism
from dpaudit.forensics.mechanism import Mechanism, Stated
from dpaudit.forensics.reconcile import reconcile_training
from dpaudit.forensics.step_canaries import StepCanaries
from dpaudit.scores import Scores
from dpaudit.signals import logit_scaled_confidence
from dpaudit.training.dp_sgd import DpSgd
from dpaudit.training.tf_privacy import TFPrivacy

Rung = Literal[0, 1, 2, 3, 4]
BOUNDING: tuple[int, ...] = (2, 3, 4)

# Rung -> (name, what it sees, what it cannot see).
RUNGS: dict[int, tuple[str, str, str]] = {
    0: ("reconcile", "a figure that does not follow from the mechanism, shuffling accounted as Poisson", "the code"),
    1: ("forensics", "wrong clipping, noise, seeds and denominators, without false alarms", "the data pipeline"),
    2: ("step canaries", "how much noise there really is, as ε", "the sampler and the data pipeline"),
    3: ("one run", "the whole training at once", "leaks too weak for the number of canaries"),
    4: ("many runs", "everything that one record changes in the final model", "leaks too weak for the number of runs"),
}


class Settings(BaseModel):
    """``[ladder]``: which rungs, and how hard to look on each.

    ``steps`` and ``canaries_per_step`` are those of rung 2; ``canaries`` records of the kind ``canary`` stand behind
    coins in the one run of rung 3; ``runs`` trainings with one canary behind a coin make rung 4.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    rungs: list[Rung] = Field(default=[0, 1, 2, 3], min_length=1)
    canary: Kind = "mislabelled"
    canaries: int = Field(default=100, ge=10)
    steps: int = Field(default=300, ge=1)
    canaries_per_step: int = Field(default=32, ge=1)
    runs: int = Field(default=100, ge=20)

    @field_validator("rungs")
    @classmethod
    def _each_once(cls, rungs: list[Rung]) -> list[Rung]:
        if len(set(rungs)) < len(rungs):
            raise ValueError(f"each rung once, got {rungs}")
        return sorted(rungs)

    @field_validator("canary")
    @classmethod
    def _without_a_public_model(cls, canary: Kind) -> Kind:
        if canary == "found":
            raise ValueError("'found' canaries need a public model, which a plan cannot hold yet")
        return canary

    def bounds(self) -> int:
        """Lower bounds computed per model."""
        return sum(rung in BOUNDING for rung in self.rungs)


class RungOutcome(BaseModel):
    """What one rung found on one model.

    ``skipped`` says why it could not run; empty when it ran.
    """

    model: str
    rung: int
    name: str
    sees: str
    blind_to: str
    findings: list[Finding] = []
    bound: LowerBound | None = None
    noise_multiplier: float | None = None
    seconds: float = 0.0
    skipped: str = ""


class Outcome(BaseModel):
    """The ladder, rung by rung."""

    rungs: list[RungOutcome]

    def bounds(self, model: str) -> list[LowerBound]:
        """Lower bounds on one model's ε."""
        return [rung.bound for rung in self.rungs if rung.model == model and rung.bound is not None]

    def findings(self, model: str) -> list[Finding]:
        """Findings on one model."""
        return [finding for rung in self.rungs if rung.model == model for finding in rung.findings]


def run(settings: Settings, audit: Audit) -> Outcome:
    """Climb every rung with every subject."""
    work: dict[int, Callable[[Settings, Audit, Subject], dict[str, Any] | str]] = {
        0: _reconcile,
        1: _inspect,
        2: _step_canaries,
        3: _one_run,
        4: _many_runs,
    }
    outcomes = []
    with audit.progress.task("climbing the ladder", len(settings.rungs) * len(audit.subjects)) as advance:
        for subject in audit.subjects:
            for rung in settings.rungs:
                name, sees, blind_to = RUNGS[rung]
                start = time.perf_counter()
                found = work[rung](settings, audit, subject)
                facts = {"skipped": found} if isinstance(found, str) else found
                outcomes.append(
                    RungOutcome(
                        model=subject.name,
                        rung=rung,
                        name=name,
                        sees=sees,
                        blind_to=blind_to,
                        seconds=round(time.perf_counter() - start, 3),
                        **facts,
                    )
                )
                advance(1)
    return Outcome(rungs=outcomes)


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


def _one_run(settings: Settings, audit: Audit, subject: Subject) -> dict[str, Any] | str:
    if audit.unit != "record":
        return "its canaries are records, and the audit is about users"
    made, source = _with_canaries(settings, audit, subject, settings.canaries)
    coins = fair_coins(settings.canaries, seed=audit.seed_for("ladder coins", subject.name))
    included = np.concatenate([audit.member, coins])
    trained = subject.trainer(source, included, seed=audit.seed_for("one run", subject.name))
    # How much more the canaries are believed than by the model that never saw one of them.
    scores = _belief(trained.predict, made) - _belief(subject.model.predict, made)
    bound = OneRun(HeldOut(audit.seed_for("ladder threshold", subject.name), 0.5))
    return {"bound": _bound(bound, Scores.join(scores, coins), audit)}


def _many_runs(settings: Settings, audit: Audit, subject: Subject) -> dict[str, Any] | str:
    if audit.unit != "record":
        return "its canaries are records, and the audit is about users"
    made, source = _with_canaries(settings, audit, subject, 1)
    coins = fair_coins(settings.runs, seed=audit.seed_for("many coins", subject.name))
    included = np.concatenate([np.tile(audit.member, (settings.runs, 1)), coins[:, None]], axis=1)
    seeds = [audit.seed_for("many runs", subject.name, run) for run in range(settings.runs)]
    scores = np.array([_belief(predict, made)[0] for predict in _trained(subject, source, included, seeds)])
    bound = ClopperPearson(HeldOut(audit.seed_for("many threshold", subject.name), 0.3))
    return {"bound": _bound(bound, Scores.join(scores, coins), audit)}


def _trained(subject: Subject, source: Dataset, included: BoolArray, seeds: list[int]) -> list[Any]:
    """Predictions of many trainings, stacked where the trainer can."""
    if isinstance(subject.trainer, DpSgd):
        return [model.predict for model in subject.trainer.train_many(source, included, seeds=seeds)]
    return [subject.trainer(source, row, seed=seed).predict for row, seed in zip(included, seeds, strict=True)]


def _with_canaries(settings: Settings, audit: Audit, subject: Subject, count: int) -> tuple[Dataset, Dataset]:
    """The canaries, and the audited data with them at its end; they come from records no model was trained on."""
    if audit.dataset.task not in ("multiclass", "binary"):
        raise InputError(
            f"the canaries of the ladder need classes, and the task of {audit.dataset.name} is "
            f"{audit.dataset.task}; leave out rungs 3 and 4."
        )
    seed = audit.seed_for("canary records", subject.name, count)
    made = canaries(settings.canary, audit.population, count, seed=seed)
    together = replace(
        audit.dataset,
        features=np.concatenate([audit.dataset.features, made.features]),
        labels=np.concatenate([audit.dataset.labels, made.labels]),
        users=None,
    )
    return made, together


def _belief(predict: Any, records: Dataset) -> FloatArray:
    """φ of the canaries' own labels, shape (canaries,)."""
    outputs = np.asarray(predict(records.features), np.float64)
    if outputs.shape[1] == 1:
        signed: FloatArray = np.where(records.classes == 1, outputs[:, 0], -outputs[:, 0])
        return signed
    return logit_scaled_confidence(outputs, records.classes)


def _bound(bound: OneRun | ClopperPearson, scores: Scores, audit: Audit) -> LowerBound:
    return bound(scores, delta=audit.delta, confidence=audit.confidence, adjacency=audit.adjacency, unit="record")


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
    if isinstance(trainer, TFPrivacy) and trainer.optimizer != "dp-sequential":
        from dpaudit.forensics.keras import optimizer

        size = trainer.batch_size
        mechanism = optimizer(trainer.dp_optimizer, batch_size=size, partial=False, seed=seed)
        return mechanism, Stated(trainer.l2_norm_clip, trainer.noise_multiplier, "batch", "zero-out"), claim
    return (
        f"the gradients of a {type(trainer).__name__} trainer cannot be chosen from outside; "
        "write a factory for its step and use `dpaudit inspect`"
    )
