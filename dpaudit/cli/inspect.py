"""``dpaudit inspect``."""

import json as json_module
from typing import Annotated, Literal

import typer

from dpaudit.cli.options import Json, Quiet, Seed


def inspect(
    factory: Annotated[
        str, typer.Argument(help="module:name or file.py:name of a function that builds the optimizer or mechanism.")
    ],
    clip: Annotated[float, typer.Option(help="Clip norm it states.")],
    noise_multiplier: Annotated[float, typer.Option(help="Noise multiplier it states.")],
    denominator: Annotated[
        str, typer.Option(help="What it divides the noisy sum by: a number, or 'batch' for the batch at hand.")
    ] = "batch",
    adjacency: Annotated[str, typer.Option(help="add-remove, replace-one or zero-out.")] = "add-remove",
    delta: Annotated[float, typer.Option(help="δ at which ε is given.")] = 1e-5,
    rate: Annotated[float, typer.Option(help="Sampling rate of the training, for ε.")] = 1.0,
    steps: Annotated[int, typer.Option(help="Steps of the training, for ε.")] = 1,
    seed: Seed = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Ask a DP mechanism whether it clips, adds noise and divides as it says: exit 1 when it does not."""
    from dataclasses import asdict, replace
    from typing import cast

    from rich.console import Console

    from dpaudit.accounting import epsilon
    from dpaudit.claim import Adjacency, Claim, GaussianSteps, Poisson
    from dpaudit.forensics.factory import build
    from dpaudit.forensics.federated import Server, inspect_server
    from dpaudit.forensics.inspection import inspect_mechanism
    from dpaudit.forensics.mechanism import Stated
    from dpaudit.forensics.show import table

    number = _denominator(denominator)
    stated = Stated(clip, noise_multiplier, number, cast(Adjacency, adjacency))
    mechanism = GaussianSteps(noise_multiplier, steps, Poisson(rate))
    claim = Claim(float("inf"), delta, "record", stated.adjacency, "the mechanism's own parameters", mechanism)
    promised = epsilon(mechanism, delta=delta, adjacency=stated.adjacency).epsilon
    claim = replace(claim, epsilon=promised)
    subject = build(factory, seed=seed or 0)
    if isinstance(subject, Server):
        found = inspect_server(subject, stated, seed=seed or 0, claim=claim)
    else:
        found = inspect_mechanism(subject, stated, seed=seed or 0, claim=claim)
    if json:
        document = {"schema": 1, "promised_epsilon": promised, **asdict(found)}
        typer.echo(json_module.dumps(document, indent=1, allow_nan=True))
    elif not quiet:
        console = Console(highlight=False)
        console.print(table(found))
        console.print(
            f"measured noise multiplier {found.noise_multiplier:.3g}, stated {noise_multiplier:g} "
            f"(ε = {promised:.3g} at δ = {delta:g} for {steps} steps at rate {rate:g}); "
            f"{found.calls} calls in {found.seconds:.1f} s, false alarms at most {found.level:g}",
            markup=False,
            soft_wrap=True,
        )
    if found.violations:
        raise typer.Exit(1)


def _denominator(text: str) -> float | Literal["batch"]:
    from dpaudit import _check

    if text == "batch":
        return "batch"
    try:
        return _check.positive("denominator", float(text))
    except ValueError as error:
        from dpaudit.errors import InputError

        raise InputError(f"denominator must be a number above 0 or 'batch', got {text!r}.") from error
