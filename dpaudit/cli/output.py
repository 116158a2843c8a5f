"""What a command that ends with a result prints and returns."""

import sys
from pathlib import Path

import typer
from rich.console import Console

from dpaudit.reports.text import choices, table
from dpaudit.result import Result


def finish(result: Result, *, folder: Path | None, json: bool, quiet: bool) -> None:
    """Print the table or the JSON, say where the report is, exit 1 when a claim is contradicted."""
    if json:
        sys.stdout.write(result.json())
    elif not quiet:
        console = Console(highlight=False)
        if result.models:
            console.print(table(result))
        for line in choices(result):
            console.print(line, markup=False, soft_wrap=True)
        for found in result.comparisons:
            console.print(f"{found.subject}: {found.sentence}", markup=False, soft_wrap=True)
        if folder is not None:
            console.print(f"report: {folder / 'report.html'}", markup=False, soft_wrap=True)
    if result.contradicted:
        raise typer.Exit(1)
