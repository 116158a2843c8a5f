"""Audits of federated training: canary clients, user-level membership, and how the clients fare.

Everything here speaks of users. Canary clients and the attacks that need to watch every round take part in a second
training by the same recipe; what an attacker of the released model can do is measured on the model under audit itself.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.special import expit, log_softmax

from dpaudit._check import BoolArray, FloatArray, IntArray
from dpaudit.attacks.membership.lira import Lira
from dpaudit.bounds.one_run import OneRun
from dpaudit.bounds.one_shot import OneShot, two_normals
from dpaudit.bounds.selection import UnionGuesses
from dpaudit.claim import Adjacency
from dpaudit.data.dataset import Dataset
from dpaudit.data.users import rows_of
from dpaudit.errors import InputError
from dpaudit.evidence import Estimate, LowerBound
from dpaudit.experiments.audit import Audit, Subject
from dpaudit.roc import Roc, auc_standard_error
from dpaudit.scores import Scores
from dpaudit.signals import Signals
from dpaudit.training.federated.ledger import Entry, epsilon_by_round
from dpaudit.training.federated.trainer import Federated

View = Literal["final-model", "every-round", "releases"]
SHARES = (0.2, 1.0)  # of the canaries or users to guess; both are paid for
RIDGE = 0.01  # of unit vectors' products: candidates draw other batches than the real clients did
ROUNDS_SHOWN = 20


class Canary(BaseModel):
    """``[federated.canaries]``: clients that send random unit vectors, each there or not by a fair coin.

    ``norm`` is what they send to a server that does not clip.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    clients: int = Field(ge=10)
    views: list[Literal["final-model", "every-round"]] = Field(default=["final-model", "every-round"], min_length=1)
    norm: float = Field(default=1.0, gt=0)


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


class CanaryOutcome(BaseModel):
    """What the canary clients of one model showed in one view."""

    model: str
    view: str
    canaries: int
    present: int
    dimension: int
    mean_cosine: float
    estimate: Estimate
    bound: LowerBound


class UserOutcome(BaseModel):
    """How well users are told from non-users in one view of one model."""

    model: str
    view: str
    references: int
    users: int
    members: int
    auc: float
    auc_standard_error: float
    bound: LowerBound


class Fairness(BaseModel):
    """How good one model is for its clients, on records it was not trained on.

    ``metric`` is accuracy, or mean squared error for a regression. ``gap`` is between the best and the worst client.
    """

    model: str
    metric: Literal["accuracy", "mean squared error"]
    clients: int
    overall: float
    mean: float
    best: float
    worst: float
    gap: float


class Round(BaseModel):
    """One round of a training: what was clipped, sent and spent so far."""

    number: int
    answered: int
    clip: float | None
    noise_multiplier: float | None
    epsilon: float | None
    kilobytes: float


class Course(BaseModel):
    """The course of one training."""

    model: str
    rounds: list[Round]
    total_kilobytes: float
    given_up: int


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
            watched = _Watched(audit, subject, prepared, owner)
            outcome.courses.append(_course(subject, watched.ledger, audit.delta, audit.adjacency))
            outcome.fairness.append(fairness(subject.name, audit, subject.model.predict, owner))
            if settings.canaries is not None:
                outcome.canaries += canary_audit(subject.name, prepared, owner, settings.canaries, audit)
            for view in settings.users:
                outcome.users.append(_user_audit(subject, view, watched, settings.references, audit))
            advance(1)
    return outcome


class _Watched:
    """A second training of a subject, with every round's model and release kept."""

    def __init__(self, audit: Audit, subject: Subject, prepared: Any, owner: IntArray) -> None:
        self.prepared, self.owner = prepared, owner
        self.before: list[Any] = []
        self.released: list[Any] = []

        def observe(moment: Any) -> None:
            if moment.mean is not None:
                self.before.append(moment.before)
                self.released.append(np.concatenate([np.ravel(part) for part in moment.mean]))

        rows = rows_of(owner, included=audit.member)
        seed = audit.seed_for("watched", subject.name)
        self.models, (self.ledger,) = prepared([rows], seed=seed, observe=observe)


