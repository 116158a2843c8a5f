"""What a command that ends with a result prints and returns."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from dpaudit.reports.scope_words import first_screen
from dpaudit.reports.tables.unlearning import unlearning_in_words
from dpaudit.reports.terminal import choices, tabulate_models
from dpaudit.results.facts import why_void
from dpaudit.results.result import Result
from dpaudit.runtime.terminal import console, plain_text

if TYPE_CHECKING:
    from dpaudit.audits.experiment.sealed import Experiment


def finish(result: Result, *, folder: Path | None, json: bool, quiet: bool) -> None:
    """Print the table or the JSON, say where the report is, exit 1 on a contradicted claim, 3 without a verdict."""
    if json:
        sys.stdout.write(result.json())
    elif not quiet:
        out = console()
        if result.models:
            out.print(tabulate_models(result))
        unlearned = [] if result.unlearning is None else unlearning_in_words(result.unlearning)
        verdicts = (f"{found.subject}: {found.sentence}" for found in result.comparisons)
        for line in [*choices(result), *first_screen(result), *unlearned, *verdicts]:
            out.print(plain_text(line), soft_wrap=True)
        if folder is not None:
            out.print(f"report: {folder / 'report.html'}", soft_wrap=True)
    if result.contradicted:
        raise typer.Exit(1)
    if result.no_verdict or why_void(result):
        raise typer.Exit(3)


def say_experiment(made: "Experiment", *, quiet: bool) -> None:
    """What was drawn, what to train on, and what to type afterwards."""
    if quiet:
        return
    known, out = made.manifest, console()
    feature = "" if known.id == "path" else f" ({known.id} is no feature: leave it out)"
    lines = [
        made.sentence[0].upper() + made.sentence[1:],
        f"train on: {made.train}{feature}",
        f"never train on: {made.heldout}",
        *(
            ["no labels are known: name their column with --label, or have it in the predictions"]
            * (known.label is None)
        ),
        f"afterwards, predict the records of both, with their {known.id}, and judge the model: "
        f"dpaudit attack --experiment {made.folder} --predictions FILE",
    ]
    for line in lines:
        out.print(plain_text(line), soft_wrap=True)
