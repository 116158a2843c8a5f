"""``dpaudit schema``."""

import json
from typing import Annotated

import typer


def schema(
    what: Annotated[str, typer.Argument(help="plan or result.")] = "plan",
) -> None:
    """Print the JSON schema of a plan or a result, for editors and other programs."""
    from dpaudit.audits.plan import Plan
    from dpaudit.results.result import Result
    from dpaudit.runtime import check

    check.one_of("what", what, ("plan", "result"))
    model = Plan if what == "plan" else Result
    typer.echo(json.dumps(model.model_json_schema(), indent=1))
