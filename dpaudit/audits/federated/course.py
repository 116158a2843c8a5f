"""How the clients fare, and the course of a training: clip, noise, answers, bytes and ε after each round."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dpaudit.accounting.claim import Adjacency
from dpaudit.audits.audit import Audit, Subject
from dpaudit.results.federated import FairnessResult, TrainingCourse, TrainingRound
from dpaudit.results.metric import metric_of
from dpaudit.runtime.check import IntArray
from dpaudit.scores.from_outputs import quality
from dpaudit.training.federated.ledger import Entry, epsilon_by_round

ROUNDS_SHOWN = 20


def measure_fairness(name: str, audit: Audit, predict: Any, owner: IntArray) -> FairnessResult:
    """Quality per client on its records that were not trained on; clients without such records do not count."""
    data, out = audit.dataset, ~audit.member
    hits = quality(predict(data.features[out]), data.labels[out], task=data.task)
    who = owner[out]
    counts = np.bincount(who, minlength=int(owner.max()) + 1)
    each = (np.bincount(who, weights=hits, minlength=counts.size)[counts > 0]) / counts[counts > 0]
    metric = metric_of(data.task)
    return FairnessResult(
        model=name,
        metric=metric,
        clients=int((counts > 0).sum()),
        overall=round(float(hits.mean()), 6),
        mean=round(float(each.mean()), 6),
        best=round(float(each.max() if metric == "accuracy" else each.min()), 6),
        worst=round(float(each.min() if metric == "accuracy" else each.max()), 6),
        gap=round(float(np.ptp(each)), 6),
    )


def course(subject: Subject, ledger: Sequence[Entry], delta: float, adjacency: Adjacency) -> TrainingCourse:
    """What was clipped, noised, sent and spent, at up to `ROUNDS_SHOWN` rounds."""
    mechanism = subject.model.mechanism
    shown = np.unique(np.linspace(1, len(ledger), min(ROUNDS_SHOWN, len(ledger))).round().astype(int)).tolist()
    private = mechanism is not None and mechanism.noise_multiplier > 0 and mechanism.unit == "user"
    spent = (
        [found.epsilon for found in epsilon_by_round(mechanism, shown, total=len(ledger), delta=delta,
                                                     adjacency=adjacency)]
        if private and mechanism is not None
        else [None] * len(shown)
    )  # fmt: skip
    return TrainingCourse(
        model=subject.name,
        rounds=[
            TrainingRound(
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
