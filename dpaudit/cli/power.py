"""``dpaudit power``."""

from typing import Annotated

import typer

from dpaudit.cli.options import Json


def power(
    claimed: Annotated[float, typer.Option(help="Claimed ε.")],
    suspected: Annotated[float | None, typer.Option(help="Suspected true ε.")] = None,
    bug_factor: Annotated[float | None, typer.Option(help="Instead: how many times too small the noise is.")] = None,
    delta: Annotated[float, typer.Option(help="δ of the claim and of the suspected ε.")] = 1e-5,
    access: Annotated[str | None, typer.Option(help="Only this kind of trial: steps, runs or one-run.")] = None,
    confidence: Annotated[float, typer.Option(help="Confidence of the lower bound.")] = 0.95,
    chance: Annotated[float, typer.Option("--power", help="Probability of contradicting the claim.")] = 0.8,
    trials: Annotated[int | None, typer.Option(help="Instead: the minimum detectable ε of this many trials.")] = None,
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
