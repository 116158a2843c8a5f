"""Attack somebody's trained model: is it possible to tell who was in its training data?"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from typing_extensions import Unpack

from dpaudit.audits.likeness import likeness
from dpaudit.audits.membership.reference_models import observed_pool, target_signals
from dpaudit.audits.membership.views import Queried
from dpaudit.audits.references import References, divided, read_further
from dpaudit.audits.score import AboutModel
from dpaudit.audits.signals import attack_signals, utility_of
from dpaudit.audits.statement import StatementKeywords, refuse_unknown, stated
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
from dpaudit.data.queries import Query
from dpaudit.data.table_columns import named
from dpaudit.results.result import Result
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.jax import refuse_unbound
from dpaudit.runtime.progress import Progress, Silent
from dpaudit.runtime.pytorch import is_of_torch
from dpaudit.runtime.seeds import derive_seed
from dpaudit.scores.from_outputs import OutputKind
from dpaudit.training.given_model import GivenModel, load_given
from dpaudit.training.load_model import LoadedModel
from dpaudit.training.model_inputs import one_array
from dpaudit.training.onnx_model import OnnxModel
from dpaudit.training.reference_models.pool import Pool
from dpaudit.training.torch_module import module_outputs
from dpaudit.training.trainer_of_file import trainer_from


class ModelKeywords(StatementKeywords, total=False):
    """Keyword arguments of `attack_model`, beside those of `StatementKeywords`.

    Args:
        label: column of the labels in files that are tables. ``label``. Columns, in the order of the model's outputs,
            where each record has several labels of 0 and 1.
        drop: columns of such files that are no features.
        folder: where trained reference models are kept and found again; None, the default, keeps nothing.
        progress: where long steps say how far they are.
        queries: copies of each record to ask the model and its references about too, for the attacks that use
            several.
        trust_code: run the code a Lambda layer in the file, or a SavedModel, holds. False.
        imports: modules to import first, which register the model's own classes with Keras.
    """

    label: str | Sequence[str]
    drop: Sequence[str]
    folder: Path | None
    progress: Progress | None
    queries: Sequence[Query]
    trust_code: bool
    imports: Sequence[str]


def attack_model(
    model: str | Path | Callable[[Any], object],
    members: Given,
    nonmembers: Given,
    *,
    references: References | None = None,
    attacks: Sequence[str] = (),
    task: Task | None = None,
    kind: OutputKind | None = None,
    slices: Mapping[str, object] | Sequence[str] = (),
    **keywords: Unpack[ModelKeywords],
) -> Result:
    """Attack a trained model with records it was trained on and records it was not.

    Args:
        model: a Keras or ONNX file, the folder of a SavedModel, a ``torch.nn.Module``, a Flax module bound to its
            parameters, or a function from features (records, ...) to outputs (records, outputs) of any framework, which
            must predict in inference mode.
        members: records the model was trained on: a `Dataset`, a file, or (features, labels). For a model file with
            several inputs the features are a table of one array per input, in Python or in an NPZ file; for an ONNX
            model also a table with a column of numbers or words for each input.
        nonmembers: records from the same source it was not trained on.
        references: further data and reference models, for the attacks that need them; None trains nothing.
        attacks: names as in the registry; all that can run when empty.
        task: what the model predicts; read from the file, or ``multiclass`` for a function.
        kind: what the model returns, ``logits`` or ``probabilities``; None is logits for a function, and decided by the
            outputs and the loss for a file.
        slices: further columns to slice the records by: names of columns that the files have (a column of numbers
            stays a feature, one of words is none), or the columns themselves, each with one value per record, members
            first.
        keywords: ``label``, ``drop``, ``folder``, ``progress``, ``queries``, ``trust_code`` and ``imports`` of
            `ModelKeywords`; ``epsilon``, ``delta``, ``confidence``, ``chosen_by``, ``probability``, ``users``,
            ``adjacency``, ``name`` and ``seed`` of `StatementKeywords`. ``users`` may be the name of a column that the
            files have and that is no feature, or one value per record, members first; nothing is sliced then.

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
    refuse_unknown(keywords, ModelKeywords.__optional_keys__, "attack_model")
    if keywords.get("design") == "many-runs":
        raise InputError("one model is attacked: leave design out; many-runs is for scores of many trainings.")
    label, drop, folder = keywords.get("label", "label"), keywords.get("drop", ()), keywords.get("folder")
    trust_code, users = keywords.get("trust_code", False), keywords.get("users")
    begin = time.monotonic()
    progress = keywords.get("progress") or Silent()
    recipe = None if references is None else references.recipe
    loaded: GivenModel | None = None
    read = as_dataset
    predict: Callable[[Any], object]
    if is_of_torch(model):
        model = module_outputs(model)
    refuse_unbound(model)
    if callable(model):
        predict = model
        task, made_by = task or "multiclass", ""
        if isinstance(recipe, Mapping):
            raise InputError("a recipe of parameters needs a model file with its architecture; give a trainer instead.")
    else:
        loaded = load_given(Path(model), trust_code=trust_code, imports=keywords.get("imports", ()))
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
    further = read_further(references, task, columns, user, label=label, drop=drop, read=read)
    inside, outside, *others = aligned([inside, outside, *([] if further is None else [further])])
    if isinstance(loaded, OnnxModel):
        loaded, (inside, outside, *others) = loaded.by_class([inside, outside, *others])
    further = others[0] if others else None
    refuse_overlap(inside, outside, allowed=0.5)
    audited_records = concatenate_datasets(inside, outside, keywords.get("name", "model"))
    member = np.arange(len(audited_records)) < len(inside)
    if user is not None:
        keywords["users"] = both_users(inside, outside)
    statement = stated(keywords, member, name="model")
    seed = statement.seed
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
    labels = audited_records.labels
    data = AsData.of(seen_as, labels, member, users=statement.users, seed=derive_seed(seed, "as data"))
    outputs = predict_outputs(predict, audited_records)
    audited_records = _as_many_classes(audited_records, outputs)
    records, population = audited_records, None
    if references is not None:
        records, population = divided(references, further, audited_records, len(inside), seed=seed)
    queries = keywords.get("queries", ())
    # Where there is no population one record takes its place; what is seen of it there is not used.
    aside = audited_records.take(np.arange(1)) if population is None else population
    queried = Queried.of(audited_records, aside, queries, seed=derive_seed(seed, "queries"))
    asked = queried.everything if queries or population is not None else None
    pool, rows = None, None
    if references is not None and recipe is not None:
        assert not isinstance(recipe, Mapping)  # a file made a trainer of it, a function refused it
        included = complementary_pairs(references.models, len(records), seed=derive_seed(seed, "pairs"))
        with nullcontext(folder) if folder is not None else TemporaryDirectory() as kept:
            wanted = Pool(recipe, records, included, asked, derive_seed(seed, "references"), Path(kept))
            pool = observed_pool(wanted, progress)
        rows = np.arange(len(records)) < len(audited_records)
    seen = None if asked is None else predict_outputs(predict, asked)
    first = slice(len(aside))
    plain = pool if pool is None or pool.population is None else replace(pool, population=pool.population[:, first])
    signals = target_signals(
        outputs,
        audited_records,
        population,
        None if seen is None else seen[first],
        kind=kind,
        pool=plain,
        rows=rows,
    )
    if seen is not None:
        signals = replace(signals, queries=queried.signals(seen, audited_records, kind, signals.included, pool))
    utility = utility_of(task, signals, outputs, audited_records.labels, member)
    alike = None
    if pool is not None and recipe is not None:
        alike = likeness(pool, utility, recipe, loaded if isinstance(loaded, LoadedModel) else None)
    known = AboutModel(
        trained_by=f"given model{made_by}",
        utility=utility,
        references=0 if pool is None else len(pool),
        data=data,
        caveats=[*audited_records.reading, *_columns_given(loaded, inside), *([] if alike is None else alike.unlike)],
    )
    result = attack_signals(
        signals,
        member,
        statement,
        known,
        attacks=attacks,
        slices=slices if isinstance(slices, Mapping) else side_by_side(inside, outside, columns),
        classes=audited_records.class_names,
        progress=progress,
    )
    assert result.membership is not None
    timing = {"total": round(time.monotonic() - begin, 3)}
    return result.model_copy(
        update={"timing": timing, "membership": result.membership.model_copy(update={"likeness": alike})}
    )


def _columns_given(loaded: GivenModel | None, records: Dataset) -> list[str]:
    """In which order a model file got the columns of a table: it does not say which it was trained with."""
    if loaded is None or not records.columns:
        return []
    return [f"The model got the columns in the order of {records.name}: {named(records.columns)}."]


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
