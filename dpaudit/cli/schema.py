"""``dpaudit schema``."""

import json
from typing import Annotated

import typer


def schema(
    what: Annotated[str, typer.Argument(help="plan or result.")] = "plan",
) -> None:
    """Print a JSON schema, for editors and other programs."""
    from dpaudit import _check
    from dpaudit.plan import Plan
    from dpaudit.results.result import Result

    _check.one_of("what", what, ("plan", "result"))
    model = Plan if what == "plan" else Result
    typer.echo(json.dumps(model.model_json_schema(), indent=1))
