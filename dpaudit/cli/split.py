"""``dpaudit split``."""

from pathlib import Path
from typing import Annotated

import typer

from dpaudit.cli.options import ExperimentOut, ExperimentSeed, IdColumn, Quiet, UserColumn


def split(
    data: Annotated[
        Path,
        typer.Argument(
            help="CSV, Parquet, NPZ, JSON lines, a folder of images (one folder a class), or a data set saved by the "
            "library datasets."
        ),
    ],
    out: ExperimentOut,
    user: UserColumn = None,
    share: Annotated[float, typer.Option(help="Probability of inclusion; 0.5 shows most about a leak.")] = 0.5,
    seed: ExperimentSeed = None,
    label: Annotated[str | None, typer.Option(help="Column of the labels. Default: label, where there is one.")] = None,
    identifier: IdColumn = None,
    quiet: Quiet = False,
) -> None:
    """Divide data at random into what to train on and what to hold out, so that an audit of the training is valid."""
    from dpaudit.audits.experiment.split import split_data
    from dpaudit.cli.output import say_experiment

    made = split_data(data, out, user=user, share=share, seed=seed, label=label, identifier=identifier)
    say_experiment(made, quiet=quiet)
