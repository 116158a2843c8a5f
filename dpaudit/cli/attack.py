"""``dpaudit attack``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpaudit.cli.options import ChosenByOption, Json, Out, Probability, Quiet, Seed, UserColumn

if TYPE_CHECKING:
    from dpaudit.audits.references import References


def attack(
    files: Annotated[list[Path] | None, typer.Argument(help="Further files of --predictions.")] = None,
    experiment: Annotated[
        Path | None,
        typer.Option(
            help="Folder of dpaudit split or dpaudit canaries: says who was trained on, in place of --members, "
            "--nonmembers, --chosen-by, --probability and --user."
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="Keras 2 or 3 model (.keras, .h5), ONNX model of any framework, or a SavedModel folder."),
    ] = None,
    members: Annotated[Path | None, typer.Option(help="Records it was trained on: CSV, Parquet or NPZ.")] = None,
    nonmembers: Annotated[Path | None, typer.Option(help="Records of the same kind it was not trained on.")] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(
            help="Instead of a model: two files, its outputs on members and on non-members, in columns named like the "
            "classes, with the column of labels. With --experiment any number of files, with the column of ids."
        ),
    ] = None,
    token_logprobs: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            help="Instead of a model: log-probabilities of the tokens of members and of others under a language model, "
            "Parquet, JSON lines or NPZ."
        ),
    ] = None,
    decides: Annotated[
        str | None,
        typer.Option(
            help="With --token-logprobs: the score that gets the bound on ε, or all, which share the error level. "
            "Default: reference where there are reference models, else perplexity; the first --attack without it."
        ),
    ] = None,
    features: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="With --predictions: their records in the same order, to see whether the sides differ."),
    ] = None,
    outputs: Annotated[
        str | None,
        typer.Option(
            help="What the outputs are: probabilities or logits. Default: predictions are probabilities, a model's "
            "outputs are what they and its loss say."
        ),
    ] = None,
    reference_data: Annotated[Path | None, typer.Option(help="More records of the same kind, none a member.")] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="TOML: how it was trained (trainer, epochs, batch_size, noise_multiplier ...).")
    ] = None,
    references: Annotated[int, typer.Option(help="Reference models to train by the recipe.")] = 16,
    attacks: Annotated[list[str] | None, typer.Option("--attack", help="Only this attack; may be repeated.")] = None,
    query: Annotated[
        list[str] | None,
        typer.Option(
            "--query",
            help="With --model: also ask about copies of each record, for attacks that use several queries: "
            "noise:SCALE, noise:SCALE:COPIES, flip or shift:DOWN:RIGHT; may be repeated.",
        ),
    ] = None,
    slices: Annotated[
        list[str] | None, typer.Option("--slice", help="Also say who is exposed by this column; may be repeated.")
    ] = None,
    chosen_by: ChosenByOption = None,
    probability: Probability = None,
    user: UserColumn = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label", help="Column of the labels. Default: label. Repeat it for several labels of 0 and 1 a record."
        ),
    ] = None,
    drop: Annotated[list[str] | None, typer.Option("--drop", help="Leave this column out; may be repeated.")] = None,
    task: Annotated[str | None, typer.Option(help="multiclass, binary, multilabel or regression.")] = None,
    epsilon: Annotated[float | None, typer.Option(help="Claimed ε; leave it out to claim nothing.")] = None,
    delta: Annotated[float, typer.Option(help="δ of the claim, and at which ε is measured.")] = 1e-5,
    confidence: Annotated[float, typer.Option(help="Confidence that all lower bounds hold.")] = 0.95,
    trust_code: Annotated[bool, typer.Option("--trust-code", help="Run code that the model file holds.")] = False,
    imports: Annotated[
        list[str] | None,
        typer.Option("--import", help="Module that registers the model's own classes with Keras; may be repeated."),
    ] = None,
    show_records: Annotated[
        bool,
        typer.Option("--show-records", help="With --token-logprobs: put the texts that stand out into the result."),
    ] = False,
    out: Out = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Attack a trained model: can one tell who was in its training data?"""
    import numpy as np

    from dpaudit.audits.attack import attack_model
    from dpaudit.audits.experiment.audit import audit_experiment
    from dpaudit.audits.predictions import attack_predictions
    from dpaudit.audits.statement import StatementKeywords
    from dpaudit.audits.text.run import audit_text
    from dpaudit.cli.output import finish
    from dpaudit.data.prediction_files import read_features, read_predictions
    from dpaudit.data.queries import parse_query
    from dpaudit.runtime.errors import InputError
    from dpaudit.runtime.progress import on_standard_error

    progress = on_standard_error(quiet=quiet)
    labels = label[0] if label and len(label) == 1 else label or None
    if isinstance(labels, list) and task is None:
        task = "multilabel"
    given = [*(predictions or []), *(files or [])]
    if files and not predictions:
        raise InputError(f"{files[0]} has no option before it; outputs of a model go with --predictions.")
    stated = StatementKeywords(
        epsilon=epsilon,
        delta=delta,
        confidence=confidence,
        chosen_by=chosen_by,  # type: ignore[typeddict-item]  # checked there, with the options named
        probability=probability,
        seed=seed,
    )
    if query and (token_logprobs is not None or experiment is not None or given):
        raise InputError("--query goes with --model, --members and --nonmembers.")
    if token_logprobs is not None:
        said = (model, members, nonmembers, predictions, experiment, features, recipe, outputs, task)
        if any(each is not None for each in said):
            raise InputError("--token-logprobs takes the place of a model, its records and its predictions.")
        if slices or drop or label is not None:
            raise InputError("--slice, --drop and --label are for tables of records, not for --token-logprobs.")
        stated["name"], stated["users"] = token_logprobs[0].stem, user
        result = audit_text(
            *token_logprobs,
            population=reference_data,
            attacks=attacks or (),
            decides=decides,
            show_records=show_records,
            **stated,
        )
    elif decides is not None or show_records:
        raise InputError("--decides and --show-records go with --token-logprobs.")
    elif experiment is not None:
        known = (members, nonmembers, chosen_by, probability, user, features)
        if any(each is not None for each in known):
            raise InputError(
                "--experiment says who was trained on and how they were chosen: leave out --members, --nonmembers, "
                "--chosen-by, --probability, --user and --features."
            )
        result = audit_experiment(
            experiment,
            given or None,
            model=model,
            references=_references(recipe, reference_data, references),
            attacks=attacks,
            task=task,  # type: ignore[arg-type]  # checked there, with the options named
            kind=outputs,  # type: ignore[arg-type]  # likewise
            slices=slices or (),
            epsilon=epsilon,
            delta=delta,
            confidence=confidence,
            seed=seed,
            label=_one(labels),
            drop=drop or (),
            folder=None if out is None else out / "references",
            progress=progress,
            trust_code=trust_code,
            imports=imports or (),
        )
    elif given:
        if len(given) != 2:
            raise InputError(f"--predictions takes two files, of members and of non-members, got {len(given)}.")
        if model is not None or members is not None or nonmembers is not None or recipe is not None:
            raise InputError("--predictions takes the place of --model, --members, --nonmembers and --recipe.")
        beside = [*(slices or []), *([] if user is None else [user])]
        (inside, by_member), (outside, by_other) = (
            read_predictions(file, labels, beside, drop or []) for file in given
        )
        columns = {by: np.concatenate([values, by_other[by]]) for by, values in by_member.items()}
        stated["name"], stated["users"] = given[0].stem, None if user is None else columns[user]
        result = attack_predictions(
            inside,
            outside,
            attacks=attacks or (),
            features=None if features is None else read_features(*features),
            slices={by: columns[by] for by in slices or []},
            task=task or "multiclass",  # type: ignore[arg-type]  # checked there, with the options named
            kind=outputs or "probabilities",  # type: ignore[arg-type]  # likewise
            **stated,
        )
    else:
        if features is not None:
            raise InputError("--features go with --predictions; a model's records are there already.")
        if model is None or members is None or nonmembers is None:
            raise InputError("give --model, --members and --nonmembers, or --predictions MEMBERS NONMEMBERS.")
        stated["name"], stated["users"] = model.stem, user
        result = attack_model(
            model,
            members,
            nonmembers,
            kind=outputs,  # type: ignore[arg-type]  # likewise
            references=_references(recipe, reference_data, references),
            attacks=attacks or (),
            task=task,  # type: ignore[arg-type]  # likewise
            **stated,
            slices=slices or (),
            queries=[parse_query(text) for text in query or ()],
            label=labels or "label",
            drop=drop or (),
            folder=None if out is None else out / "references",
            progress=progress,
            trust_code=trust_code,
            imports=imports or (),
        )
    if out is not None:
        result.save(out, overwrite=True)
    finish(result, folder=out, json=json, quiet=quiet)


def _one(labels: str | list[str] | None) -> str | None:
    """The column of labels of an experiment, which has one."""
    from dpaudit.runtime.errors import InputError

    if isinstance(labels, list):
        raise InputError(f"an experiment has one column of labels, got {len(labels)} (--label).")
    return labels


def _references(recipe: Path | None, data: Path | None, models: int) -> "References | None":
    from dpaudit.audits.references import References
    from dpaudit.runtime.files import parse_toml, read_text

    if recipe is None and data is None:
        return None
    table: dict[str, Any] | None = None if recipe is None else parse_toml(read_text(recipe), recipe)
    records = None if table is None else table.pop("records", None)
    return References(table, None if data is None else str(data), models, records)
