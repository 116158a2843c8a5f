"""``dpaudit run``."""

from pathlib import Path
from typing import Annotated

import typer

from dpaudit.cli.options import Json, Out, Quiet, Seed


def run(
    plan: Annotated[Path, typer.Argument(help="The plan, a TOML file; `dpaudit init` writes one.")],
    out: Out = None,
    seed: Seed = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change the plan, e.g. audit.delta=1e-6 or model.NAME.epochs=5."
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Produce an empirical privacy report: train, attack, bound, compare with theory."""
    from dpaudit.cli.output import finish
    from dpaudit.plan import load_plan
    from dpaudit.progress import on_standard_error
    from dpaudit.pipeline import run as run_plan

    overrides = [*(set_ or []), *([] if seed is None else [f"seed={seed}"])]
    loaded = load_plan(plan, overrides)
    folder = out or Path("runs") / loaded.name
    result = run_plan(loaded, folder=folder, progress=on_standard_error(quiet=quiet))
    finish(result, folder=folder, json=json, quiet=quiet)
