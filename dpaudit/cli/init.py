"""``dpaudit init``."""

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer


def init(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="File to write, or a table (CSV, Parquet) to look at and write a plan for. Default: plan.toml, with "
            "--claims claims.toml."
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="With a table: its column of labels; repeat it for several labels of 0 and 1 a record."),
    ] = None,
    user: Annotated[str | None, typer.Option(help="With a table: its column that says whose record it is.")] = None,
    task: Annotated[
        str | None, typer.Option(help="With a table: multiclass or regression. Default: what the labels look like.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="With a table: the plan to write.")] = Path("plan.toml"),
    claims: Annotated[
        Path | None,
        typer.Option(
            metavar="RESULT",
            help="Write a claims file instead: what this result.json, or the one in this folder, claims and measured, "
            "as claims that it passes.",
        ),
    ] = None,
) -> None:
    """Write a plan, or a claims file, with comments. It runs, or passes, as it is."""
    from dpaudit.audits.plan_for_table import plan_for_table
    from dpaudit.cli.verify import of_run
    from dpaudit.data.csv_file import file_kind
    from dpaudit.data.look import look
    from dpaudit.gate.claims_from_result import LEFT_OUT, write_claims
    from dpaudit.results.result import load_result
    from dpaudit.runtime.check import one_of
    from dpaudit.runtime.errors import InputError
    from dpaudit.runtime.files import write_text

    path = path or Path("plan.toml" if claims is None else "claims.toml")
    table = file_kind(path) in (".csv", ".parquet")
    if (label is not None or user is not None or task is not None) and not table:
        raise InputError(f"--label, --user and --task go with a table, CSV or Parquet; {path} is none.")
    if task is not None:
        one_of("task", task, ("multiclass", "regression"))
    written = out if table else path
    if claims is not None and table:
        raise InputError(f"--claims writes a claims file, and {path} is a table; give it a name in .toml.")
    if written.exists():
        raise InputError(f"{written} already exists and is not overwritten; give another name{' (--out)' * table}.")
    if claims is not None:
        result = of_run(claims)
        text = write_claims(load_result(result), where=_seen_from(written.parent, result))
        write_text(written, text)
        typer.echo("".join(text.partition(LEFT_OUT)[1:]), nl=False)
        typer.echo(f"{written} written; judge a result by it with: dpaudit verify RESULT --claims {written}")
        return
    if not table:
        text = resources.files("dpaudit").joinpath("plan_template.toml").read_text(encoding="utf-8")
    else:
        labels = label[0] if label and len(label) == 1 else label or "label"
        found = look(path, labels, user, task)  # type: ignore[arg-type]  # one of the two
        text = plan_for_table(found, _seen_from(written.parent, path), labels)
    write_text(written, text)
    if table:
        typer.echo("".join(f"{line}\n" for line in text.splitlines() if line.startswith("#")), nl=False)
    typer.echo(f"{written} written; run it with: dpaudit run {written}")


def _seen_from(folder: Path, path: Path) -> str:
    """A path as a plan in a folder names it: relative where the table lies in or below it."""
    here, there = folder.resolve(), path.resolve()
    return str(there.relative_to(here)) if there.is_relative_to(here) else str(there)
