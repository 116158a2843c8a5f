"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder for the result and the report. Default: none is written.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print neither progress nor a table.")]
Jobs = Annotated[
    int | None,
    typer.Option(
        min=1, help="Worker processes on this machine; 1 starts none. Default: more only when that saves time."
    ),
]
Backend = Annotated[
    str, typer.Option(metavar="loky|dask=ADDRESS", help="This machine, or a Dask scheduler, dask=tcp://host:port.")
]
ChosenByOption = Annotated[
    str | None,
    typer.Option(
        "--chosen-by",
        help="How the members were chosen: coin (each included independently), split (a random set of fixed size) or "
        "other (by date, by source, by hand: no bound follows). Default: split, and the result says so.",
    ),
]
Probability = Annotated[
    float | None, typer.Option(help="Probability of inclusion, with --chosen-by coin. Default: 1/2.")
]
UserColumn = Annotated[
    str | None, typer.Option(help="Column that says whose record it is; the audit is then about users.")
]
ExperimentOut = Annotated[Path, typer.Option("--out", "-o", help="Folder of the experiment; it must be new or empty.")]
ExperimentSeed = Annotated[
    int | None, typer.Option(min=0, help="Seed of what is drawn. Default: one is drawn, and written down.")
]
IdColumn = Annotated[
    str | None,
    typer.Option(
        "--id", help="Column of ids, one for each record. Default: dpaudit_id (NPZ: id), which is added where missing."
    ),
]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Run functions that the plan names by module. Without this option they are refused."),
]
