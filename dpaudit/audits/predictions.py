"""Attack a model of any framework by the predictions it gave."""

from collections.abc import Mapping, Sequence

import numpy as np
from typing_extensions import Unpack

from dpaudit.audits.score import AboutModel
from dpaudit.audits.signals import attack_signals, utility_of
from dpaudit.audits.statement import StatementKeywords, refuse_unknown, stated
from dpaudit.data.as_data import AsData
from dpaudit.data.columns import count_records
from dpaudit.data.dataset import Task
from dpaudit.data.predictions import by_class, joined
from dpaudit.results.result import Result
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.seeds import derive_seed
from dpaudit.scores.from_outputs import OutputKind, observe
from dpaudit.scores.sanity import refuse_probabilities, shared_rows


class PredictionKeywords(StatementKeywords, total=False):
    """Keyword arguments of audits of predictions, beside those of `StatementKeywords`.

    Args:
        task: what the model predicts: ``multiclass`` (the default), ``binary``, ``multilabel`` or ``regression``.
        features: of the records, shape (records, ...), a data frame, or one text for each record, in the order of the
            predictions: whether members differ as data is then tested without the model, and copies are counted.
        slices: further columns to slice the records by, each with one value per record; not with ``users``.
    """

    task: Task
    features: object
    slices: Mapping[str, object] | None


def audit_predictions(
    predictions: object,
    labels: object,
    member: object,
    *,
    attacks: Sequence[str] | None = None,
    kind: OutputKind = "logits",
    notes: Sequence[str] = (),
    **keywords: Unpack[PredictionKeywords],
) -> Result:
    """Attack a model by the outputs it gave, those of members and non-members in one array.

    Args:
        predictions: logits or probabilities, shape (records, classes), or as the task has them. Logits keep losses
            apart that probabilities round together. A data frame has columns named like the classes (``1``,
            ``p_cat``), in any order; the columns of an array are classes 0, 1, ...
        labels: the truth, shape (records, ...): class numbers, or names of classes.
        member: whether each record was trained on, shape (records,).
        attacks: names as in the registry; all that can run on outputs when empty. None is the loss, and for classes
            modified entropy too: each further attack takes its share of the error level.
        kind: ``logits`` or ``probabilities``.
        notes: how the predictions were read, for the report.
        keywords: ``task``, ``features`` and ``slices`` of `PredictionKeywords`; ``epsilon``, ``delta``, ``confidence``,
            ``design``, ``chosen_by``, ``probability``, ``users``, ``unit``, ``adjacency``, ``name`` and ``seed`` of
            `StatementKeywords`.

    Raises:
        InputError: shapes that do not fit the task, a column that is no class, a label without a column, probabilities
            that are said to be logits, the same records on both sides, an attack asked for by name that lacks what it
            needs.

    >>> rng = np.random.default_rng(1)
    >>> labels, member = rng.integers(0, 3, 600), rng.random(600) < 0.5
    >>> logits = rng.normal(size=(600, 3))
    >>> logits[np.arange(600), labels] += np.where(member, 3.0, 1.0)
    >>> audit_predictions(logits, labels, member, attacks=["loss"], chosen_by="coin").membership.attacks[0].auc > 0.8
    True
    """
    refuse_unknown(keywords, PredictionKeywords.__optional_keys__, "audit_predictions")
    task = keywords.get("task", "multiclass")
    if attacks is None:
        attacks = ("loss", "modified-entropy") if task == "multiclass" else ("loss",)
    read = by_class(predictions, labels, task=task, kind=kind)
    predictions, labels = read.outputs, read.labels
    if task == "multiclass" and kind == "logits":
        refuse_probabilities(predictions)
    signals = observe(predictions, labels, task=task, kind=kind)
    truth = check.flags("membership", member, length=len(signals))
    caveat = shared_rows(predictions, labels, truth)
    statement = stated(keywords, truth, name="predictions")
    features = keywords.get("features")
    if features is not None and count_records(features) != truth.size:
        raise InputError(f"features must be of the {truth.size} records predicted, got {count_records(features)}.")
    known = AboutModel(
        trained_by=f"given {kind}",
        utility=utility_of(task, signals, predictions, labels, truth),
        data=None
        if features is None
        else AsData.of(features, labels, truth, users=statement.users, seed=derive_seed(statement.seed, "as data")),
        caveats=[*([caveat] if caveat else []), *notes, *read.notes],
    )
    return attack_signals(
        signals, truth, statement, known, attacks=attacks, slices=keywords.get("slices"), classes=read.classes
    )


def attack_predictions(
    members: tuple[object, object],
    nonmembers: tuple[object, object],
    *,
    attacks: Sequence[str] = (),
    kind: OutputKind = "probabilities",
    **keywords: Unpack[PredictionKeywords],
) -> Result:
    """The same from (outputs, labels) of members and of non-members, of any framework.

    Args:
        members: outputs and labels. Outputs are arrays, or data frames with columns named like the classes, in any
            order.
        nonmembers: likewise.
        attacks: names as in the registry; all that can run on outputs when empty.
        kind: ``logits`` or ``probabilities``.
        keywords: as for `audit_predictions`; ``users``, ``features`` and ``slices`` have one entry per record, members
            first.

    >>> rng = np.random.default_rng(0)
    >>> sure, unsure = np.tile([0.99, 0.01], (50, 1)), np.tile([0.6, 0.4], (50, 1))
    >>> attack_predictions((sure, [0] * 50), (unsure, [0] * 50), attacks=["loss"]).membership.attacks[0].auc
    1.0
    """
    refuse_unknown(keywords, PredictionKeywords.__optional_keys__, "attack_predictions")
    outputs, labels, notes = joined([members, nonmembers], ["members", "nonmembers"])
    inside = np.shape(members[0])[:1]  # type: ignore[arg-type]  # anything has a shape
    for side, (given_outputs, given_labels) in {"members": members, "nonmembers": nonmembers}.items():
        shapes = np.shape(given_outputs)[:1], np.shape(given_labels)[:1]  # type: ignore[arg-type]  # likewise
        if shapes[0] != shapes[1] or shapes[0] == (0,):
            raise InputError(f"outputs and labels of {side} must have one row per record, got {shapes}.")
    return audit_predictions(
        outputs, labels, np.arange(len(labels)) < inside[0], attacks=attacks, kind=kind, notes=notes, **keywords
    )