def canary_audit(name: str, prepared: Any, owner: IntArray, settings: Canary, audit: Audit) -> list[CanaryOutcome]:
    """Canary clients in one training, `Andrew et al. (2023) <https://arxiv.org/abs/2302.03098>`_.

    Their coins make the bound a one-run audit of adding a client, which holds for any mechanism; the paper's own figure
    stands beside it as an estimate.
    """
    from dpaudit.training.federated.simulation import Canaries

    dimension = prepared.coordinates
    if settings.clients > dimension / 2:
        raise InputError(
            f"{name!r} trains {dimension} parameters: {settings.clients} canary clients would not be told apart; "
            f"at most {dimension // 2} would."
        )
    rng = np.random.default_rng(audit.seed_for("canary directions", name))
    directions = rng.normal(size=(settings.clients, dimension))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    present = np.random.default_rng(audit.seed_for("canary coins", name)).random(settings.clients) < 0.5
    every = np.full(settings.clients, -np.inf)

    def observe(moment: Any) -> None:
        if moment.mean is not None:
            release = np.concatenate([np.ravel(part) for part in moment.mean]).astype(np.float64)
            np.maximum(every, _cosines(directions, release), out=every)

    models, _ = prepared(
        [rows_of(owner, included=audit.member)],
        seed=audit.seed_for("canary training", name),
        canaries=Canaries(directions.astype(np.float32), present, settings.norm),
        observe=observe,
    )
    first, last = (prepared.trained_part(prepared.network.weights(model, 0)) for model in (prepared.start, models))
    found = []
    for view in settings.views:
        scores = _cosines(directions, last - first) if view == "final-model" else every
        seen = scores[present]
        found.append(
            CanaryOutcome(
                model=name,
                view=view,
                canaries=settings.clients,
                present=int(present.sum()),
                dimension=dimension,
                mean_cosine=float(seen.mean()),
                estimate=canary_estimate(view, seen, scores[~present], dimension, delta=audit.delta),
                bound=_bound(Scores.join(scores, present), audit, "canaries", name, view),
            )
        )
    return found


def canary_estimate(view: str, seen: FloatArray, unseen: FloatArray, dimension: int, *, delta: float) -> Estimate:
    """ε between the cosines of canaries that took part and of those that did not, each taken for normal.

    The cosine of an unused canary with the final model is N(0, 1/d); its largest over the rounds is not, so there the
    unused canaries themselves say how it spreads (section 3.2 of Andrew et al.).
    """
    if view == "final-model":
        return OneShot(dimension)(seen, delta=delta)
    figure = two_normals(float(unseen.mean()), float(unseen.std()), float(seen.mean()), float(seen.std()), delta=delta)
    return Estimate(figure, delta, "one-shot, every round", "fit of two normals to dependent canaries; not a bound")


def fairness(name: str, audit: Audit, predict: Any, owner: IntArray) -> Fairness:
    """Quality per client on its records that were not trained on; clients without such records do not count."""
    data, out = audit.dataset, ~audit.member
    hits = _quality(data.take(out), predict(data.features[out]))
    who = owner[out]
    counts = np.bincount(who, minlength=int(owner.max()) + 1)
    each = (np.bincount(who, weights=hits, minlength=counts.size)[counts > 0]) / counts[counts > 0]
    return Fairness(
        model=name,
        metric="mean squared error" if data.task == "regression" else "accuracy",
        clients=int((counts > 0).sum()),
        overall=round(float(hits.mean()), 6),
        mean=round(float(each.mean()), 6),
        best=round(float(each.min() if data.task == "regression" else each.max()), 6),
        worst=round(float(each.max() if data.task == "regression" else each.min()), 6),
        gap=round(float(np.ptp(each)), 6),
    )


def _user_audit(subject: Subject, view: View, watched: _Watched, references: int, audit: Audit) -> UserOutcome:
    owner, used = watched.owner, 0
    if view == "final-model":
        target = per_user(_fit(audit.dataset, subject.model.predict(audit.dataset.features)), owner)
        if references:
            fits, included = _references(watched, references, audit, subject.name)
            scores, used = Lira()(Signals(phi=target, reference=fits, included=included)), references
        else:
            scores = target
    elif view == "every-round":
        outputs = (watched.prepared.network.predict(_stack(watched, before), audit.dataset.features)[0]
                   for before in watched.before)  # fmt: skip
        scores = np.mean([per_user(_fit(audit.dataset, each), owner) for each in outputs], axis=0)
    else:
        scores = release_alignment(watched.prepared, watched.before, watched.released, owner, audit)
    truth = user_truth(owner, audit.member)
    joined = Scores.join(scores, truth)
    return UserOutcome(
        model=subject.name,
        view=view,
        references=used,
        users=truth.size,
        members=int(truth.sum()),
        auc=Roc.of(joined).auc,
        auc_standard_error=auc_standard_error(joined),
        bound=_bound(joined, audit, "users", subject.name, view),
    )


def release_alignment(
    prepared: Any, before: Sequence[Any], released: Sequence[FloatArray], owner: IntArray, audit: Audit
) -> FloatArray:
    """How much of each candidate's own update explains each round's release, summed over rounds.

    The attacker knows every candidate's data and trains on it from the model of the round; who took part is not known
    to it. The release is a sum over those who did, so a ridge regression of it on all candidates' updates gives the
    part of each.
    """
    rows = rows_of(owner)
    total = np.zeros(len(rows))
    for number, (weights, release) in enumerate(zip(before, released, strict=True)):
        own = prepared.updates(weights, rows, round_number=number, seed=audit.seed_for("candidates"))
        own /= np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-30)
        gram = own @ own.T + RIDGE * np.eye(len(own))
        total += np.linalg.solve(gram, own @ release) / max(float(np.linalg.norm(release)), 1e-30)
    return total


