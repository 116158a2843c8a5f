"""Canary clients: random unit vectors sent in a second training, and what the models show of them."""

from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from dpaudit.accounting.claim import Protection
from dpaudit.audits.audit import Audit
from dpaudit.audits.federated.user_bound import user_bound
from dpaudit.bounds.lower_bound import Estimate
from dpaudit.bounds.one_shot import OneShot, two_normals
from dpaudit.data.users import rows_of
from dpaudit.results.federated import CanaryResult
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.scores import Scores


class Canary(BaseModel):
    """``[federated.canaries]``: clients that send random unit vectors, each included with probability 1/2.

    ``norm`` is the norm of their updates for a server that does not clip; without it that of the longest update that an
    honest client has sent so far.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    clients: int = Field(ge=10)
    views: list[Literal["final-model", "every-round"]] = Field(default=["final-model", "every-round"], min_length=1)
    norm: float | None = Field(default=None, gt=0)


def canary_audit(name: str, prepared: Any, owner: IntArray, settings: Canary, audit: Audit) -> list[CanaryResult]:
    """Canary clients in one training, `Andrew et al. (2023) <https://arxiv.org/abs/2302.03098>`_.

    Their coins make the bound a one-run audit of adding a client, which holds for any mechanism; the paper's own figure
    stands beside it as an estimate.
    """
    from dpaudit.training.federated.simulation import CanaryClients

    dimension = prepared.coordinates
    if settings.clients > dimension / 2:
        raise InputError(
            f"{name!r} trains {dimension} parameters: {settings.clients} canary clients would not be told apart; "
            f"at most {dimension // 2} would."
        )
    directions = orthogonal(
        random_directions(settings.clients, dimension, seed=audit.seed_for("canary directions", name))
    )
    present = np.random.default_rng(audit.seed_for("canary coins", name)).random(settings.clients) < 0.5
    every = np.full(settings.clients, -np.inf)
    roster = len(rows_of(owner, included=audit.member))
    lengths: list[float] = []

    def observe(moment: Any) -> None:
        canaries = np.array(moment.clients) >= roster
        if canaries.any():
            sent = np.concatenate([part[canaries].reshape(canaries.sum(), -1) for part in moment.updates], axis=1)
            lengths.append(float(np.linalg.norm(sent, axis=1).max()))
        if moment.mean is not None:
            release = np.concatenate([np.ravel(part) for part in moment.mean]).astype(np.float64)
            np.maximum(every, cosines(directions, release), out=every)

    models, _ = prepared(
        [rows_of(owner, included=audit.member)],
        seed=audit.seed_for("canary training", name),
        canaries=CanaryClients(directions.astype(np.float32), present, settings.norm),
        observe=observe,
    )
    first, last = (prepared.trained_part(prepared.network.weights(model, 0)) for model in (prepared.start, models))
    scores = {"final-model": cosines(directions, last - first), "every-round": every}
    return [
        judge_cosines(
            name,
            view,
            Scores.join(scores[view], present),
            dimension,
            audit.protection,
            audit.confidence,
            longest=max(lengths, default=0.0),
            seed=audit.seed_for("canaries", name, view),
        )
        for view in settings.views
    ]


def random_directions(count: int, dimension: int, *, seed: int) -> FloatArray:
    """Random unit vectors, shape (count, dimension)."""
    directions = np.random.default_rng(seed).normal(size=(count, dimension))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions


def orthogonal(directions: FloatArray) -> FloatArray:
    """The nearest that these directions have to an orthonormal frame in their order (Gram-Schmidt).

    Canaries that are orthogonal do not hide each other, `Xiang et al. (2025) <https://arxiv.org/abs/2503.07199>`_; a
    random frame keeps each direction uniform on the sphere.
    """
    frame, triangle = np.linalg.qr(directions.T)
    return np.asarray((frame * np.sign(np.diag(triangle))).T)


def judge_cosines(
    name: str,
    view: str,
    scores: Scores,
    dimension: int,
    protection: Protection,
    confidence: float,
    *,
    seed: int,
    longest: float | None = None,
) -> CanaryResult:
    """Estimate and bound from the cosines of canaries that took part by coins, and of those that did not."""
    return CanaryResult(
        model=name,
        view=view,
        canaries=len(scores),
        present=scores.member.size,
        dimension=dimension,
        longest=longest,
        mean_cosine=float(scores.member.mean()),
        estimate=canary_estimate(view, scores.member, scores.nonmember, dimension, delta=protection.delta),
        bound=user_bound(scores, protection, confidence, seed=seed),
    )


def canary_estimate(view: str, seen: FloatArray, unseen: FloatArray, dimension: int, *, delta: float) -> Estimate:
    """ε between the cosines of canaries that took part and of those that did not, each taken for normal.

    The cosine of an unused canary with the final model is N(0, 1/d); its largest over the rounds is not, so there the
    unused canaries themselves say how it spreads (section 3.2 of Andrew et al.).
    """
    if view == "final-model":
        return OneShot(dimension)(seen, delta=delta)
    figure = two_normals(float(unseen.mean()), float(unseen.std()), float(seen.mean()), float(seen.std()), delta=delta)
    return Estimate(figure, delta, "one-shot, every round", "fit of two normals to dependent canaries; not a bound")


def cosines(directions: FloatArray, vector: FloatArray) -> FloatArray:
    """Cosine of each row with a vector; 0 where there is no direction."""
    lengths = np.linalg.norm(directions, axis=1) * np.linalg.norm(vector)
    return np.asarray(directions @ vector / np.where(lengths > 0, lengths, 1.0))
