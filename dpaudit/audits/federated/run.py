"""The order of the audits of federated models, their settings and what they found."""

from pydantic import BaseModel, ConfigDict, Field

from dpaudit.audits.audit import Audit, Subject
from dpaudit.audits.federated.course import course, measure_fairness
from dpaudit.audits.federated.gradient_canaries import Canary, canary_audit
from dpaudit.audits.federated.multi_canaries import Lifted, lifted_audit
from dpaudit.audits.federated.record_canaries import Crafted, KeptRounds, crafted_audit, require_fresh_noise
from dpaudit.audits.federated.update_inference import (
    Inference,
    Updates,
    property_inference,
    require_updates,
    source_inference,
)
from dpaudit.audits.federated.user_membership import user_audit
from dpaudit.audits.federated.watched import RoundObserver, Watched
from dpaudit.results.federated import FederatedResult, UserView
from dpaudit.runtime.errors import InputError
from dpaudit.training.federated.trainer import Federated


class FederatedSettings(BaseModel):
    """``[federated]``: audits of federated models.

    ``users``: what the attacker sees in membership inference for users; it needs ``audit.unit = "user"``.
    ``references``: federations trained like the model, with known users, for the view of the final model.
    ``lifted``: a multi-canary (LiDP) audit of many federations. ``crafted``: CANIFE canaries. ``inference``: what
    single updates show of their clients. Each has a table of its own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    canaries: Canary | None = None
    users: list[UserView] = []
    references: int = Field(default=0, ge=0)
    lifted: Lifted | None = None
    crafted: Crafted | None = None
    inference: Inference | None = None

    def bounds(self) -> int:
        """Lower bounds computed per model."""
        canaries = len(self.canaries.views) if self.canaries is not None else 0
        crafted = self.crafted.rounds if self.crafted is not None else 0
        return canaries + crafted + (self.lifted is not None) + len(self.users)


def audit_federations(settings: FederatedSettings, audit: Audit) -> FederatedResult:
    """Audit every federated subject.

    Raises:
        InputError: no subject is federated, users are looked for under record-level coins, or there are too many
            canary clients for the number of trained parameters.
    """
    subjects = [subject for subject in audit.subjects if isinstance(subject.trainer, Federated)]
    if not subjects:
        raise InputError("[federated] audits models of the trainer 'federated', and the plan has none.")
    if settings.users and audit.unit != "user":
        raise InputError('federated.users needs coins per user; set audit.unit = "user".')
    outcome = FederatedResult()
    with audit.progress.task("auditing federations", len(subjects)) as advance:
        for subject in subjects:
            _audit_one(settings, audit, subject, outcome)
            advance(1)
    return outcome


def _audit_one(settings: FederatedSettings, audit: Audit, subject: Subject, outcome: FederatedResult) -> None:
    trainer, name = subject.trainer, subject.name
    assert isinstance(trainer, Federated)
    prepared, owner = trainer.prepare(audit.dataset, seed=audit.seed_for("start", name)), trainer.owner(audit.dataset)
    observers: list[RoundObserver] = []
    if settings.crafted is not None:
        require_fresh_noise(name, trainer.aggregator)
        moments = KeptRounds(trainer.rounds, settings.crafted.rounds)
        observers.append(moments)
    if settings.inference is not None:
        require_updates(name, trainer.aggregator)
        updates = Updates(
            trainer.aggregator, trainer.rounds, settings.inference.rounds, seed=audit.seed_for("seen updates", name)
        )
        observers.append(updates)
    watched = Watched(audit, subject, prepared, owner, observers=observers)
    outcome.courses.append(course(subject, watched.ledger, audit.delta, audit.adjacency))
    outcome.fairness.append(measure_fairness(name, audit, subject.model.predict, owner))
    if settings.canaries is not None:
        outcome.canaries += canary_audit(name, prepared, owner, settings.canaries, audit)
    if settings.lifted is not None:
        outcome.lifted.append(lifted_audit(name, prepared, owner, settings.lifted, audit))
    if settings.crafted is not None:
        roster = int(owner.max()) + 1
        outcome.crafted += crafted_audit(subject, prepared, roster, moments.seen, settings.crafted, audit)
    for view in settings.users:
        outcome.users.append(user_audit(subject, view, watched, settings.references, audit))
    if settings.inference is not None:
        if settings.inference.records:
            count = settings.inference.records
            outcome.sources.append(source_inference(name, prepared, updates, owner, count, audit))
        for wanted in settings.inference.classes:
            shadows = settings.inference.shadows
            outcome.properties.append(property_inference(name, prepared, updates, owner, wanted, shadows, audit))
