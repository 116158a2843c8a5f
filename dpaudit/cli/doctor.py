"""``dpaudit doctor``."""

import json as json_module
from typing import Annotated

import typer

from dpaudit.cli.options import Json


def doctor(
    json: Json = False,
    probe: Annotated[bool, typer.Option(help="Also import TensorFlow and TensorFlow Privacy.")] = True,
) -> None:
    """Versions, cores, memory, and what is missing with the command that mends it."""
    from rich.console import Console
    from rich.table import Table

    from dpaudit.doctor import examine

    checks = examine(probe=probe)
    if json:
        typer.echo(json_module.dumps([check.__dict__ for check in checks], indent=1))
    else:
        table = Table("", "what", "found", "mend", box=None)
        for check in checks:
            table.add_row("ok" if check.ok else "--", check.what, check.found, check.mend)
        Console(highlight=False, markup=False).print(table)
