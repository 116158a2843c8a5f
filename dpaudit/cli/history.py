"""``dpaudit history``."""

from pathlib import Path
from typing import Annotated

import typer


def history(
    folder: Annotated[Path, typer.Argument(help="Folder with results, at any depth.")] = Path("runs"),
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for history.html. Default: the same folder.")
    ] = None,
) -> None:
    """Write one page with the leakage of every result below a folder, oldest first."""
    from dpaudit.gate.history import releases
    from dpaudit.reports.history import write_history

    target = out or folder
    write_history(releases(folder), target)
    typer.echo(f"history: {target / 'history.html'}")
