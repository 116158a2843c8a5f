"""``dpaudit init``."""

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer


def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("plan.toml"),
) -> None:
    """Write a plan with comments. It runs as it is."""
    from dpaudit.runtime.errors import InputError
    from dpaudit.runtime.files import write_text

    if path.exists():
        raise InputError(f"{path} already exists and is not overwritten; give another name.")
    write_text(path, resources.files("dpaudit").joinpath("plan_template.toml").read_text(encoding="utf-8"))
    typer.echo(f"{path} written; run it with: dpaudit run {path}")
