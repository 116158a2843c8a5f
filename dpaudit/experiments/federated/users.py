"""Was this user there? Membership of users, from the final model, from every round's model, from the releases."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel

from dpaudit._check import BoolArray, FloatArray, IntArray
from dpaudit.attacks.membership.lira import Lira
from dpaudit.data.users import rows_of
from dpaudit.errors import InputError
from dpaudit.evidence import LowerBound
from dpaudit.experiments.audit import Audit, Subject
from dpaudit.experiments.federated.bound import user_bound
from dpaudit.experiments.federated.course import fit
from dpaudit.experiments.federated.watched import Watched
from dpaudit.roc import Roc, auc_standard_error
from dpaudit.scores import Scores
from dpaudit.signals import Signals

View = Literal["final-model", "every-round", "releases"]
RIDGE = 0.01  # of unit vectors' products: candidates draw other batches than the real clients did


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


def user_audit(subject: Subject, view: View, watched: Watched, references: int, audit: Audit) -> UserOutcome:
    """How well users are told from non-users in one view of one model."""
    owner, used = watched.owner, 0
    if view == "final-model":
        target = per_user(fit(audit.dataset, subject.model.predict(audit.dataset.features)), owner)
        if references:
            fits, included = _references(watched, references, audit, subject.name)
            scores, used = Lira()(Signals(phi=target, reference=fits, included=included)), references
        else:
            scores = target
    elif view == "every-round":
        outputs = (watched.prepared.network.predict(_stack(watched, before), audit.dataset.features)[0]
                   for before in watched.before)  # fmt: skip
        scores = np.mean([per_user(fit(audit.dataset, each), owner) for each in outputs], axis=0)
    else:
        scores = release_alignment(
            watched.prepared, watched.before, watched.released, owner, seed=audit.seed_for("candidates")
        )
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
        bound=user_bound(
            joined,
            delta=audit.delta,
            confidence=audit.confidence,
            adjacency=audit.adjacency,
            seed=audit.seed_for("users", subject.name, view),
        ),
    )


def release_alignment(
    prepared: Any,
    before: Sequence[Any],
    released: Sequence[FloatArray],
    owner: IntArray,
    *,
    seed: int,
    numbers: Sequence[int] | None = None,
) -> FloatArray:
    """How much of each candidate's own update explains each round's release, summed over rounds.

    The attacker knows every candidate's data and trains on it from the model of the round; who took part is not known
    to it. The release is a sum over those who did, so a ridge regression of it on all candidates' updates gives the
    part of each.

    Args:
        prepared: the federation's recipe, on the candidates' records.
        before: weights before each round.
        released: what each round added to the trained ones, up to a factor, each (coordinates,).
        owner: candidate of each record.
        seed: of the candidates' batches.
        numbers: of the rounds; None counts from 0.
    """
    rows = rows_of(owner)
    total = np.zeros(len(rows))
    for number, weights, release in zip(numbers or range(len(before)), before, released, strict=True):
        own = prepared.updates(weights, rows, round_number=number, seed=seed)
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


def _references(watched: Watched, count: int, audit: Audit, name: str) -> tuple[FloatArray, BoolArray]:
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
    return np.stack([per_user(fit(audit.dataset, each), watched.owner) for each in outputs]), included


def _stack(watched: Watched, weights: Any) -> Any:
    return watched.prepared.network.stack([weights])
