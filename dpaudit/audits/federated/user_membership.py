"""Was this user there? Membership of users, from the final model, from every round's model, from the releases."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dpaudit.attacks.membership.lira import Lira
from dpaudit.attacks.membership.user_level import user_scores
from dpaudit.audits.audit import Audit, Subject
from dpaudit.audits.federated.user_bound import user_bound, user_result
from dpaudit.audits.federated.watched import Watched
from dpaudit.data.users import rows_of, user_truth
from dpaudit.results.federated import UserResult, UserView
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray
from dpaudit.scores.from_outputs import losses_of_outputs
from dpaudit.scores.scores import Scores
from dpaudit.scores.signals import Signals

RIDGES = np.geomspace(1e-4, 1e4, 81)  # over the mean eigenvalue of the candidates' products, to choose from


def user_audit(subject: Subject, view: UserView, watched: Watched, references: int, audit: Audit) -> UserResult:
    """How well users are told from non-users in one view of one model."""
    owner, used = watched.owner, 0
    if view == "final-model":
        target = per_user(_fit(audit, subject.model.predict(audit.dataset.features)), owner)
        if references:
            fits, included = _references(watched, references, audit, subject.name)
            scores, used = Lira()(Signals(phi=target, reference=fits, included=included)), references
        else:
            scores = target
    elif view == "every-round":
        outputs = (_outputs(watched, _stack(watched, before), audit)[0] for before in watched.before)
        scores = np.mean([per_user(_fit(audit, each), owner) for each in outputs], axis=0)
    else:
        scores = release_alignment(
            watched.prepared, watched.before, watched.released, owner, seed=audit.seed_for("candidates")
        )
    joined = Scores.join(scores, user_truth(owner, audit.member))
    seed = audit.seed_for("users", subject.name, view)
    bound = user_bound(joined, audit.protection, audit.confidence, seed=seed)
    return user_result(subject.name, view, joined, bound, references=used)


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
    part of each. How much of the release is noise, or comes of other batches than the candidates', need not be known:
    each round's ridge is the one under which the release is likeliest (`likeliest_ridge`).

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
        gram, seen = own @ own.T, own @ release
        gram += likeliest_ridge(gram, seen, float(release @ release), release.size) * np.eye(len(own))
        total += np.linalg.solve(gram, seen) / max(float(np.linalg.norm(release)), 1e-30)
    return total


def likeliest_ridge(gram: FloatArray, products: FloatArray, energy: float, dimension: int) -> float:
    """Noise variance over the variance of the coefficients, by marginal likelihood (`MacKay (1992)
    <https://doi.org/10.1162/neco.1992.4.3.415>`_).

    A vector y of ``dimension`` numbers is X'b plus noise, b and noise normal and independent; the common scale of both
    is fitted for every ratio.

    Args:
        gram: X X', shape (n, n).
        products: X y, shape (n,).
        energy: y'y.
        dimension: of y.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(50, 400))
    >>> y = rng.normal(size=50) @ x + 3 * rng.normal(size=400)
    >>> bool(4 < likeliest_ridge(x @ x.T, x @ y, y @ y, 400) < 16)
    True
    """
    values, vectors = np.linalg.eigh(gram)
    values = np.maximum(values, 0.0)
    ridges = RIDGES * max(float(values.mean()), 1e-30)
    along = (vectors.T @ products) ** 2
    largest = values[-min(values.size, dimension) :]  # the others are zero: X has no more directions than y
    left = np.array([(energy - (along / (values + ridge)).sum()) / ridge for ridge in ridges])
    spread = np.array([np.log(largest + ridge).sum() + (dimension - largest.size) * np.log(ridge) for ridge in ridges])
    return float(ridges[np.argmin(dimension * np.log(np.maximum(left, 1e-300)) + spread)])


def per_user(values: FloatArray, owner: IntArray) -> FloatArray:
    """Mean over each user's records.

    >>> per_user(np.array([1.0, 3.0, 5.0]), np.array([0, 0, 1]))
    array([2., 5.])
    """
    return user_scores(values, owner).scores


def _references(watched: Watched, count: int, audit: Audit, name: str) -> tuple[FloatArray, BoolArray]:
    """Mean fit per user of reference federations, shape (federations, users), and who was in each; all stacked."""
    users = int(watched.owner.max()) + 1
    rng = np.random.default_rng(audit.seed_for("reference coins", name))
    first = np.stack([rng.permutation(users) < users // 2 for _ in range(count // 2)])
    included = np.concatenate([first, ~first])
    rows = [rows_of(watched.owner, included=each[watched.owner]) for each in included]
    models, _ = watched.prepared(rows, seed=audit.seed_for("references", name))
    outputs = _outputs(watched, models, audit)
    return np.stack([per_user(_fit(audit, each), watched.owner) for each in outputs]), included


def _outputs(watched: Watched, models: Any, audit: Audit) -> FloatArray:
    from dpaudit.training.keras_model import network_outputs

    return network_outputs(watched.prepared.network, models, audit.dataset)


def _fit(audit: Audit, outputs: FloatArray) -> FloatArray:
    """Minus the loss of each record: the better the fit, the likelier a member."""
    return -losses_of_outputs(outputs, audit.dataset.labels, task=audit.dataset.task)


def _stack(watched: Watched, weights: Any) -> Any:
    return watched.prepared.network.stack([weights])
