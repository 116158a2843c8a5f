"""``dpaudit score``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dpaudit.cli.options import Json, Out, Quiet, Seed


def score(
    file: Annotated[Path, typer.Argument(help="CSV, Parquet or NPZ with one row per record.")],
    epsilon: Annotated[float | None, typer.Option(help="Claimed ε; leave it out to claim nothing.")] = None,
    delta: Annotated[float, typer.Option(help="δ of the claim, and at which ε is measured.")] = 1e-5,
    score_column: Annotated[str, typer.Option(help="Column of the scores; higher = more likely a member.")] = "score",
    member_column: Annotated[str, typer.Option(help="Column that says who was trained on.")] = "member",
    confidence: Annotated[float, typer.Option(help="Confidence of the lower bound.")] = 0.95,
    design: Annotated[str, typer.Option(help="one-run (all scores from one model) or many-runs.")] = "one-run",
    unit: Annotated[str, typer.Option(help="What one coin decided about: record or user.")] = "record",
    adjacency: Annotated[str, typer.Option(help="add-remove, replace-one or zero-out.")] = "add-remove",
    out: Out = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Audit scores you already have, of a model of any framework."""
    from dpaudit.cli.output import finish
    from dpaudit.files import write_text
    from dpaudit.reports.html import write_report
    from dpaudit.score import audit_scores

    columns = _columns(file, score_column, member_column)
    result = audit_scores(
        *columns,
        delta=delta,
        epsilon=epsilon,
        confidence=confidence,
        design=design,  # type: ignore[arg-type]  # checked there, with the options named
        unit=unit,  # type: ignore[arg-type]  # likewise
        adjacency=adjacency,  # type: ignore[arg-type]  # likewise
        name=file.stem,
        seed=seed,
    )
    if out is not None:
        write_text(out / "result.json", result.json())
        write_report(result, out)
    finish(result, folder=out, json=json, quiet=quiet)


def _columns(file: Path, score_column: str, member_column: str) -> tuple[Any, Any]:
    from dpaudit._check import nearest
    from dpaudit.data.load import SUFFIXES, column, read_table
    from dpaudit.errors import InputError
    from dpaudit.files import read_npz

    if file.suffix not in SUFFIXES:
        raise InputError(f"{file} must end in {', '.join(SUFFIXES)}.")
    if file.suffix == ".npz":
        arrays = read_npz(file)
        for name in (score_column, member_column):
            if name not in arrays:
                raise InputError(
                    f"{file} has no array {name!r}; it has {', '.join(sorted(arrays))}.{nearest(name, arrays)}"
                )
        return arrays[score_column], arrays[member_column]
    table = read_table(file)
    return column(table, score_column, file).to_numpy(), column(table, member_column, file).to_numpy()
