"""``dpaudit list``."""

from typing import Annotated

import typer

from dpaudit.cli.options import Json


def list_names(
    kind: Annotated[str | None, typer.Argument(help="Only this kind, e.g. membership or trainers.")] = None,
    json: Json = False,
) -> None:
    """List the available attacks, bounds, estimates, trainers, architectures and data sets."""
    from rich.table import Table

    from dpaudit.runtime import plugins as registry
    from dpaudit.runtime.terminal import console, print_json

    kinds = [kind] if kind is not None else sorted(registry.KINDS)
    known = {each: registry.names(each) for each in kinds}
    if json:
        print_json(known)
        return
    table = Table("kind", "name", "what it is", box=None)
    for each, entries in known.items():
        for name in entries:
            table.add_row(each, name, registry.first_line(each, name))
    console().print(table)
