"""``dpaudit epsilon``."""

from typing import Annotated

import typer

from dpaudit.cli.options import Json


def epsilon(
    noise_multiplier: Annotated[float, typer.Option(help="Scale of the noise over the clip norm.")],
    rate: Annotated[float, typer.Option(help="Share of the records in one batch.")],
    steps: Annotated[int, typer.Option(min=1, help="Steps of the training.")],
    delta: Annotated[float, typer.Option(help="δ at which ε is given.")] = 1e-5,
    records: Annotated[
        int | None, typer.Option(min=1, help="Records, for batches of fixed size or with a largest size.")
    ] = None,
    largest_batch: Annotated[
        int | None,
        typer.Option(min=1, help="Size at which Poisson batches are cut (truncated Poisson); needs --records."),
    ] = None,
    law: Annotated[
        str, typer.Option(help="gaussian, laplace, discrete-gaussian:SPACING, banded:C0,C1,...:STEPS or tree:STEPS.")
    ] = "gaussian",
    selection: Annotated[
        str | None,
        typer.Option(
            help="Release only the best of a random number of such trainings: geometric:MEAN, logarithmic:MEAN or "
            "poisson:MEAN."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Print what a recipe costs: its ε under each sampler, adjacency and accountant."""
    from dataclasses import asdict

    from rich.table import Table

    from dpaudit.accounting import Accounted
    from dpaudit.accounting.claim import (
        ADJACENCIES,
        FixedSize,
        GaussianSteps,
        Poisson,
        Sampling,
        Shuffled,
        TruncatedPoisson,
    )
    from dpaudit.accounting.law import law_from
    from dpaudit.accounting.law_epsilon import law_epsilon
    from dpaudit.accounting.selection import selected_epsilon, selection_from
    from dpaudit.runtime.errors import InputError
    from dpaudit.runtime.terminal import console, print_json

    noise = law_from(law)
    chosen = None if selection is None else selection_from(selection)
    if chosen is not None and law != "gaussian":
        raise InputError("--selection is accounted for Gaussian noise only; leave out --law.")
    poisson = Poisson(rate)
    samplers: dict[str, Sampling] = {
        "Poisson": poisson,
        "shuffled each epoch": Shuffled(max(1, round(1 / poisson.rate))),
    }
    if largest_batch is not None:
        if records is None:
            raise InputError("--largest-batch needs --records: how often a batch is cut depends on their number.")
        samplers["truncated Poisson"] = TruncatedPoisson(poisson.rate, largest_batch, records)
    if records is not None:
        samplers["fixed size"] = FixedSize(max(1, round(rate * records)), records)
    figures: list[tuple[str, str, Accounted | str]] = []
    for sampler, sampling in samplers.items():
        for adjacency in ADJACENCIES:
            mechanism = GaussianSteps(noise_multiplier, steps, sampling)
            try:
                found: Accounted | str = (
                    law_epsilon(mechanism, noise, delta=delta, adjacency=adjacency)
                    if chosen is None
                    else selected_epsilon(mechanism, chosen, delta=delta, adjacency=adjacency)
                )
            except InputError as error:
                found = str(error)
            figures.append((sampler, adjacency, found))
    if json:
        rows = [
            {"sampler": s, "adjacency": a, **({"error": f} if isinstance(f, str) else asdict(f))} for s, a, f in figures
        ]
        print_json({"schema": 1, "law": law, "selection": selection, "delta": delta, "figures": rows})
        return
    table = Table(title=f"ε of {steps} steps at rate {rate:g}, noise multiplier {noise_multiplier:g}, δ = {delta:g}")
    for heading in ("sampler", "adjacency", "ε", "accountant"):
        table.add_column(heading, justify="right" if heading == "ε" else "left")
    for sampler, adjacent, figure in figures:
        if isinstance(figure, str):
            table.add_row(sampler, adjacent, "none", figure)
            continue
        sign = "≥ " if figure.optimistic else ""
        table.add_row(
            sampler, adjacent, f"{sign}{figure.epsilon:.4g}", "; ".join(filter(None, [figure.method, figure.note]))
        )
    console().print(table)
    if chosen is not None:
        console().print(
            f"Holds when the number of trainings is drawn from a {chosen.law} law of mean {chosen.mean:g} before any "
            "of them is looked at, and only the best is released. The best of a fixed number costs more (Papernot "
            "and Steinke 2021)."
        )
    if records is None:
        console().print("With --records, batches of fixed size are accounted too.")
