"""Attack somebody's trained model: is it possible to tell who was in its training data?"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from dpaudit import _check, registry
from dpaudit._check import BoolArray, FloatArray
from dpaudit.attacks.membership.pools import audited_part
from dpaudit.blocks import room
from dpaudit.claim import Adjacency, Unit
from dpaudit.data.dataset import Dataset, Task
from dpaudit.data.given import Given, given, predicted, refuse_overlap, side_by_side, together
from dpaudit.data.inclusion import complementary_pairs
from dpaudit.errors import InputError
from dpaudit.experiments import membership, scoring
from dpaudit.experiments.references import observed_pool, target_signals
from dpaudit.outputs import Kind, observe
from dpaudit.progress import Progress, Silent
from dpaudit.results.membership import SkippedAttack
from dpaudit.results.result import Result, Utility
from dpaudit.score import audited
from dpaudit.scores import Scores
from dpaudit.seeds import derived
from dpaudit.signals import Signals
from dpaudit.slices import sliced
from dpaudit.training.trainer import Trainer

if TYPE_CHECKING:
    from dpaudit.training.load_model import LoadedModel

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
class Terms:
    """On what terms the findings become a lower bound on ε and a verdict.

    Args:
        epsilon: the claimed ε; None claims nothing.
        delta: δ of the claim, and at which ε is measured.
        confidence: that all bounds hold together.
    """

    epsilon: float | None = None
    delta: float = 1e-5
    confidence: float = 0.95


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
            _check.integer("records", self.records, at_least=2)


def attack_model(
    model: str | Path | Callable[[Any], object],
    members: Given,
    nonmembers: Given,
    *,
    references: References | None = None,
    attacks: Sequence[str] = (),
    task: Task | None = None,
    kind: Kind = "logits",
    terms: Terms = Terms(),  # a frozen value
    slices: Mapping[str, object] | Sequence[str] = (),
    name: str = "model",
    seed: int = 0,
    folder: Path | None = None,
    progress: Progress | None = None,
    trust_code: bool = False,
) -> Result:
    """Attack a trained model with records it was trained on and records it was not.

    Args:
        model: a Keras file, or a function from features (records, ...) to outputs (records, outputs) of any framework,
            which must predict in inference mode.
        members: records the model was trained on: a `Dataset`, a file, or (features, labels).
        nonmembers: records from the same source it was not trained on.
        references: further data and reference models, for the attacks that need them; None trains nothing.
        attacks: names as in the registry; all that can run when empty.
        task: what the model predicts; read from the file, or ``multiclass`` for a function.
        kind: what a function returns, ``logits`` or ``probabilities``. For a file they are logits in any case.
        terms: of the lower bound and the verdict.
        slices: further columns to slice the records by: names of columns that the files have (a column of numbers
            stays a feature, one of words is none), or the columns themselves, each with one value per record, members
            first.
        name: what the report calls the model.
        seed: of reference models and of everything else that is random.
        folder: where trained reference models are kept and found again; None keeps nothing.
        progress: where long steps say how far they are.
        trust_code: run the code a Lambda layer in the file holds.

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
    predict: Callable[[Any], object]
    if callable(model):
        predict, task, keras = model, task or "multiclass", ""
        if isinstance(recipe, Mapping):
            raise InputError("a recipe of parameters needs a model file with its architecture; give a trainer instead.")
    else:
        from dpaudit.training.load_model import load_model

        loaded = load_model(Path(model), trust_code=trust_code)
        predict, kind, task, keras = loaded.predict, "logits", task or loaded.task, f", Keras {loaded.keras}"
        if isinstance(recipe, Mapping):
            recipe = trainer_from(recipe, loaded)
    columns = () if isinstance(slices, Mapping) else tuple(slices)
    inside, outside = given(members, "members", task, columns), given(nonmembers, "nonmembers", task, columns)
    refuse_overlap(inside, outside)
    audited_records = together(inside, outside, name)
    member = np.arange(len(audited_records)) < len(inside)
    outputs = predicted(predict, audited_records)
    pool, population, rows = None, None, None
    if references is not None:
        records, population = _divided(references, audited_records, len(inside), task, columns, seed=seed)
        if recipe is not None:
            included = complementary_pairs(references.models, len(records), seed=derived(seed, "pairs"))
            with nullcontext(folder) if folder is not None else TemporaryDirectory() as kept:
                pool = observed_pool(
                    recipe,
                    records,
                    included,
                    population,
                    seed=derived(seed, "references"),
                    folder=Path(kept),
                    progress=progress,
                )
            rows = np.arange(len(records)) < len(audited_records)
    seen = None if population is None else predicted(predict, population)
    signals = target_signals(outputs, audited_records, population, seen, kind=kind, pool=pool, rows=rows)
    result = attacked(
        signals,
        member,
        attacks=attacks,
        terms=terms,
        slices=slices if isinstance(slices, Mapping) else side_by_side(inside, outside, columns),
        name=name,
        trained_by=f"given model{keras}",
        references=0 if pool is None else len(pool),
        seed=seed,
        progress=progress,
    )
    utility = _utility(task, signals, outputs, audited_records, member)
    timing = {"total": round(time.monotonic() - begin, 3)}
    models = [result.models[0].model_copy(update={"utility": utility})]
    return result.model_copy(update={"models": models, "timing": timing})


