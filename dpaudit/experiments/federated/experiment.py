"""The order of the audits of federated models, their settings and what they found."""

from pydantic import BaseModel, ConfigDict, Field

from dpaudit.errors import InputError
from dpaudit.evidence import LowerBound
from dpaudit.experiments.audit import Audit
from dpaudit.experiments.federated.canaries import Canary, CanaryOutcome, canary_audit
from dpaudit.experiments.federated.course import Course, Fairness, course, fairness
from dpaudit.experiments.federated.users import UserOutcome, View, user_audit
from dpaudit.experiments.federated.watched import Watched
from dpaudit.training.federated.trainer import Federated


class Settings(BaseModel):
    """``[federated]``: which audits of federated models.

    ``users``: what the attacker who looks for users sees; it needs user-level coins (``audit.unit = "user"``).
    ``references``: federations trained like the model, whose users are known to the attacker; they serve the view of
    the final model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    canaries: Canary | None = None
    users: list[View] = []
    references: int = Field(default=0, ge=0)

    def bounds(self) -> int:
        """Lower bounds computed per model."""
        return (len(self.canaries.views) if self.canaries is not None else 0) + len(self.users)


class Outcome(BaseModel):
    """What the audits of federated models found."""

    canaries: list[CanaryOutcome] = []
    users: list[UserOutcome] = []
    fairness: list[Fairness] = []
    courses: list[Course] = []

    def bounds(self, model: str) -> list[LowerBound]:
        """Lower bounds on one model's ε."""
        return [found.bound for found in self.canaries if found.model == model] + [
            found.bound for found in self.users if found.model == model
        ]


def run(settings: Settings, audit: Audit) -> Outcome:
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
    outcome = Outcome()
    with audit.progress.task("auditing federations", len(subjects)) as advance:
        for subject in subjects:
            assert isinstance(subject.trainer, Federated)
            prepared = subject.trainer.prepare(audit.dataset, seed=audit.seed_for("start", subject.name))
            owner = subject.trainer.owner(audit.dataset)
            watched = Watched(audit, subject, prepared, owner)
            outcome.courses.append(course(subject, watched.ledger, audit.delta, audit.adjacency))
            outcome.fairness.append(fairness(subject.name, audit, subject.model.predict, owner))
            if settings.canaries is not None:
                outcome.canaries += canary_audit(subject.name, prepared, owner, settings.canaries, audit)
            for view in settings.users:
                outcome.users.append(user_audit(subject, view, watched, settings.references, audit))
            advance(1)
    return outcome
