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
    from dpaudit.files import write_text
    from dpaudit.reports.html import page
    from dpaudit.result import load_result

    source = result / "result.json" if result.is_dir() else result
    target = (out or source.parent) / "report.html"
    write_text(target, page(load_result(source)))
    typer.echo(f"report: {target}")
