"""Audit numbers one already has: attack scores, or a model's predictions, from any framework."""

import time
from dataclasses import replace
from typing import ClassVar, Literal

from dpaudit import _check
from dpaudit.attacks.membership.loss import Loss
from dpaudit.attacks.membership.modified_entropy import ModifiedEntropy
from dpaudit.claim import Adjacency, Claim, Design, Unit
from dpaudit.compare import compare
from dpaudit.experiments import membership, scoring
from dpaudit.promise import promise
from dpaudit.results.membership import MembershipResult
from dpaudit.results.result import DataSummary, ErrorLevel, ModelResult, Result, provenance
from dpaudit.scores import Scores
from dpaudit.seeds import derived
from dpaudit.signals import Signals


def audit_scores(
    scores: object,
    member: object,
    *,
    delta: float = 1e-5,
    epsilon: float | None = None,
    confidence: float = 0.95,
    design: Design = "one-run",
    unit: Unit = "record",
    adjacency: Adjacency = "add-remove",
    name: str = "scores",
    seed: int = 0,
) -> Result:
    """Lower bound on ε, ROC and verdict from scores (higher = more likely a member).

    Args:
        scores: one per record, shape (records,).
        member: whether each record was trained on, shape (records,), true/false or 1/0. Under ``one-run`` each must
            have been decided by an independent fair coin.
        delta: δ at which ε is measured; with ``epsilon`` the δ of the claim.
        epsilon: the claimed ε; None claims nothing.
        confidence: of the bound.
        design: ``one-run``: all scores come from one model, whose records are not independent. ``many-runs``: every
            score comes from a training of its own.
        unit: what one coin decided about: one ``record`` or one ``user``.
        adjacency: neighbouring data sets that one coin makes.
        name: what the report calls the model.
        seed: splits off the half of the scores that chooses the threshold.

    Raises:
        InputError: scores that are not finite numbers, lengths that differ, membership that is empty or one-sided, a δ
            or ε out of range.

    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> coins = rng.random(2000) < 0.5
    >>> result = audit_scores(rng.normal(size=2000) + 3 * coins, coins, epsilon=0.5, delta=1e-5)
    >>> result.comparisons[0].verdict
    'contradicted'
    """
    joined = Scores.join(scores, member)
    return audited(
        {"scores": (_Given(), joined)},
        name=name,
        trained_by="given scores",
        terms=membership.Terms(design, delta, confidence, adjacency, unit),
        epsilon=epsilon,
        seed=seed,
    )


def audit_predictions(
    predictions: object,
    labels: object,
    member: object,
    *,
    kind: Literal["logits", "probabilities"] = "logits",
    delta: float = 1e-5,
    epsilon: float | None = None,
    confidence: float = 0.95,
    design: Design = "one-run",
    adjacency: Adjacency = "add-remove",
    name: str = "predictions",
    seed: int = 0,
) -> Result:
    """The same from a classifier's outputs: the loss and modified-entropy attacks are run on them.

    Args:
        predictions: logits or probabilities, shape (records, classes). Logits keep losses apart that probabilities
            round together.
        labels: true classes, shape (records,).
        member: whether each record was trained on, shape (records,).
        kind: ``logits`` or ``probabilities``.
        delta: δ at which ε is measured.
        epsilon: the claimed ε; None claims nothing.
        confidence: that all bounds hold together.
        design: as for `audit_scores`.
        adjacency: as for `audit_scores`.
        name: what the report calls the model.
        seed: splits off the half of the scores that chooses the threshold.
    """
    _check.one_of("kind", kind, ("logits", "probabilities"))
    signals = (
        Signals.from_logits(predictions, labels)
        if kind == "logits"
        else Signals.from_probabilities(predictions, labels)
    )
    return audited(
        {
            "loss": (Loss(), Scores.join(Loss()(signals), member)),
            "modified-entropy": (ModifiedEntropy(), Scores.join(ModifiedEntropy()(signals), member)),
        },
        name=name,
        trained_by=f"given {kind}",
        terms=membership.Terms(design, delta, confidence, adjacency, "record"),
        epsilon=epsilon,
        seed=seed,
    )


class _Given:
    """Stands for the attack behind scores that were given."""

    version: ClassVar[str] = "given"
    paper: ClassVar[str] = ""


def audited(
    attacked: dict[str, tuple[scoring.Named, Scores]],
    *,
    name: str,
    trained_by: str,
    terms: membership.Terms,
    epsilon: float | None,
    seed: int,
) -> Result:
    """A result from the scores of attacks on one model, with the truth joined to them."""
    begin = time.monotonic()
    delta, adjacency, unit = terms.delta, terms.adjacency, terms.unit
    stated = None
    if epsilon is not None:
        finite = _check.nonnegative("epsilon", epsilon)
        stated = Claim(finite, delta, unit=unit, adjacency=adjacency, source="stated by the caller")
    level = ErrorLevel.shared(terms.confidence, len(attacked))
    per_bound = replace(terms, confidence=level.per_bound)
    outcomes = [
        membership.judged(name, key, attack, scores, terms=per_bound, seed=derived(seed, "held-out half", name, key))
        for key, (attack, scores) in attacked.items()
    ]
    outcome = MembershipResult(design=terms.design, attacks=outcomes)
    first = next(iter(attacked.values()))[1]
    return Result(
        schema=1,
        name=name,
        title=f"Privacy audit of {name}",
        unit=unit,
        adjacency=adjacency,
        delta=delta,
        provenance=provenance(seed=seed),
        data=DataSummary(
            name=name,
            records=len(first),
            members=first.member.size,
            population=0,
            fingerprint=None,
            licence="not stated",
        ),
        level=level,
        models=[
            ModelResult(
                name=name,
                trainer=trained_by,
                parameters={},
                mechanism=None,
                promise=promise(None, stated, delta=delta, adjacency=adjacency, unit=unit),
                utility=None,
            )
        ],
        comparisons=[] if stated is None else [compare(name, stated, outcome.bounds(name))],
        membership=outcome,
        timing={"total": round(time.monotonic() - begin, 3)},
    )
