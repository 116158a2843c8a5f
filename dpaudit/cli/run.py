"""``dpaudit run``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpaudit.cli.options import Backend, Jobs, Json, Quiet, Trust

if TYPE_CHECKING:
    from dpaudit.audits.cost import AuditCost


def run(
    plan: Annotated[Path, typer.Argument(help="The plan, a TOML file. `dpaudit init` writes one.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the result and the report. Default: runs/NAME.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of everything random. Default: the plan's seed.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a value of the plan, e.g. audit.delta=1e-6 or model.NAME.epochs=5.",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="E.g. 2m. Choose rungs of the ladder, canaries and trials for the best power within this time.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Train no audit model; predict trainings, time and memory.")
    ] = False,
    memory: Annotated[
        str | None,
        typer.Option(help="Memory for all trainings that run at a time, e.g. 4GB. Default: half of the free memory."),
    ] = None,
    jobs: Jobs = None,
    backend: Backend = "loky",
    trust: Trust = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove what a run of another plan left in the folder.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a plan: train models, attack them, compute lower bounds on ε and compare them with the claims.

    A run that finished is not done again while its plan, its data and its files are as they were.
    """
    import logging

    from dpaudit.audits.plan import load_plan
    from dpaudit.audits.run import predict_cost
    from dpaudit.audits.run import run as run_plan
    from dpaudit.cli.output import finish
    from dpaudit.runtime.jobs import Workers
    from dpaudit.runtime.progress import on_standard_error

    overrides = [*(set_ or []), *([] if seed is None else [f"seed={seed}"])]
    if budget is not None:
        overrides.append(f'ladder.budget="{budget}"')
    loaded = load_plan(plan, overrides)
    folder = out or Path("runs") / loaded.name
    room = None if memory is None else _bytes(memory)
    workers = Workers(jobs, backend)
    progress = on_standard_error(quiet=quiet)
    if dry_run:
        cost = predict_cost(loaded, folder=folder, progress=progress, memory=room, workers=workers, trust=trust)
        print_prediction(cost, json=json, scheduler=workers.scheduler)
        return
    if not quiet:
        logging.getLogger("dpaudit.audits").setLevel("INFO")  # whether a stored result is returned
    result = run_plan(
        loaded, folder=folder, progress=progress, memory=room, workers=workers, trust=trust, overwrite=overwrite
    )
    finish(result, folder=folder, json=json, quiet=quiet)


def _bytes(text: str) -> int:
    """``512MB`` or ``4GB`` as bytes."""
    from dpaudit.runtime.errors import InputError

    number, unit = text[:-2], text[-2:].upper()
    try:
        size = float(number) * {"MB": 1e6, "GB": 1e9}[unit]
    except (KeyError, ValueError) as error:
        raise InputError(f"memory must be a number of MB or GB such as 4GB, got {text!r}.") from error
    if not 0 < size < float("inf"):
        raise InputError(f"memory must be above 0, got {text!r}.")
    return int(size)


def print_prediction(cost: "AuditCost", *, json: bool, scheduler: str = "") -> None:
    """What a plan would cost, as a table or as JSON."""
    from json import dumps

    from rich.table import Table

    from dpaudit.runtime.terminal import console, plain_text

    if json:
        typer.echo(dumps(cost.as_dict(), indent=1))
        return
    table = Table("model", "its training", "reference models", "still to train", "side by side", "time", box=None)
    for name, model in cost.models.items():
        pool = model.pool
        if pool is None:
            table.add_row(plain_text(name), _seconds(model.target), "none")
        else:
            counts = str(pool.models), str(pool.trainings), str(pool.chunk)
            table.add_row(plain_text(name), _seconds(model.target), *counts, _seconds(pool.seconds))
    out = console()
    out.print(table)
    where = "this process" if cost.processes == 1 else f"{cost.processes} processes of this machine"
    out.print(f"models would be trained in {where if not scheduler else f'the cluster at {scheduler}'}")
    hours = "" if cost.worker_hours is None else f", {cost.worker_hours:.2g} worker-hours"
    out.print(
        f"{cost.trainings} trainings, {_seconds(cost.seconds)} in all with start, attacks and report{hours}, "
        f"peak memory about {cost.peak_bytes / 1e9:.2f} GB"
    )
    if cost.not_counted:
        out.print(f"not counted: {', '.join(cost.not_counted)}")


def _seconds(value: float | None) -> str:
    return "not predicted" if value is None else f"about {value:.0f} s" if value >= 10 else f"about {value:.1f} s"
