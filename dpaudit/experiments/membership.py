"""Membership inference on every model of an audit: who was trained on?"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Protocol, get_args

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from dpaudit import _check, registry
from dpaudit.bounds.clopper_pearson import ClopperPearson
from dpaudit.bounds.one_run import OneRun
from dpaudit.bounds.selection import HeldOut
from dpaudit.claim import Adjacency, Unit
from dpaudit.evidence import LowerBound
from dpaudit.experiments.audit import Audit, Design, Subject
from dpaudit.roc import Roc, TprAtFpr, auc_standard_error
from dpaudit.scores import Scores
from dpaudit.signals import Signals

FPRS = (0.1, 0.01, 0.001)
CURVE_POINTS = 400


class Named(Protocol):
    """What a result records of an attack."""

    version: ClassVar[str]
    paper: ClassVar[str]


@dataclass(frozen=True)
class Terms:
    """On what terms scores are turned into a lower bound; the fields are those of `Audit`."""

    design: Design
    delta: float
    confidence: float
    adjacency: Adjacency
    unit: Unit

    def __post_init__(self) -> None:
        _check.one_of("design", self.design, get_args(Design))
        _check.delta("delta", self.delta)
        _check.open_unit("confidence", self.confidence)


class AttackSettings(BaseModel):
    """An attack by name, with its parameters beside the name."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    def build(self) -> Any:
        """The attack."""
        return registry.build("membership", self.name, self.model_extra or {}, where=f"attack {self.name!r}")


def _named(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


class Settings(BaseModel):
    """``[membership]``: which attacks."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    attacks: list[Annotated[AttackSettings, BeforeValidator(_named)]] = Field(min_length=1)

    def bounds(self) -> int:
        """Lower bounds computed per model."""
        return len(self.attacks)


class Curve(BaseModel):
    """A ROC curve thinned to what can be seen, with its pointwise 95 % band."""

    fpr: list[float]
    tpr: list[float]
    low: list[float]
    high: list[float]


class AttackOutcome(BaseModel):
    """What one attack found on one model."""

    model: str
    attack: str
    version: str
    paper: str
    members: int
    nonmembers: int
    auc: float
    auc_standard_error: float
    advantage: float
    tpr_at_fpr: list[TprAtFpr]
    bound: LowerBound
    curve: Curve


class Outcome(BaseModel):
    """What the attacks found."""

    design: Design
    attacks: list[AttackOutcome]

    def bounds(self, model: str) -> list[LowerBound]:
        """Lower bounds on one model's ε."""
        return [attack.bound for attack in self.attacks if attack.model == model]


def run(settings: Settings, audit: Audit) -> Outcome:
    """Attack every subject; membership is joined to the scores here and nowhere before."""
    attacks = [(item.name, item.build()) for item in settings.attacks]
    terms = Terms(audit.design, audit.delta, audit.confidence, audit.adjacency, audit.unit)
    outcomes = []
    with audit.progress.task("attacking", len(audit.subjects) * len(attacks)) as advance:
        for subject in audit.subjects:
            signals = observed(audit, subject)
            for name, attack in attacks:
                scores = Scores.join(attack(signals), audit.member)
                seed = audit.seed_for("held-out half", subject.name, name)
                outcomes.append(judged(subject.name, name, attack, scores, terms=terms, seed=seed))
                advance(1)
    return Outcome(design=audit.design, attacks=outcomes)


def observed(audit: Audit, subject: Subject) -> Signals:
    """What an attacker sees of a subject: its outputs on the audited records and on the population."""
    records, population = audit.logits(subject)
    return Signals.from_logits(
        records,
        audit.dataset.labels,
        population=Signals.from_logits(population, audit.population.labels),
    )


def judged(model: str, name: str, attack: Named, scores: Scores, *, terms: Terms, seed: int) -> AttackOutcome:
    """Metrics and lower bound of one attack's scores; ``seed`` splits off the half that chooses the threshold."""
    selection = HeldOut(fraction=0.5, seed=seed)
    bound = OneRun(selection) if terms.design == "one-run" else ClopperPearson(selection)
    roc = Roc.of(scores)
    return AttackOutcome(
        model=model,
        attack=name,
        version=attack.version,
        paper=attack.paper,
        members=roc.members,
        nonmembers=roc.nonmembers,
        auc=roc.auc,
        auc_standard_error=auc_standard_error(scores),
        advantage=roc.advantage,
        tpr_at_fpr=[roc.tpr_at(fpr) for fpr in FPRS],
        bound=bound(scores, delta=terms.delta, confidence=terms.confidence, adjacency=terms.adjacency, unit=terms.unit),
        curve=thinned(roc),
    )


def thinned(roc: Roc) -> Curve:
    """At most `CURVE_POINTS` points, dense where the false-positive rate is small."""
    low, high = roc.band()
    if roc.fpr.size > CURVE_POINTS:
        wanted = np.concatenate(
            [np.geomspace(roc.fpr_floor, 1, CURVE_POINTS // 2), np.linspace(0, 1, CURVE_POINTS // 2)]
        )
        rows = np.unique(np.searchsorted(roc.fpr, np.sort(wanted), side="right") - 1)
    else:
        rows = np.arange(roc.fpr.size)
    return Curve(
        **{
            name: np.round(values[rows], 6).tolist()
            for name, values in {"fpr": roc.fpr, "tpr": roc.tpr, "low": low, "high": high}.items()
        }
    )
