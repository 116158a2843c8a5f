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
