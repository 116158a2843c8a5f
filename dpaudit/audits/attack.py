"""Attack somebody's trained model: is it possible to tell who was in its training data?"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from dpaudit.accounting.claim import Adjacency, Design
from dpaudit.attacks.membership.pools import audited_part
from dpaudit.audits.likeness import likeness
from dpaudit.audits.membership import attack_jobs as scoring
from dpaudit.audits.membership import run as membership
from dpaudit.audits.membership.reference_models import observed_pool, target_signals
from dpaudit.audits.score import Statement, Users, checked_users, choice, one_score_each, result_of_scores, unit_of
from dpaudit.data.as_data import AsData
from dpaudit.data.dataset import Dataset, Task
from dpaudit.data.given import (
    Given,
    aligned,
    as_dataset,
    both_users,
    concatenate_datasets,
    predict_outputs,
    refuse_overlap,
    side_by_side,
)
from dpaudit.data.inclusion import complementary_pairs
from dpaudit.data.load import has_column
from dpaudit.data.member_choice import ChosenBy, member_choice
from dpaudit.data.predictions import by_class, joined
from dpaudit.results.membership import SkippedAttack
from dpaudit.results.result import Result, Utility
from dpaudit.runtime import check
from dpaudit.runtime import plugins as registry
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.out_of_core import current_room
from dpaudit.runtime.progress import Progress, Silent
from dpaudit.runtime.seeds import derive_seed
from dpaudit.scores.from_outputs import OutputKind, observe
from dpaudit.scores.sanity import learned_nothing, refuse_probabilities, shared_rows
from dpaudit.scores.signals import Signals
from dpaudit.scores.slices import judge_slices
from dpaudit.training.given_model import GivenModel, load_given
from dpaudit.training.load_model import LoadedModel
from dpaudit.training.model_inputs import one_array
from dpaudit.training.onnx_model import OnnxModel
from dpaudit.training.trainer import Trainer
from dpaudit.training.trainer_of_file import trainer_from

# By the knowledge they need; an attack whose knowledge is not at hand is left out and named in the result.
DEFAULT_ATTACKS = (
    "loss",
    "confidence",
    "entropy",
    "modified-entropy",
    "hinge",
    "gap",
    "attack-p",
    "quantile",
    "auto",
    "base",
    "rmia",
    "lira",
    "attack-r",
    "calibrated",
)


@dataclass(frozen=True)
class References:
    """What the attacker has besides the target: more records from the same source, and models of its own.

    Args:
        recipe: how the target was trained: a trainer, or for a model file the parameters of one (``trainer`` and what
            is not in the file: ``epochs``, ``batch_size``, the noise). The architecture, and where it fits the
            optimizer, its learning rate and momentum, are read from the file. None trains no reference models.
        data: further records from the same source, none of which is a member; None when there are none.
        models: how many to train, an even number from 4 on.
        records: how many records the target was trained on; the references get as many where the data allow it.
            None: as many as there are members.
    """

    recipe: Trainer | Mapping[str, Any] | None = None
    data: Given | None = None
    models: int = 16
    records: int | None = None

    def __post_init__(self) -> None:
        if self.recipe is None and self.data is None:
            raise InputError("references need a recipe to train models with, further data, or both.")
        if self.models % 2 or self.models < 4:
            raise InputError(f"references must be an even number from 4 on, got {self.models}.")
        if self.records is not None:
            check.integer("records", self.records, at_least=2)


def attack_model(
    model: str | Path | Callable[[Any], object],
    members: Given,
    nonmembers: Given,
    *,
    references: References | None = None,
    attacks: Sequence[str] = (),
    task: Task | None = None,
    kind: OutputKind | None = None,
    delta: float = 1e-5,
    epsilon: float | None = None,
    confidence: float = 0.95,
    chosen_by: ChosenBy | None = None,
    probability: float | None = None,
    users: object = None,
    slices: Mapping[str, object] | Sequence[str] = (),
    label: str | Sequence[str] = "label",
    drop: Sequence[str] = (),
    name: str = "model",
    seed: int = 0,
    folder: Path | None = None,
    progress: Progress | None = None,
    trust_code: bool = False,
    imports: Sequence[str] = (),
) -> Result:
    """Attack a trained model with records it was trained on and records it was not.

    Args:
        model: a Keras or ONNX file, the folder of a SavedModel, or a function from features (records, ...) to outputs
            (records, outputs) of any framework, which must predict in inference mode.
        members: records the model was trained on: a `Dataset`, a file, or (features, labels). For a model file with
            several inputs the features are a table of one array per input, in Python or in an NPZ file; for an ONNX
            model also a table with a column of numbers or words for each input.
        nonmembers: records from the same source it was not trained on.
        references: further data and reference models, for the attacks that need them; None trains nothing.
        attacks: names as in the registry; all that can run when empty.
        task: what the model predicts; read from the file, or ``multiclass`` for a function.
        kind: what the model returns, ``logits`` or ``probabilities``; None is logits for a function, and decided by the
            outputs and the loss for a file.
        delta: δ of the claim, and at which ε is measured.
        epsilon: the claimed ε; None claims nothing.
        confidence: that all bounds hold together.
        chosen_by: how the members were chosen, as for `dpaudit.audit_scores`.
        probability: of the coins; None is 1/2.
        users: whose record it is: the name of a column that the files have and that is no feature, or one value per
            record, members first. One coin then decided about all records of a user, who gets the mean of the scores
            of their records; nothing is sliced.
        slices: further columns to slice the records by: names of columns that the files have (a column of numbers
            stays a feature, one of words is none), or the columns themselves, each with one value per record, members
            first.
        label: column of the labels in files that are tables; columns, in the order of the model's outputs, where each
            record has several labels of 0 and 1.
        drop: columns of such files that are no features.
        name: what the report calls the model.
        seed: of reference models and of everything else that is random.
        folder: where trained reference models are kept and found again; None keeps nothing.
        progress: where long steps say how far they are.
        trust_code: run the code a Lambda layer in the file, or a SavedModel, holds.
        imports: modules to import first, which register the model's own classes with Keras.

    Returns:
        A result like that of `dpaudit.run`: the same report and gates work on it.

    Raises:
        InputError: bad file, data that do not fit the model, an attack asked for by name that lacks what it needs.

    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(400, 2)), np.tile([0, 1], 200)
    >>> memory = {row.tobytes() for row in x[:200].astype(np.float32)}
    >>> def predict(features):
    ...     known = np.array([row.tobytes() in memory for row in features])
    ...     return np.where(known[:, None], 9.0, 1.0) * np.eye(2)[np.arange(len(features)) % 2]
    >>> result = attack_model(predict, (x[:200], y[:200]), (x[200:], y[200:]), attacks=["loss"])
    >>> result.membership.attacks[0].auc
    1.0
    """
    begin = time.monotonic()
    progress = progress or Silent()
    recipe = None if references is None else references.recipe
    loaded: GivenModel | None = None
    read = as_dataset
    predict: Callable[[Any], object]
    if callable(model):
        predict, task, made_by = model, task or "multiclass", ""
        if isinstance(recipe, Mapping):
            raise InputError("a recipe of parameters needs a model file with its architecture; give a trainer instead.")
    else:
        loaded = load_given(Path(model), trust_code=trust_code, imports=imports)
        task, made_by = task or loaded.task, f", {loaded.made_by}"
        if isinstance(loaded, OnnxModel):
            read = loaded.inputs.dataset
        else:
            inputs = loaded.inputs
            members, nonmembers = (
                one_array(side, inputs, what) for side, what in ((members, "members"), (nonmembers, "nonmembers"))
            )
            if references is not None and references.data is not None:
                references = replace(references, data=one_array(references.data, inputs, "reference data"))
    columns = () if isinstance(slices, Mapping) else tuple(slices)
    user = users if isinstance(users, str) else None
    inside = read(members, "members", task, columns, user, label=label, drop=drop)
    outside = read(nonmembers, "nonmembers", task, columns, user, label=label, drop=drop)
    further = _further(references, task, columns, user, label=label, drop=drop, read=read)
    inside, outside, *others = aligned([inside, outside, *([] if further is None else [further])])
    if isinstance(loaded, OnnxModel):
        loaded, (inside, outside, *others) = loaded.by_class([inside, outside, *others])
    further = others[0] if others else None
    refuse_overlap(inside, outside, allowed=0.5)
    audited_records = concatenate_datasets(inside, outside, name)
    member = np.arange(len(audited_records)) < len(inside)
    owner = checked_users(users if user is None else both_users(inside, outside), member, "one-run")
    stated = Statement(
        name=name,
        seed=seed,
        epsilon=epsilon,
        delta=delta,
        confidence=confidence,
        chosen=member_choice(chosen_by, probability),
        unit=unit_of(None, owner, "one-run"),
    )
    if loaded is not None:
        loaded = loaded.settled(audited_records.features, task=task, stated=kind)
        predict, kind = loaded.predict, loaded.kind
        if isinstance(recipe, Mapping):
            if not isinstance(loaded, LoadedModel):
                raise InputError(f"{model} does not say how it was trained; give a Keras file, or a trainer in Python.")
            recipe = trainer_from(recipe, loaded, task)
    kind = kind or "logits"
    seen_as = audited_records.features
    if isinstance(loaded, OnnxModel):
        seen_as = loaded.inputs.readable(seen_as)
    data = AsData.of(seen_as, audited_records.labels, member, users=owner, seed=derive_seed(seed, "as data"))
    outputs = predict_outputs(predict, audited_records)
    audited_records = _as_many_classes(audited_records, outputs)
    pool, population, rows = None, None, None
    if references is not None:
        records, population = _divided(references, further, audited_records, len(inside), seed=seed)
        if recipe is not None:
            assert not isinstance(recipe, Mapping)  # a file made a trainer of it, a function refused it
            included = complementary_pairs(references.models, len(records), seed=derive_seed(seed, "pairs"))
            with nullcontext(folder) if folder is not None else TemporaryDirectory() as kept:
                pool = observed_pool(
                    recipe,
                    records,
                    included,
                    population,
                    seed=derive_seed(seed, "references"),
                    folder=Path(kept),
                    progress=progress,
                )
            rows = np.arange(len(records)) < len(audited_records)
    seen = None if population is None else predict_outputs(predict, population)
    signals = target_signals(outputs, audited_records, population, seen, kind=kind, pool=pool, rows=rows)
    utility = _utility(task, signals, outputs, audited_records.labels, member)
    alike = None
    if pool is not None and recipe is not None:
        alike = likeness(pool, utility, recipe, loaded if isinstance(loaded, LoadedModel) else None)
    result = attack_signals(
        signals,
        member,
        stated,
        attacks=attacks,
        slices=slices if isinstance(slices, Mapping) else side_by_side(inside, outside, columns),
        classes=audited_records.class_names,
        users=owner,
        trained_by=f"given model{made_by}",
        utility=utility,
        references=0 if pool is None else len(pool),
        data=data,
        caveats=[*audited_records.reading, *([] if alike is None else alike.unlike)],
        progress=progress,
    )
    assert result.membership is not None
    timing = {"total": round(time.monotonic() - begin, 3)}
    return result.model_copy(
        update={"timing": timing, "membership": result.membership.model_copy(update={"likeness": alike})}
    )


def attack_predictions(
    members: tuple[object, object],
    nonmembers: tuple[object, object],
    *,
    attacks: Sequence[str] = (),
    task: Task = "multiclass",
    kind: OutputKind = "probabilities",
    delta: float = 1e-5,
    epsilon: float | None = None,
    confidence: float = 0.95,
    chosen_by: ChosenBy | None = None,
    probability: float | None = None,
    users: object = None,
    features: object = None,
    slices: Mapping[str, object] | None = None,
    name: str = "predictions",
    seed: int = 0,
) -> Result:
    """The same from predictions one already has: (outputs, labels) of members and of non-members, of any framework.

    Outputs are arrays, or data frames with columns named like the classes, in any order.

    ``users``, ``features`` and ``slices`` have one entry per record, members first; the rest is as for
    `audit_predictions`.

    >>> rng = np.random.default_rng(0)
    >>> sure, unsure = np.tile([0.99, 0.01], (50, 1)), np.tile([0.6, 0.4], (50, 1))
    >>> attack_predictions((sure, [0] * 50), (unsure, [0] * 50), attacks=["loss"]).membership.attacks[0].auc
    1.0
    """
    outputs, labels, notes = joined([members, nonmembers], ["members", "nonmembers"])
    inside = np.shape(members[0])[:1]  # type: ignore[arg-type]  # anything has a shape
    for side, (given_outputs, given_labels) in {"members": members, "nonmembers": nonmembers}.items():
        shapes = np.shape(given_outputs)[:1], np.shape(given_labels)[:1]  # type: ignore[arg-type]  # likewise
        if shapes[0] != shapes[1] or shapes[0] == (0,):
            raise InputError(f"outputs and labels of {side} must have one row per record, got {shapes}.")
    return audit_predictions(
        outputs,
        labels,
        np.arange(len(labels)) < inside[0],
        attacks=attacks,
        task=task,
        kind=kind,
        delta=delta,
        epsilon=epsilon,
        confidence=confidence,
        chosen_by=chosen_by,
        probability=probability,
        users=users,
        features=features,
        slices=slices,
        name=name,
        seed=seed,
        notes=notes,
    )


def audit_predictions(
    predictions: object,
    labels: object,
    member: object,
    *,
    attacks: Sequence[str] | None = None,
    task: Task = "multiclass",
    kind: OutputKind = "logits",
    delta: float = 1e-5,
    epsilon: float | None = None,
    confidence: float = 0.95,
    design: Design = "one-run",
    chosen_by: ChosenBy | None = None,
    probability: float | None = None,
    users: object = None,
    features: object = None,
    adjacency: Adjacency = "add-remove",
    slices: Mapping[str, object] | None = None,
    name: str = "predictions",
    seed: int = 0,
    notes: Sequence[str] = (),
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
        task: what the model predicts: ``multiclass``, ``binary``, ``multilabel`` or ``regression``.
        kind: ``logits`` or ``probabilities``.
        delta: δ of the claim, and at which ε is measured.
        epsilon: the claimed ε; None claims nothing.
        confidence: that all bounds hold together.
        design: as for `dpaudit.audit_scores`.
        chosen_by: how the members were chosen, as for `dpaudit.audit_scores`.
        probability: of the coins; None is 1/2.
        users: whose record it is, shape (records,), as for `dpaudit.audit_scores`; nothing is sliced then.
        features: of the records, shape (records, ...), a data frame, or one text for each record, in the order of the
            predictions: whether members differ as data is then tested without the model, and copies are counted.
        adjacency: as for `dpaudit.audit_scores`.
        slices: further columns to slice the records by, each with one value per record.
        name: what the report calls the model.
        seed: of everything drawn.
        notes: how the predictions were read, for the report.

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
    if attacks is None:
        attacks = ("loss", "modified-entropy") if task == "multiclass" else ("loss",)
    read = by_class(predictions, labels, task=task, kind=kind)
    predictions, labels = read.outputs, read.labels
    if task == "multiclass" and kind == "logits":
        refuse_probabilities(predictions)
    signals = observe(predictions, labels, task=task, kind=kind)
    truth = check.flags("membership", member, length=len(signals))
    caveat = shared_rows(predictions, labels, truth)
    owner = checked_users(users, truth, design)
    stated = Statement(
        name=name,
        seed=seed,
        epsilon=epsilon,
        delta=delta,
        confidence=confidence,
        chosen=choice(chosen_by, probability, design),
        unit=unit_of(None, owner, design),
        adjacency=adjacency,
        design=design,
    )
    return attack_signals(
        signals,
        truth,
        stated,
        attacks=attacks,
        slices=slices,
        classes=read.classes,
        users=owner,
        trained_by=f"given {kind}",
        utility=_utility(task, signals, predictions, labels, truth),
        data=None
        if features is None
        else AsData.of(features, labels, truth, users=owner, seed=derive_seed(seed, "as data")),
        caveats=[*([caveat] if caveat else []), *notes, *read.notes],
    )


def attack_signals(
    signals: Signals,
    member: BoolArray,
    stated: Statement,
    *,
    attacks: Sequence[str],
    trained_by: str,
    slices: Mapping[str, object] | None = None,
    classes: Sequence[str] = (),
    users: Users | None = None,
    utility: Utility | None = None,
    references: int = 0,
    data: AsData | None = None,
    caveats: Sequence[str] = (),
    progress: Progress | None = None,
) -> Result:
    """Run attacks on signals, join the truth, and put the findings into a result.

    An attack that is named and cannot run is an error; of the default ones those that lack something are left out,
    with the reason in the result.
    """
    if users is not None and slices:
        raise InputError("slices are of records, and with users there is one score a user: leave one of them out.")
    current_room().need(len(signals))
    scored: dict[str, tuple[Any, FloatArray, BoolArray]] = {}
    skipped: list[SkippedAttack] = []
    names = list(attacks) or list(DEFAULT_ATTACKS)
    with (progress or Silent()).task("attacking", len(names)) as advance:
        for one in names:
            attack = registry.build("membership", one, {}, where=f"attack {one!r}")
            try:
                seen, kept = audited_part(attack, signals, member)
                scores, judged = attack(seen), kept
                if users is not None:  # the membership of one record tells that of all records of its user
                    judged = kept & ~np.isin(users, users[~kept])
                    if not judged.any():
                        raise InputError(f"{one} is told the membership of some record of every user: none is left.")
                scored[one] = (scoring.resolve_attack(attack, signals), scores[judged[kept]], judged)
            except InputError as error:
                if attacks:
                    raise
                skipped.append(SkippedAttack(attack=one, reason=str(error)))
            advance(1)
    result = result_of_scores(
        {
            one: (attack, one_score_each(scores, member[kept], None if users is None else users[kept]))
            for one, (attack, scores, kept) in scored.items()
        },
        stated,
        member,
        trained_by=trained_by,
        data=data,
        caveats=[*caveats, *filter(None, [learned_nothing(signals, member, stated.name)])],
    )
    assert result.membership is not None
    columns = {by: np.asarray(values) for by, values in (slices or {}).items()}
    if classes and signals.labels is not None:  # under its name a class is found again, under its place it is not
        columns.setdefault("class", np.asarray(classes)[signals.labels])
    groups = {} if users is not None else membership.chosen_groups(signals, [*_slices(signals), *columns], columns)
    found = []
    for outcome in result.membership.attacks:
        _, scores, kept = scored[outcome.attack]
        update: dict[str, object] = {"spent": int((~kept).sum())}
        if groups:
            parts = {by: values[kept] for by, values in groups.items()}
            update["slices"] = judge_slices(scores, member[kept], parts, fpr=scoring.FPRS[0])
        found.append(outcome.model_copy(update=update))
    update = {"attacks": found, "skipped": skipped, "references": references, "floored": {stated.name: signals.floored}}
    models = [result.models[0].model_copy(update={"utility": utility})]
    return result.model_copy(update={"models": models, "membership": result.membership.model_copy(update=update)})


def _slices(signals: Signals) -> list[str]:
    return ["loss"] if signals.log_probabilities is None else ["class", "loss", "classified"]


def _further(
    references: References | None,
    task: Task,
    columns: Sequence[str],
    user: str | None,
    *,
    label: str | Sequence[str],
    drop: Sequence[str],
    read: Callable[..., Dataset],
) -> Dataset | None:
    """The reference data, without the column of users where it has one: nobody is judged by it."""
    if references is None or references.data is None:
        return None
    data = references.data
    beside = user if isinstance(data, str | Path) and user is not None and has_column(Path(data), user) else None
    return read(data, "reference data", task, columns, beside, label=label, drop=drop)


def _as_many_classes(records: Dataset, outputs: FloatArray) -> Dataset:
    """Records with as many classes as the model has outputs: those of a class that no record has count as well."""
    if records.task != "multiclass" or outputs.ndim != 2:
        return records
    if records.class_names and len(records.class_names) != outputs.shape[1]:
        raise InputError(
            f"the model returns {outputs.shape[1]} outputs and the labels are {', '.join(records.class_names[:8])}: "
            "which output is which class is not known; write the labels as class numbers."
        )
    return replace(records, class_count=max(records.outputs, outputs.shape[1]))


def _divided(
    references: References, further: Dataset | None, audited_records: Dataset, members: int, *, seed: int
) -> tuple[Dataset, Dataset | None]:
    """Records that reference models are trained on halves of, and a population that no model has seen.

    The first are the audited records, filled up from the further ones to twice the size of the target's training
    data. The second is what is left, at least a fifth of the further records.
    """
    if further is None:
        return audited_records, None
    refuse_overlap(audited_records, further)
    wanted = 2 * (references.records or members) if references.recipe is not None else 0
    used = int(np.clip(wanted - len(audited_records), 0, len(further) - -(-len(further) // 5)))
    order = np.random.default_rng(derive_seed(seed, "reference data")).permutation(len(further))
    population = further.take(order[used:])
    if not used:
        return audited_records, population
    return concatenate_datasets(audited_records, further.take(order[:used]), audited_records.name), population


def _utility(task: Task, signals: Signals, outputs: object, labels: object, member: BoolArray) -> Utility | None:
    """Accuracy, or the mean squared error of a regression; None where several labels are given for each record."""
    if signals.log_probabilities is not None:
        metric: Literal["accuracy", "mean squared error"] = "accuracy"
        each = signals.correct().astype(np.float64)
    elif task == "regression":
        metric = "mean squared error"
        truth, predicted = (np.asarray(part, np.float64).reshape(member.size, -1) for part in (labels, outputs))
        each = np.square(predicted - truth).mean(axis=1)
    else:
        return None
    return Utility(metric=metric, train=float(each[member].mean()), test=float(each[~member].mean()))
