"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder for the result and the report; without it none is written.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table; the exit code says it.")]
Jobs = Annotated[
    int | None,
    typer.Option(min=1, help="Worker processes on this machine; 1 starts none. Default: as many as repay their start."),
]
Backend = Annotated[
    str, typer.Option(metavar="loky|dask=ADDRESS", help="This machine, or a Dask scheduler, dask=tcp://host:port.")
]
ChosenByOption = Annotated[
    str | None,
    typer.Option(
        "--chosen-by",
        help="How the members were chosen: coin (each by its own), split (at random, in a fixed number) or other (by "
        "date, by source, by hand: no bound follows). Default: taken as a split, and said so.",
    ),
]
Probability = Annotated[float | None, typer.Option(help="Probability of the coins of --chosen-by coin; default 1/2.")]
UserColumn = Annotated[
    str | None, typer.Option(help="Column that says whose record it is: one coin, one score and one bound a user.")
]
