"""Attackers trained on the reference models: the target is only ever scored, and never by what saw the same record."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.out_of_core import releasing
from dpaudit.scores.signals import Signals

# Features (rows, features), membership of the rows, features to score -> scores.
FitAndScore = Callable[[FloatArray, BoolArray, FloatArray], FloatArray]


def folds(records: int, *, number: int, seed: int) -> Iterator[tuple[IntArray, IntArray]]:
    """(rows to learn from, rows to score) for every fold of a fixed random partition.

    Raises:
        InputError: fewer records than folds.
    """
    check.integer("folds", number, at_least=2, at_most=records)
    parts = np.array_split(np.random.default_rng(seed).permutation(records), number)
    for index, part in enumerate(parts):
        yield np.concatenate([other for i, other in enumerate(parts) if i != index]), part


def from_references(
    signals: Signals,
    features: Callable[[Signals], FloatArray],
    fit_and_score: FitAndScore,
    *,
    number: int,
    seed: int,
    rows: int,
) -> FloatArray:
    """Scores of the target's records by attackers trained on the reference models' behaviour on other records.

    Args:
        signals: the target with its references.
        features: signals -> features (records, features), for the target and for each reference in its place.
        fit_and_score: trains on rows of references and scores rows of the target.
        number: folds of records.
        seed: of the folds and of the choice of rows.
        rows: at most this many rows are learnt from, drawn evenly from the references.

    Raises:
        InputError: there are no references, or all of their records are members, or none is.
    """
    models = len(signals.reference)
    if all(row.all() for row in signals.included) or not any(row.any() for row in signals.included):
        raise InputError(
            "an attacker trained on reference models needs references, each trained on some of the records and not "
            f"on others; got {models} reference(s)."
        )
    each = max(rows // models, 1)
    rng = np.random.default_rng(seed)
    parts = list(folds(len(signals), number=number, seed=seed))
    drawn = [
        [learn if learn.size <= each else rng.choice(learn, each, replace=False) for _ in range(models)]
        for learn, _ in parts
    ]
    # What a reference shows is held for the rows that are learnt from only.
    known: list[list[FloatArray]] = [[] for _ in parts]
    for model in releasing(range(models), signals.reference, signals.reference_log_probabilities):
        shadow = features(_in_place_of_target(signals, model))
        for fold, chosen in zip(known, drawn, strict=True):
            fold.append(shadow[chosen[model]])
    target = features(signals)
    scores = np.empty(len(signals))
    for (_, score), fold, chosen in zip(parts, known, drawn, strict=True):
        member = np.concatenate([signals.included[model][rows] for model, rows in enumerate(chosen)])
        scores[score] = fit_and_score(np.concatenate(fold), member, target[score])
    return scores


def _in_place_of_target(signals: Signals, model: int) -> Signals:
    """What would be observed if the reference ``model`` were the target; it has no references itself."""
    log_p = signals.reference_log_probabilities
    bare = Signals(signals.reference[model], signals.labels, None if log_p is None else log_p[model])
    return replace(
        bare,
        features=signals.features,
        queries=tuple(_in_place_of_target(view, model) for view in signals.queries),
        checkpoints=tuple(_in_place_of_target(view, model) for view in signals.checkpoints),
    )
