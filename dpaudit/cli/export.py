"""``dpaudit export``."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    result: Annotated[Path, typer.Argument(help="A result.json, or the folder of a run.")],
    csv: Annotated[bool, typer.Option("--csv", help="Write CSV files, with every digit. Default.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Write LaTeX files, four digits, for booktabs.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Write Markdown files, four digits.")] = False,
    tables: Annotated[
        list[str] | None,
        typer.Option(
            "--table",
            help="Only this table: attacks, bounds, models, pools, scores (of single records) or slices; may be "
            "repeated. Default: all with rows.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to write to. Default: tables, beside the result.")
    ] = None,
) -> None:
    """Write a result as tables, one file for each, named after it.

    The scores of single records are written as CSV only.
    """
    from dpaudit.reports.export import write_table
    from dpaudit.results.frames import COLUMNS
    from dpaudit.results.result import load_result
    from dpaudit.runtime import check
    from dpaudit.runtime.errors import InputError

    for name in tables or ():
        check.one_of("table", name, sorted(COLUMNS))
    loaded = load_result(result)
    forms = tuple(form for form, wanted in {"csv": csv, "tex": latex, "md": markdown}.items() if wanted) or ("csv",)
    folder = out or (result if result.is_dir() else result.parent) / "tables"
    known = loaded.membership is not None and loaded.membership.scores.known
    written: list[Path] = []
    for name in tables or [name for name in sorted(COLUMNS) if name != "scores" or known]:
        used = tuple(form for form in forms if form == "csv" or name != "scores")
        table = loaded.frame(name)
        if len(table) and used:
            written += write_table(table, folder, name, used)
        elif tables:
            reason = "this audit measured nothing of it" if used else "scores of single records are written as CSV only"
            raise InputError(f"table {name!r} is not written: {reason}.")
    for path in written:
        typer.echo(str(path))
