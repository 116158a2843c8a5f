"""``dpaudit canaries``."""

from pathlib import Path
from typing import Annotated

import typer

from dpaudit.cli.options import ExperimentOut, ExperimentSeed, IdColumn, Quiet


def canaries(
    data: Annotated[Path, typer.Argument(help="As for dpaudit split; all of it is trained on.")],
    out: ExperimentOut,
    kind: Annotated[
        str,
        typer.Option(
            help="mislabelled, out-of-distribution, sparse, blank, clipbkd; for texts also new-token and sampled."
        ),
    ],
    count: Annotated[int, typer.Option(min=2, help="How many canaries, half of which are trained on.")] = 1000,
    seed: ExperimentSeed = None,
    label: Annotated[str | None, typer.Option(help="Column of the labels. Default: label, where there is one.")] = None,
    identifier: IdColumn = None,
    text: Annotated[str, typer.Option(help="Column of the texts, where the records are texts.")] = "text",
    samples: Annotated[
        Path | None,
        typer.Option(help="For kind sampled: file of texts that a public model generated, in a column text."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Plant canaries in data: records made to be remembered, each trained on with probability 1/2."""
    from dpaudit.audits.experiment.planted import plant_canaries
    from dpaudit.cli.output import say_experiment
    from dpaudit.data.formats.canary_records import SampledTexts
    from dpaudit.runtime.errors import InputError

    if samples is not None and kind != "sampled":
        raise InputError(f"--samples goes with --kind sampled, got --kind {kind}.")
    made = plant_canaries(
        data,
        out,
        kind=kind if samples is None else SampledTexts(str(samples)),
        count=count,
        seed=seed,
        label=label,
        identifier=identifier,
        text=text,
    )
    say_experiment(made, quiet=quiet)
