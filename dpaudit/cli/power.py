"""``dpaudit power``."""

from typing import Annotated

import typer

from dpaudit.cli.options import Json


def power(
    claimed: Annotated[float, typer.Option(help="Claimed ε.")],
    suspected: Annotated[float | None, typer.Option(help="Suspected true ε.")] = None,
    bug_factor: Annotated[float | None, typer.Option(help="Instead: how many times too small the noise is.")] = None,
    delta: Annotated[float, typer.Option(help="δ of both.")] = 1e-5,
    access: Annotated[str | None, typer.Option(help="Only methods for steps, runs or one-run.")] = None,
    confidence: Annotated[float, typer.Option(help="Confidence of the lower bound.")] = 0.95,
    chance: Annotated[float, typer.Option("--power", help="Probability of contradicting the claim.")] = 0.8,
    trials: Annotated[int | None, typer.Option(help="Instead: the minimum detectable ε of this many trials.")] = None,
    json: Json = False,
) -> None:
    """Plan an audit: trials needed per method, or what an audit at hand could have seen."""
    import json as encoder
    import math
    import sys
    from dataclasses import asdict

    from rich.table import Table

    from dpaudit import _check, planning
    from dpaudit.chances import METHODS
    from dpaudit.terminal import console

    out = console()
    if trials is not None:
        if suspected is not None or bug_factor is not None:
            raise typer.BadParameter("--trials asks what could have been seen; leave out --suspected and --bug-factor.")
        if access is not None:
            _check.one_of("access", access, planning.ACCESS)
        seen = {
            name: planning.visible(name, trials, claimed=claimed, delta=delta, confidence=confidence, power=chance)
            for name, method in METHODS.items()
            if access is None or method.one_run == (access == "one-run")
        }
        if json:
            finite = {name: None if math.isinf(figure) else figure for name, figure in seen.items()}
            sys.stdout.write(encoder.dumps({"trials": trials, "claimed": claimed, "visible": finite}) + "\n")
            return
        table = Table(title=f"smallest true ε that {trials} trials show against a claim of ε = {claimed:g}")
        table.add_column("method")
        table.add_column("ε", justify="right")
        for name, figure in sorted(seen.items(), key=lambda pair: pair[1]):
            table.add_row(name, "none" if math.isinf(figure) else f"{figure:.2f}")
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
    for heading in ("method", "trials are", "trials", "ceiling", "holds for"):
        table.add_column(heading, justify="right" if heading in ("trials", "ceiling") else "left")
    for row in plan.rows:
        never = row.trials is None
        table.add_row(
            row.method,
            "canaries in one run" if row.one_run else "steps or runs",
            "never" if never else f"{row.trials:,}",
            "" if never else f"{row.ceiling:.2f}",
            "Gaussian leaks" if row.family else "any mechanism",
        )
    out.print(table)
    out.print(f"Any valid test needs at least {plan.floor:,} trials.")