def user_truth(owner: IntArray, member: BoolArray) -> BoolArray:
    """Whether each user took part; refused when a user's records disagree, because then the coin was not theirs."""
    counts = np.bincount(owner)
    inside = np.bincount(owner, weights=member)
    mixed = (inside > 0) & (inside < counts)
    if mixed.any():
        raise InputError(
            f"user {int(np.argmax(mixed))} has records on both sides: the coins were flipped per record, not per user."
        )
    return np.asarray(inside == counts)


def per_user(values: FloatArray, owner: IntArray) -> FloatArray:
    """Mean over each user's records.

    >>> per_user(np.array([1.0, 3.0, 5.0]), np.array([0, 0, 1]))
    array([2., 5.])
    """
    return np.bincount(owner, weights=values) / np.bincount(owner)


def _references(watched: _Watched, count: int, audit: Audit, name: str) -> tuple[FloatArray, BoolArray]:
    """Mean fit per user of reference federations, shape (federations, users), and who was in each; all stacked."""
    if count % 2 or count < 4:
        raise InputError(f"references must be an even number from 4 on, got {count}: they are trained in pairs.")
    users = int(watched.owner.max()) + 1
    rng = np.random.default_rng(audit.seed_for("reference coins", name))
    first = np.stack([rng.permutation(users) < users // 2 for _ in range(count // 2)])
    included = np.concatenate([first, ~first])
    rows = [rows_of(watched.owner, included=each[watched.owner]) for each in included]
    models, _ = watched.prepared(rows, seed=audit.seed_for("references", name))
    outputs = watched.prepared.network.predict(models, audit.dataset.features)
    return np.stack([per_user(_fit(audit.dataset, each), watched.owner) for each in outputs]), included


def _stack(watched: _Watched, weights: Any) -> Any:
    return watched.prepared.network.stack([weights])


def _fit(data: Dataset, outputs: FloatArray) -> FloatArray:
    """Minus the loss of each record: the better the fit, the likelier a member."""
    if data.task == "multiclass":
        return np.asarray(log_softmax(outputs, axis=1)[np.arange(len(data)), data.classes])
    truth = data.labels.reshape(len(data), -1).astype(np.float64)
    if data.task == "regression":
        return np.asarray(-((outputs - truth) ** 2).mean(axis=1))
    return np.asarray(np.log(np.maximum(expit(np.where(truth == 1, outputs, -outputs)), 1e-300)).mean(axis=1))


def _quality(data: Dataset, outputs: FloatArray) -> FloatArray:
    if data.task == "regression":
        return -_fit(data, outputs)
    if data.task == "multiclass":
        return np.asarray(outputs.argmax(axis=1) == data.classes, np.float64)
    return np.asarray(((outputs > 0) == (data.labels.reshape(len(data), -1) == 1)).mean(axis=1))


def _cosines(directions: FloatArray, vector: FloatArray) -> FloatArray:
    """Cosine of each row with a vector; 0 where there is no direction."""
    lengths = np.linalg.norm(directions, axis=1) * np.linalg.norm(vector)
    return np.asarray(directions @ vector / np.where(lengths > 0, lengths, 1.0))


def _bound(scores: Scores, audit: Audit, *words: object) -> LowerBound:
    return OneRun(UnionGuesses(SHARES, seed=audit.seed_for(*words)))(
        scores, delta=audit.delta, confidence=audit.confidence, adjacency=audit.adjacency, unit="user"
    )


def _course(subject: Subject, ledger: Sequence[Entry], delta: float, adjacency: Adjacency) -> Course:
    mechanism = subject.model.mechanism
    shown = np.unique(np.linspace(1, len(ledger), min(ROUNDS_SHOWN, len(ledger))).round().astype(int)).tolist()
    private = mechanism is not None and mechanism.noise_multiplier > 0 and mechanism.unit == "user"
    spent = (
        [found.epsilon for found in epsilon_by_round(mechanism, shown, total=len(ledger), delta=delta,
                                                     adjacency=adjacency)]
        if private and mechanism is not None
        else [None] * len(shown)
    )  # fmt: skip
    return Course(
        model=subject.name,
        rounds=[
            Round(
                number=number,
                answered=ledger[number - 1].answered,
                clip=ledger[number - 1].clip,
                noise_multiplier=ledger[number - 1].noise_multiplier,
                epsilon=figure,
                kilobytes=round(ledger[number - 1].bytes_sent / 1000, 3),
            )
            for number, figure in zip(shown, spent, strict=True)
        ],
        total_kilobytes=round(sum(entry.bytes_sent for entry in ledger) / 1000, 3),
        given_up=sum(entry.given_up for entry in ledger),
    )