def attack_predictions(
    members: tuple[object, object],
    nonmembers: tuple[object, object],
    *,
    attacks: Sequence[str] = (),
    task: Task = "multiclass",
    kind: Kind = "probabilities",
    terms: Terms = Terms(),  # a frozen value
    slices: Mapping[str, object] | None = None,
    name: str = "predictions",
    seed: int = 0,
) -> Result:
    """The same from predictions one already has: (outputs, labels) of members and of non-members, of any framework.

    ``slices``: further columns to slice the records by, each with one value per record, members first.

    >>> rng = np.random.default_rng(0)
    >>> sure, unsure = np.tile([0.99, 0.01], (50, 1)), np.tile([0.6, 0.4], (50, 1))
    >>> attack_predictions((sure, [0] * 50), (unsure, [0] * 50), attacks=["loss"]).membership.attacks[0].auc
    1.0
    """
    inside = observe(*members, task=task, kind=kind)
    observe(*nonmembers, task=task, kind=kind)  # its own message, before the two are joined
    outputs = np.concatenate([np.asarray(members[0], np.float64), np.asarray(nonmembers[0], np.float64)])
    labels = np.concatenate([np.asarray(members[1]), np.asarray(nonmembers[1])])
    signals = observe(outputs, labels, task=task, kind=kind)
    member = np.arange(len(signals)) < len(inside)
    return attacked(
        signals, member, attacks=attacks, terms=terms, slices=slices, name=name, trained_by=f"given {kind}", seed=seed
    )


