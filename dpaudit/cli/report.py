"""``dpaudit report``."""

from pathlib import Path
from typing import Annotated

import typer

from dpaudit.cli.options import Out


def report(
    result: Annotated[Path, typer.Argument(help="A result.json, or the folder of a run.")],
    out: Out = None,
) -> None:
    """Draw the report of a result again; nothing is trained or measured."""
    from dpaudit.reports.html import write_report
    from dpaudit.result import load_result

    source = result / "result.json" if result.is_dir() else result
    folder = out or source.parent
    write_report(load_result(source), folder)
    typer.echo(f"report: {folder / 'report.html'}")
