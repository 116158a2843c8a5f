"""``dpaudit score``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dpaudit.cli.options import ChosenByOption, Json, Out, Probability, Quiet, Seed, UserColumn


def score(
    file: Annotated[Path, typer.Argument(help="CSV, Parquet or NPZ with one row per record.")],
    epsilon: Annotated[float | None, typer.Option(help="Claimed ε; leave it out to claim nothing.")] = None,
    delta: Annotated[float, typer.Option(help="δ of the claim, and at which ε is measured.")] = 1e-5,
    chosen_by: ChosenByOption = None,
    probability: Probability = None,
    user: UserColumn = None,
    score_column: Annotated[str, typer.Option(help="Column of the scores; higher = more likely a member.")] = "score",
    member_column: Annotated[str, typer.Option(help="Column that says who was trained on.")] = "member",
    lower_is_member: Annotated[
        bool, typer.Option("--lower-is-member", help="Lower scores mean members, as those of a loss do.")
    ] = False,
    confidence: Annotated[float, typer.Option(help="Confidence of the lower bound.")] = 0.95,
    design: Annotated[str, typer.Option(help="one-run (all scores from one model) or many-runs.")] = "one-run",
    unit: Annotated[
        str | None, typer.Option(help="What one coin decided about: record, or user (which --user implies).")
    ] = None,
    adjacency: Annotated[str, typer.Option(help="add-remove, replace-one or zero-out.")] = "add-remove",
    out: Out = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Audit scores you already have, of a model of any framework."""
    from dpaudit.audits.score import audit_scores
    from dpaudit.cli.output import finish

    scores, member, *users = _columns(file, [score_column, member_column, *([] if user is None else [user])])
    result = audit_scores(
        scores,
        member,
        delta=delta,
        epsilon=epsilon,
        confidence=confidence,
        design=design,  # type: ignore[arg-type]  # checked there, with the options named
        chosen_by=chosen_by,  # type: ignore[arg-type]  # likewise
        probability=probability,
        users=users[0] if users else None,
        lower_is_member=lower_is_member,
        unit=unit,  # type: ignore[arg-type]  # likewise
        adjacency=adjacency,  # type: ignore[arg-type]  # likewise
        name=file.stem,
        seed=seed,
    )
    if out is not None:
        result.save(out, overwrite=True)
    finish(result, folder=out, json=json, quiet=quiet)


def _columns(file: Path, names: list[str]) -> list[Any]:
    from dpaudit.data.load import column, read_table, table_kind
    from dpaudit.runtime.check import nearest
    from dpaudit.runtime.errors import InputError
    from dpaudit.runtime.files import read_npz

    if table_kind(file) == ".npz":
        arrays = read_npz(file)
        for name in names:
            if name not in arrays:
                raise InputError(
                    f"{file} has no array {name!r}; it has {', '.join(sorted(arrays))}.{nearest(name, arrays)}"
                )
        return [arrays[name] for name in names]
    table = read_table(file)
    return [column(table, name, file).to_numpy() for name in names]
