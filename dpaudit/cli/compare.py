"""``dpaudit compare``."""

from pathlib import Path
from typing import Annotated

import typer

from dpaudit.cli.options import Json


def compare(
    before: Annotated[Path, typer.Argument(help="The older result.json, or the folder of its run.")],
    after: Annotated[Path, typer.Argument(help="The newer one.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder: also write the newer report there, with the changes.")
    ] = None,
    json: Json = False,
) -> None:
    """Show what changed between two results, with intervals. This gives no verdict; the command verify does."""
    from dataclasses import asdict

    from dpaudit.cli.verify import of_run
    from dpaudit.gate.compare import changes
    from dpaudit.reports.html import write_report
    from dpaudit.reports.terminal import changes_table
    from dpaudit.results.result import load_result
    from dpaudit.runtime.terminal import console, print_json

    old, new = load_result(of_run(before)), load_result(of_run(after))
    found = changes(old, new)
    if out is not None:
        write_report(new, out, baseline=old)
    if json:
        print_json([{**asdict(each), "word": each.word} for each in found])
    else:
        console().print(changes_table(found))
