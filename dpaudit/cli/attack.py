"""``dpaudit attack``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpaudit.cli.options import ChosenByOption, Json, Out, Probability, Quiet, Seed, UserColumn

if TYPE_CHECKING:
    from dpaudit.audits.attack import References


def attack(
    model: Annotated[
        Path | None, typer.Option(help="Keras 2 or 3 model, .keras or .h5, or a SavedModel folder.")
    ] = None,
    members: Annotated[Path | None, typer.Option(help="Records it was trained on: CSV, Parquet or NPZ.")] = None,
    nonmembers: Annotated[Path | None, typer.Option(help="Records of the same kind it was not trained on.")] = None,
    predictions: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Instead of a model: its outputs on members and on non-members, with a column 'label'."),
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
    slices: Annotated[
        list[str] | None, typer.Option("--slice", help="Also say who is exposed by this column; may be repeated.")
    ] = None,
    chosen_by: ChosenByOption = None,
    probability: Probability = None,
    user: UserColumn = None,
    task: Annotated[str | None, typer.Option(help="multiclass, binary, multilabel or regression.")] = None,
    epsilon: Annotated[float | None, typer.Option(help="Claimed ε; leave it out to claim nothing.")] = None,
    delta: Annotated[float, typer.Option(help="δ of the claim, and at which ε is measured.")] = 1e-5,
    confidence: Annotated[float, typer.Option(help="Confidence that all lower bounds hold.")] = 0.95,
    trust_code: Annotated[bool, typer.Option("--trust-code", help="Run code that the model file holds.")] = False,
    imports: Annotated[
        list[str] | None,
        typer.Option("--import", help="Module that registers the model's own classes with Keras; may be repeated."),
    ] = None,
    out: Out = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Attack a trained model: can one tell who was in its training data?"""
    import numpy as np

    from dpaudit.audits.attack import attack_model, attack_predictions
    from dpaudit.cli.output import finish
    from dpaudit.reports.html import write_report
    from dpaudit.runtime.errors import InputError
    from dpaudit.runtime.files import alone_in, write_text
    from dpaudit.runtime.progress import on_standard_error

    progress = on_standard_error(quiet=quiet)
    if predictions is not None:
        if model is not None or members is not None or nonmembers is not None or recipe is not None:
            raise InputError("--predictions takes the place of --model, --members, --nonmembers and --recipe.")
        beside = [*(slices or []), *([] if user is None else [user])]
        (inside, by_member), (outside, by_other) = (_predictions(file, beside) for file in predictions)
        columns = {by: np.concatenate([values, by_other[by]]) for by, values in by_member.items()}
        result = attack_predictions(
            inside,
            outside,
            attacks=attacks or (),
            users=None if user is None else columns[user],
            features=None if features is None else _features(*features),
            slices={by: columns[by] for by in slices or []},
            task=task or "multiclass",  # type: ignore[arg-type]  # checked there, with the options named
            kind=outputs or "probabilities",  # type: ignore[arg-type]  # likewise
            epsilon=epsilon,
            delta=delta,
            confidence=confidence,
            chosen_by=chosen_by,  # type: ignore[arg-type]  # likewise
            probability=probability,
            name=predictions[0].stem,
            seed=seed,
        )
    else:
        if features is not None:
            raise InputError("--features go with --predictions; a model's records are there already.")
        if model is None or members is None or nonmembers is None:
            raise InputError("give --model, --members and --nonmembers, or --predictions MEMBERS NONMEMBERS.")
        result = attack_model(
            model,
            members,
            nonmembers,
            kind=outputs,  # type: ignore[arg-type]  # likewise
            references=_references(recipe, reference_data, references),
            attacks=attacks or (),
            task=task,  # type: ignore[arg-type]  # likewise
            epsilon=epsilon,
            delta=delta,
            confidence=confidence,
            chosen_by=chosen_by,  # type: ignore[arg-type]  # likewise
            probability=probability,
            users=user,
            slices=slices or (),
            name=model.stem,
            seed=seed,
            folder=None if out is None else out / "references",
            progress=progress,
            trust_code=trust_code,
            imports=imports or (),
        )
    if out is not None:
        with alone_in(out):  # or the result of one attack could lie beside the report of another
            write_text(out / "result.json", result.json())
            write_report(result, out)
    finish(result, folder=out, json=json, quiet=quiet)


def _references(recipe: Path | None, data: Path | None, models: int) -> "References | None":
    from dpaudit.audits.attack import References
    from dpaudit.runtime.files import parse_toml, read_text

    if recipe is None and data is None:
        return None
    table: dict[str, Any] | None = None if recipe is None else parse_toml(read_text(recipe), recipe)
    records = None if table is None else table.pop("records", None)
    return References(table, None if data is None else str(data), models, records)


def _predictions(file: Path, beside: list[str]) -> tuple[tuple[Any, Any], dict[str, Any]]:
    """Outputs and labels of a file, and columns beside them, which are no outputs."""
    from dpaudit.data.load import SUFFIXES, column, read_table
    from dpaudit.runtime.errors import InputError
    from dpaudit.runtime.files import read_npz

    if file.suffix not in SUFFIXES:
        raise InputError(f"{file} must end in {', '.join(SUFFIXES)}.")
    if file.suffix == ".npz":
        arrays = read_npz(file)
        for name in ("outputs", "labels", *beside):
            if name not in arrays:
                raise InputError(f"{file} has no array {name!r}; it has {', '.join(sorted(arrays)) or 'none'}.")
        return (arrays["outputs"], arrays["labels"]), {by: arrays[by] for by in beside}
    table = read_table(file)
    labels = column(table, "label", file).to_numpy()
    columns = {by: column(table, by, file).to_numpy() for by in beside}
    outputs = table.drop(columns=["label", *columns])
    for name in outputs.columns:
        if outputs[name].dtype.kind not in "fiub":
            raise InputError(
                f"column {name!r} of {file} holds {outputs[name].dtype}, no output of a model; leave it out, or name "
                "it with --user or --slice."
            )
        if len(outputs) > 2 and outputs[name].dtype.kind in "iu" and outputs[name].is_unique:
            raise InputError(
                f"column {name!r} of {file} numbers the rows: it is no output of a model; leave it out, or name it "
                "with --user or --slice."
            )
    return (outputs.to_numpy(), labels), columns


def _features(members: Path, nonmembers: Path) -> Any:
    """The records behind predictions, members first: one array, or one table with whatever columns it has."""
    import numpy as np
    import pandas as pd

    from dpaudit.data.load import SUFFIXES, read_table
    from dpaudit.runtime.errors import InputError
    from dpaudit.runtime.files import read_npz

    parts: list[Any] = []
    for file in (members, nonmembers):
        if file.suffix not in SUFFIXES:
            raise InputError(f"{file} must end in {', '.join(SUFFIXES)}.")
        if file.suffix != ".npz":
            parts.append(read_table(file))
            continue
        arrays = read_npz(file)
        if "features" not in arrays:
            raise InputError(f"{file} has no array 'features'; it has {', '.join(sorted(arrays)) or 'none'}.")
        parts.append(arrays["features"])
    if all(isinstance(part, pd.DataFrame) for part in parts):
        if list(parts[0].columns) != list(parts[1].columns):
            raise InputError(f"{members} and {nonmembers} must have the same columns in the same order.")
        return pd.concat(parts, ignore_index=True)
    shapes = [np.shape(part)[1:] for part in parts]
    if shapes[0] != shapes[1]:
        raise InputError(f"{members} and {nonmembers} must hold records of the same shape, got {shapes}.")
    return np.concatenate([np.asarray(part) for part in parts])
