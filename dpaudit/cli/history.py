"""``dpaudit history``."""

from pathlib import Path
from typing import Annotated

import typer


def history(
    folder: Annotated[Path, typer.Argument(help="Folder with results, at any depth.")] = Path("runs"),
    claims: Annotated[
        list[Path] | None, typer.Option(help="Claims files that every result is held to. Default: none.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for history.html. Default: the same folder.")
    ] = None,
) -> None:
    """Write one page about every result below a folder, oldest first: claims, leakage, utility and what changed.

    With --claims the page has the gate's answer for each result. The exit code is that of the page, not of the gate.
    """
    from dpaudit.gate.claims_file import load_claims
    from dpaudit.gate.history import releases
    from dpaudit.gate.release_answers import answer_releases
    from dpaudit.reports.history import write_history

    target = out or folder
    files, found = [load_claims(path) for path in claims or []], releases(folder)
    answers = answer_releases({each.path: each.result for each in found}, files) if files else {}
    write_history(found, target, answers)
    typer.echo(f"history: {target / 'history.html'}")