def attacked(
    signals: Signals,
    member: BoolArray,
    *,
    attacks: Sequence[str],
    terms: Terms,
    name: str,
    trained_by: str,
    slices: Mapping[str, object] | None = None,
    references: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Result:
    """Run attacks on signals, join the truth, and put the findings into a result.

    An attack that is named and cannot run is an error; of the default ones those that lack something are left out,
    with the reason in the result.
    """
    room().need(len(signals))
    scored: dict[str, tuple[Any, FloatArray, BoolArray]] = {}
    skipped: list[SkippedAttack] = []
    names = list(attacks) or list(DEFAULT_ATTACKS)
    with (progress or Silent()).task("attacking", len(names)) as advance:
        for one in names:
            attack = registry.build("membership", one, {}, where=f"attack {one!r}")
            try:
                seen, kept = audited_part(attack, signals, member)
                scored[one] = (scoring.chosen(attack, signals), attack(seen), kept)
            except InputError as error:
                if attacks:
                    raise
                skipped.append(SkippedAttack(attack=one, reason=str(error)))
            advance(1)
    unit: Unit = "record"
    adjacency: Adjacency = "add-remove"
    result = audited(
        {one: (attack, Scores.join(scores, member[kept])) for one, (attack, scores, kept) in scored.items()},
        name=name,
        trained_by=trained_by,
        terms=membership.Terms("one-run", terms.delta, terms.confidence, adjacency, unit),
        epsilon=terms.epsilon,
        seed=seed,
    )
    assert result.membership is not None
    columns = {by: np.asarray(values) for by, values in (slices or {}).items()}
    groups = membership.chosen_groups(signals, [*_slices(signals), *columns], columns)
    found = []
    for outcome in result.membership.attacks:
        _, scores, kept = scored[outcome.attack]
        parts = {by: values[kept] for by, values in groups.items()}
        by_slice = sliced(scores, member[kept], parts, fpr=scoring.FPRS[0])
        found.append(outcome.model_copy(update={"slices": by_slice, "spent": int((~kept).sum())}))
    update = {"attacks": found, "skipped": skipped, "references": references, "floored": {name: signals.floored}}
    return result.model_copy(update={"membership": result.membership.model_copy(update=update)})


def _slices(signals: Signals) -> list[str]:
    return ["loss"] if signals.log_probabilities is None else ["class", "loss", "classified"]


def _divided(
    references: References, audited_records: Dataset, members: int, task: Task, columns: Sequence[str], *, seed: int
) -> tuple[Dataset, Dataset | None]:
    """Records that reference models are trained on halves of, and a population that no model has seen.

    The first are the audited records, filled up from the further ones to twice the size of the target's training
    data. The second is what is left, at least a fifth of the further records.
    """
    if references.data is None:
        return audited_records, None
    further = given(references.data, "reference data", task, columns)
    refuse_overlap(audited_records, further)
    wanted = 2 * (references.records or members) if references.recipe is not None else 0
    used = int(np.clip(wanted - len(audited_records), 0, len(further) - -(-len(further) // 5)))
    order = np.random.default_rng(derived(seed, "reference data")).permutation(len(further))
    population = further.take(order[used:])
    if not used:
        return audited_records, population
    return together(audited_records, further.take(order[:used]), audited_records.name), population


def trainer_from(recipe: Mapping[str, Any], loaded: "LoadedModel") -> Trainer:
    """A trainer with the architecture of a model file, and what the file says of its optimizer."""
    parameters = dict(recipe)
    name = parameters.pop("trainer", "sgd")
    known = {field.name for field in fields(registry.resolve("trainers", name))}
    compiled = loaded.compiled
    if "optimizer" in known and compiled.optimizer in ("sgd", "adam"):
        parameters.setdefault("optimizer", compiled.optimizer)
    if "learning_rate" in known and compiled.learning_rate is not None:
        parameters.setdefault("learning_rate", compiled.learning_rate)
    if "momentum" in known and compiled.optimizer == "sgd":
        parameters.setdefault("momentum", compiled.momentum)
    trainer: Trainer = registry.build("trainers", name, parameters, where="recipe", architecture=loaded.architecture)
    return trainer


def _utility(task: Task, signals: Signals, outputs: FloatArray, records: Dataset, member: BoolArray) -> Utility | None:
    if task == "regression":
        labels = records.labels.reshape(len(records), -1).astype(np.float64)
        error = np.square(outputs.reshape(len(records), -1) - labels).mean(axis=1)
        return Utility(
            metric="mean squared error", train=float(error[member].mean()), test=float(error[~member].mean())
        )
    if signals.log_probabilities is None:
        return None
    right = signals.correct()
    return Utility(metric="accuracy", train=float(right[member].mean()), test=float(right[~member].mean()))
