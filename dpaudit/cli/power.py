"""``dpaudit power``."""

from typing import Annotated

import typer

from dpaudit.cli.options import Json


def power(
    claimed: Annotated[float | None, typer.Option(help="Claimed ε.")] = None,
    suspected: Annotated[float | None, typer.Option(help="Suspected true ε.")] = None,
    bug_factor: Annotated[float | None, typer.Option(help="Instead: how many times too small the noise is.")] = None,
    delta: Annotated[float, typer.Option(help="δ of the claim and of the suspected ε.")] = 1e-5,
    access: Annotated[str | None, typer.Option(help="Only this kind of trial: steps, runs or one-run.")] = None,
    confidence: Annotated[float, typer.Option(help="Confidence of the lower bound.")] = 0.95,
    chance: Annotated[float, typer.Option("--power", help="Probability of contradicting the claim.")] = 0.8,
    trials: Annotated[int | None, typer.Option(help="Instead: the minimum detectable ε of this many trials.")] = None,
    limits: Annotated[
        bool, typer.Option("--limits", help="Instead: what 500 to 1,000,000 trainings a side certify of --claimed.")
    ] = False,
    noise_multiplier: Annotated[
        float | None, typer.Option(help="Instead: predict ε of the final model of such a training (a heuristic).")
    ] = None,
    rate: Annotated[float, typer.Option(help="Sampling rate of that training; 1 is full batches.")] = 1.0,
    steps: Annotated[int | None, typer.Option(help="Steps of that training.")] = None,
    json: Json = False,
) -> None:
    """Plan an audit: how many trials it needs, or the minimum detectable ε of a given number of trials."""
    import json as encoder
    import math
    import sys
    from dataclasses import asdict

    from rich.table import Table

    from dpaudit.bounds import power as planning
    from dpaudit.runtime.terminal import console

    out = console()
    others = [suspected, bug_factor, trials, access]
    if noise_multiplier is not None or steps is not None:
        if (
            noise_multiplier is None
            or steps is None
            or claimed is not None
            or limits
            or any(o is not None for o in others)
        ):
            raise typer.BadParameter("a prediction takes --noise-multiplier, --steps, --rate and --delta, and no more.")
        _predict(noise_multiplier, rate, steps, delta, as_json=json)
        return
    if claimed is None:
        raise typer.BadParameter("give --claimed, or --noise-multiplier and --steps.")
    if limits:
        if any(other is not None for other in others):
            raise typer.BadParameter("--limits takes --claimed, --delta and --confidence, and no more.")
        _limits(claimed, delta, confidence, as_json=json)
        return
    if trials is not None:
        if suspected is not None or bug_factor is not None:
            raise typer.BadParameter(
                "--trials asks for the minimum detectable ε; leave out --suspected and --bug-factor."
            )
        seen = {
            planned.method: planning.visible(
                planned, trials, claimed=claimed, delta=delta, confidence=confidence, power=chance
            )
            for planned in planning.defaults(access).values()
        }
        if json:
            finite = {name: None if math.isinf(figure) else figure for name, figure in seen.items()}
            sys.stdout.write(encoder.dumps({"trials": trials, "claimed": claimed, "detectable": finite}) + "\n")
            return
        table = Table(
            title=f"smallest true ε that {trials} trials show against ε = {claimed:g}, probability {chance:g}"
        )
        for heading in ("one trial", "method", "minimum detectable ε", "holds for"):
            table.add_column(heading, justify="right" if "ε" in heading else "left")
        for planned in sorted(planning.defaults(access).values(), key=lambda each: seen[each.method]):
            figure = seen[planned.method]
            shown = "none" if math.isinf(figure) else f"{figure:.2f}"
            table.add_row(planned.words, planned.method, shown, planned.within or "any mechanism")
        out.print(table)
        return
    plan = planning.power(
        claimed,
        suspected,
        delta=delta,
        bug_factor=bug_factor,
        access=access,  # type: ignore[arg-type]  # checked there, with the options named
        confidence=confidence,
        power=chance,
    )
    if json:
        sys.stdout.write(encoder.dumps(asdict(plan)) + "\n")
        return
    table = Table(title=f"trials that contradict ε = {claimed:g} when the truth is {plan.suspected:.3g}, δ = {delta:g}")
    for heading in ("one trial", "method", "trials", "largest certifiable ε", "holds for"):
        table.add_column(heading, justify="right" if heading in ("trials", "largest certifiable ε") else "left")
    for row in plan.rows:
        never = row.trials is None
        table.add_row(
            row.words,
            row.method,
            "never" if never else f"{row.trials:,}",
            "" if never else f"{row.largest_certifiable:.2f}",
            row.within or "any mechanism",
        )
    out.print(table)
    out.print(f"Any valid test needs at least {plan.floor:,} trials.")


def _predict(noise_multiplier: float, rate: float, steps: int, delta: float, *, as_json: bool) -> None:
    import json
    import sys

    from dpaudit.accounting.last_iterate import last_iterate_epsilon
    from dpaudit.runtime.terminal import console

    figure = last_iterate_epsilon(noise_multiplier, rate=rate, steps=steps, delta=delta)
    if as_json:
        sys.stdout.write(json.dumps({"last_iterate_epsilon": figure, "delta": delta, "heuristic": True}) + "\n")
        return
    out = console()
    out.print(f"final model alone: ε about {figure:.3f} at δ = {delta:g}, for adding or removing a record")
    out.print("A heuristic, exact for a linear loss; not a bound in either direction (Steinke et al. 2024).")


BAR = 30  # characters of a bar that is as long as the claim


def _limits(claimed: float, delta: float, confidence: float, *, as_json: bool) -> None:
    import json
    import sys

    from rich.table import Table

    from dpaudit.bounds.trainings_limit import trainings_limits
    from dpaudit.runtime.terminal import console

    found = trainings_limits(claimed, delta=delta, confidence=confidence)
    if as_json:
        sys.stdout.write(json.dumps({"epsilon": claimed, "delta": delta, "limits": found}) + "\n")
        return
    table = Table(title=f"what exact intervals certify of a perfect Gaussian leak of ε = {claimed:g}, δ = {delta:g}")
    for heading in ("trainings a side", "ε at most about"):
        table.add_column(heading, justify="right")
    table.add_column(f"of {claimed:g}")
    for side, limit in found.items():
        full = round(BAR * limit / claimed)
        table.add_row(f"{side:,}", f"{limit:.2f}", "█" * full + "·" * (BAR - full))
    console().print(table)
