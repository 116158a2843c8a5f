"""``dpaudit sweep``."""

from pathlib import Path
from typing import Annotated

import typer

from dpaudit.cli.options import Backend, Jobs, Quiet, Trust


def sweep(
    plan: Annotated[Path, typer.Argument(help="The plan, a TOML file.")],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE,VALUE",
            help="Values that a key of the plan takes, e.g. model.dp.noise_multiplier=0.5,1,2; may be repeated: every "
            "combination is run.",
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Runs of each combination, with the plan's seed and those that follow it.")
    ] = 1,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the sweep. Default: sweeps/NAME.")] = None,
    jobs: Jobs = None,
    backend: Backend = "loky",
    trust: Trust = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print all runs as JSON on standard output, one row for each model.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Run a plan many times side by side: every combination of values, each with several seeds.

    All runs share one error level: all lower bounds of the sweep hold together at the plan's confidence. What is
    finished is not run again while its data, the packages and dpaudit are as they were. The folder gets one folder for
    each run, the tables runs and summary (CSV, Markdown, LaTeX), and figures of measured against claimed ε and of
    utility.
    """
    import logging

    from dpaudit.audits.plan import load_plan
    from dpaudit.audits.sweep import parse_values, results_of_sweep
    from dpaudit.audits.sweep import sweep as run_sweep
    from dpaudit.reports.sweep import tabulate_sweep
    from dpaudit.results.sweep import load_sweep
    from dpaudit.runtime.errors import InputError
    from dpaudit.runtime.jobs import Workers
    from dpaudit.runtime.progress import on_standard_error
    from dpaudit.runtime.terminal import console, plain_text, print_json

    given = [parse_values(text) for text in set_ or ()]
    values = dict(given)
    if len(values) < len(given):
        raise InputError("--set names a key twice; give all its values at once, KEY=VALUE,VALUE.")
    if not quiet:
        logging.getLogger("dpaudit.audits").setLevel("INFO")  # which runs are done again, and why
    folder = out or Path("sweeps") / load_plan(plan).name
    table = run_sweep(
        plan,
        values,
        folder=folder,
        seeds=seeds,
        progress=on_standard_error(quiet=quiet),
        workers=Workers(jobs, backend),
        trust=trust,
    )
    results = results_of_sweep(folder)
    if json:
        print_json(table.astype(object).where(table.notna(), None).to_dict("records"))
    elif not quiet:
        screen = console()
        screen.print(tabulate_sweep(table, load_sweep(folder)))
        screen.print(plain_text(f"tables and figures: {folder}"), soft_wrap=True)
    if any(result.contradicted for result in results):
        raise typer.Exit(1)
    if any(result.no_verdict for result in results):
        raise typer.Exit(3)
