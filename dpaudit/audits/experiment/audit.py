"""Judge a training by an experiment: the inclusions are joined to what the model says, and a verdict follows."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import TypedDict, Unpack

from dpaudit.audits.attack import ModelKeywords, attack_model
from dpaudit.audits.experiment.heldout import better_than_expected, refuse_seen_canaries
from dpaudit.audits.experiment.joined import join_inclusions
from dpaudit.audits.experiment.predictions import LOSS, JoinedPredictions, join_predictions
from dpaudit.audits.experiment.sealed import INCLUSION, Experiment, open_experiment
from dpaudit.audits.predictions import audit_predictions
from dpaudit.audits.references import References
from dpaudit.audits.score import audit_scores
from dpaudit.audits.statement import StatementKeywords, refuse_unknown
from dpaudit.data.dataset import Task
from dpaudit.data.formats.arrays import ArrayFile
from dpaudit.data.formats.opening import open_records
from dpaudit.data.formats.record_file import RecordFile, words_of
from dpaudit.data.formats.table import CsvTable, ParquetTable
from dpaudit.results.facts import with_verdicts
from dpaudit.results.result import Result
from dpaudit.runtime.check import IntArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.progress import Progress
from dpaudit.runtime.seeds import derive_seed
from dpaudit.scores.from_outputs import OutputKind


class ExperimentKeywords(TypedDict, total=False):
    """Keyword arguments of `audit_experiment`.

    Args:
        epsilon: the claimed ε for adding or removing one record, or one user; None, the default, claims nothing.
        delta: δ of the claim, and at which ε is measured. 1e-5.
        confidence: that all bounds of the audit hold together. 0.95.
        name: what the report calls the model.
        seed: of what the audit draws; the inclusions are drawn already. 0.
        label: column of the labels in the predictions; None, the default, is that of the experiment.
        drop: columns of the predictions, or of the records, that are left out.
        folder: as for `ModelKeywords`; so are ``progress``, ``trust_code`` and ``imports``, which go with a model.
    """

    epsilon: float | None
    delta: float
    confidence: float
    name: str
    seed: int
    label: str | None
    drop: Sequence[str]
    folder: Path | None
    progress: Progress | None
    trust_code: bool
    imports: Sequence[str]


STATED = ("epsilon", "delta", "confidence", "name", "seed")
OF_MODEL = ("folder", "progress", "trust_code", "imports")


def audit_experiment(
    experiment: str | Path | Experiment,
    predictions: object = None,
    *,
    model: str | Path | Callable[[Any], object] | None = None,
    references: References | None = None,
    attacks: Sequence[str] | None = None,
    task: Task | None = None,
    kind: OutputKind | None = None,
    slices: Sequence[str] = (),
    **keywords: Unpack[ExperimentKeywords],
) -> Result:
    """Judge a model that was trained on the ``train`` part of an experiment.

    Args:
        experiment: folder of `split_data` or `plant_canaries`, or what they return.
        predictions: of the model on the ``train`` and the ``heldout`` part: a CSV, Parquet or NPZ file, several, or a
            data frame. It has the column of ids and one for each class, or one column ``loss`` (or ``score``, higher
            for a member). Rows are found by their ids; every audited record must be there.
        model: instead of predictions, a model as for `attack_model`; the data are a table or NPZ file then.
        references: further data and reference models, with a model.
        attacks: names as in the registry; None is as for `audit_predictions`, and with a model all that can run.
        task: what the model predicts; ``multiclass`` for predictions.
        kind: ``logits`` or ``probabilities``; predictions are probabilities where nobody says otherwise.
        slices: columns to slice the records by.
        keywords: ``epsilon``, ``delta``, ``confidence``, ``name``, ``seed``, ``label``, ``drop``, ``folder``,
            ``progress``, ``trust_code`` and ``imports`` of `ExperimentKeywords`.

    Returns:
        A result like that of `dpaudit.run`: the same report and gates work on it.

    Raises:
        InputError: a file of the experiment was changed, records are missing or twice, predictions are of other
            records, or the model answers held-out canaries that it cannot know.
    """
    refuse_unknown(keywords, ExperimentKeywords.__optional_keys__, "audit_experiment")
    known = experiment if isinstance(experiment, Experiment) else open_experiment(Path(experiment))
    if (predictions is None) == (model is None):
        raise InputError("give either predictions (--predictions FILE) or a model (--model FILE).")
    stated = StatementKeywords(chosen_by="coin", probability=known.manifest.share)
    stated.update({key: value for key, value in keywords.items() if key in STATED})  # type: ignore[typeddict-item]
    label, drop = keywords.get("label"), keywords.get("drop", ())
    if model is None:
        if references is not None:
            raise InputError("references go with a model; predictions have none.")
        found = join_predictions(known, predictions, label=label, beside=slices, drop=drop)
        stated["name"] = keywords.get("name", found.name or known.folder.resolve().name)
        stated["users"] = found.joined.users
        result = _of_predictions(found, stated, attacks=attacks, task=task, kind=kind)
    else:
        inside, outside, users = _sides(known, label or known.manifest.label, drop, slices)
        stated["name"] = keywords.get("name", "model" if callable(model) else Path(model).stem)
        stated["users"] = users
        of_model = ModelKeywords()
        of_model.update(stated)  # type: ignore[typeddict-item]  # these are among its keys
        of_model.update({key: value for key, value in keywords.items() if key in OF_MODEL})  # type: ignore[typeddict-item]
        result = attack_model(
            model,
            inside[0],
            outside[0],
            references=references,
            attacks=attacks or (),
            task=task,
            kind=kind,
            slices={by: np.concatenate([inside[1][by], outside[1][by]]) for by in slices},
            **of_model,
        )
    refuse_seen_canaries(known, result)
    seed = derive_seed(keywords.get("seed", 0), "forest")
    return _with_caveats(result, known, better_than_expected(known, result, seed=seed))


def _of_predictions(
    found: JoinedPredictions,
    stated: StatementKeywords,
    *,
    attacks: Sequence[str] | None,
    task: Task | None,
    kind: OutputKind | None,
) -> Result:
    member = found.joined.member
    if found.scores is not None and task is None:
        if attacks or found.columns:
            raise InputError(f"predictions hold one column {found.scores!r}: leave --attack and --slice out.")
        values = np.asarray(found.outputs, np.float64).reshape(-1)
        return _noted(audit_scores(values, member, lower_is_member=found.scores == LOSS, **stated), found.notes)
    labels = found.labels
    if labels is None:
        raise InputError("predictions need a column of labels (--label), for the experiment has none.")
    if task in ("regression", "multilabel"):
        labels = np.asarray(labels, np.float64)
    return audit_predictions(
        found.outputs,
        labels,
        member,
        attacks=attacks,
        kind=kind or "probabilities",
        notes=found.notes,
        task=task or "multiclass",
        slices=found.columns or None,
        **stated,
    )


Side = tuple[tuple[object, object], dict[str, Any]]


def _sides(known: Experiment, label: str | None, drop: Sequence[str], slices: Sequence[str]) -> tuple[Side, Side, Any]:
    """Members and non-members with their labels and columns, and whose they are; found by id, not by file."""
    made = known.manifest
    if known.unchecked:
        raise InputError(f"{known.folder / known.unchecked[0]} is gone: a model is asked about the records themselves.")
    parts = [open_records(path) for path in (known.train, known.heldout)]
    if not isinstance(parts[0], CsvTable | ParquetTable | ArrayFile):
        raise InputError(
            f"a {parts[0].kind} is not what a model takes as it is: give the model's outputs with --predictions."
        )
    if label is None:
        raise InputError("a model's outputs are compared with labels: name their column with --label.")
    both = parts[0].followed_by(parts[1])  # type: ignore[arg-type]  # both have the format of the experiment
    joined = join_inclusions(known, words_of(both, made.id, "the id"), f"{made.train} and {made.heldout}")
    held_in = np.arange(len(both)) < len(parts[0])
    if not (held_in[joined.rows] == joined.member).all():
        raise InputError(f"{made.train} and {made.heldout} are not what the inclusions say: one of them was changed.")
    features, labels = _features(both, {made.id, label, made.user, *drop}), both.values(label)
    columns = {by: words_of(both, by, "to slice by") for by in slices}
    sides = []
    for rows in (joined.rows[joined.member], joined.rows[~joined.member]):
        sides.append(((_rows(features, rows), labels[rows]), {by: values[rows] for by, values in columns.items()}))
    users = joined.users
    if users is not None:
        users = np.concatenate([users[joined.member], users[~joined.member]])
    return sides[0], sides[1], users


def _features(both: RecordFile, gone: set[str | None]) -> Any:
    """A data frame of a table, the array or arrays of an NPZ file."""
    if isinstance(both, CsvTable | ParquetTable):
        frame = both.frame().reset_index(drop=True)
        return frame[[name for name in frame.columns if name not in gone]]
    assert isinstance(both, ArrayFile)
    arrays = {name: array for name, array in both.arrays.items() if name not in gone}
    return arrays.get("features", arrays)


def _rows(features: Any, rows: IntArray) -> Any:
    if isinstance(features, dict):
        return {name: array[rows] for name, array in features.items()}
    return features.iloc[rows] if hasattr(features, "iloc") else features[rows]


def _with_caveats(result: Result, known: Experiment, doubt: str) -> Result:
    """The result with how it was made, and with the verdicts once more, which say it too."""
    gone = [f"{name} is no longer in the folder: nobody has checked that it is unchanged." for name in known.unchecked]
    made = f"By {known.folder.resolve().name}/{INCLUSION}, {known.sentence}"
    if known.manifest.audited == "canaries":  # what a model answers to made-up labels is not what it learned
        result = _without(result, f"{result.models[0].name} answers ")
    noted = _noted(result, [made, *gone, *([doubt] if doubt else [])])
    data = noted.data.model_copy(update={"fingerprint": known.manifest.source_sha256})
    return noted.model_copy(update={"data": data})


def _without(result: Result, begin: str) -> Result:
    assert result.membership is not None
    kept = [caveat for caveat in result.membership.caveats if not caveat.startswith(begin)]
    return result.model_copy(update={"membership": result.membership.model_copy(update={"caveats": kept})})


def _noted(result: Result, notes: Sequence[str]) -> Result:
    if not notes:
        return result
    assert result.membership is not None
    membership = result.membership.model_copy(update={"caveats": [*result.membership.caveats, *notes]})
    return with_verdicts(result.model_copy(update={"membership": membership}))
