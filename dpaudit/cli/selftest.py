"""``dpaudit selftest``."""

from pathlib import Path
from typing import Annotated

import typer

from dpaudit.cli.options import Backend, Jobs, Json, Quiet, Seed


def selftest(
    faults: Annotated[
        bool, typer.Option("--faults", help="Test the inspections instead: is every known fault detected?")
    ] = False,
    power: Annotated[
        bool, typer.Option("--power", help="Test the power instead: is a violation detected as often as verdicts say?")
    ] = False,
    effort: Annotated[
        list[float] | None,
        typer.Option(help="With --faults, compare what rung 1 detects at these efforts; give it once for each."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer audits a cell: seconds to a minute.")] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File for the table as JSON.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="File for the table as Markdown.")] = None,
    seed: Seed = 0,
    jobs: Jobs = None,
    backend: Backend = "loky",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure on mechanisms of known ε how often each bound is above the true ε; exit 4 when one fails."""
    import sys

    from dpaudit.runtime.errors import AuditFailed
    from dpaudit.runtime.files import write_text
    from dpaudit.runtime.terminal import console
    from dpaudit.self_test.table import choices_as_markdown, table_as_markdown, table_as_text
    from dpaudit.self_test.table import selftest as measure

    errors = console(stderr=True)
    if faults and power:
        raise typer.BadParameter("--faults and --power are different tests; give one of them.")
    if faults:
        given = [name for name, value in (("--quick", quick), ("--out", out), ("--json", json)) if value]
        if given:
            raise typer.BadParameter(f"{given[0]} is for the bounds; --faults takes --markdown for its table.")
        if effort:
            _efforts(effort, seed=seed, jobs=jobs, backend=backend, markdown=markdown, quiet=quiet)
        else:
            _faults(seed=seed, jobs=jobs, backend=backend, markdown=markdown, quiet=quiet)
        return
    if effort:
        raise typer.BadParameter("--effort is for --faults; leave it out.")
    if power:
        if markdown is not None:
            raise typer.BadParameter("--markdown is for the tables of bounds and of --faults; leave it out.")
        _power(quick=quick, seed=seed, jobs=jobs, backend=backend, out=out, json=json, quiet=quiet)
        return
    table = measure(
        quick=quick,
        seed=seed,
        jobs=jobs,
        backend=backend,
        progress=None if quiet else lambda line: errors.print(line),
    )
    if out is not None:
        write_text(out, table.json() + "\n")
    if markdown is not None:
        size = max(cell.size for cell in table.cells if not cell.chosen)
        parts = [table_as_markdown(table, confidence=0.95, size=size)]
        if any(cell.chosen for cell in table.cells):
            parts.append(choices_as_markdown(table))
        write_text(markdown, "\n\n".join(parts) + "\n")
    if json:
        sys.stdout.write(table.json() + "\n")
    elif not quiet:
        sys.stdout.write(table_as_text(table) + "\n")
    if not table.passed:
        names = ", ".join(sorted({f"{cell.method} {cell.chosen}".strip() for cell in table.failures}))
        raise AuditFailed(f"bounds above the true ε more often than they state: {names}.")


def _power(
    *, quick: bool, seed: int, jobs: int | None, backend: str, out: Path | None, json: bool, quiet: bool
) -> None:
    import sys

    from dpaudit.runtime.errors import AuditFailed
    from dpaudit.runtime.files import write_text
    from dpaudit.runtime.terminal import console
    from dpaudit.self_test.power import power_as_text, powertest

    errors = console(stderr=True)
    progress = None if quiet else lambda line: errors.print(line)
    table = powertest(quick=quick, seed=seed, jobs=jobs, backend=backend, progress=progress)
    if out is not None:
        write_text(out, table.json() + "\n")
    if json:
        sys.stdout.write(table.json() + "\n")
    elif not quiet:
        sys.stdout.write(power_as_text(table) + "\n")
    if table.failures:
        cells = "; ".join(f"{cell.design} of {cell.trials} by {cell.chosen}" for cell in table.failures)
        raise AuditFailed(f"violations are not detected as often as computed: {cells}.")


def _faults(*, seed: int, jobs: int | None, backend: str, markdown: Path | None, quiet: bool) -> None:
    from dpaudit.runtime.errors import AuditFailed
    from dpaudit.runtime.files import write_text
    from dpaudit.runtime.terminal import console
    from dpaudit.self_test.faults.page import as_markdown
    from dpaudit.self_test.faults.run import run_faults

    report = run_faults(seed=seed, jobs=jobs, backend=backend)
    if markdown is not None:
        write_text(markdown, as_markdown(report))
    if not quiet:
        console().print(report.table())
    if not report.passed:
        alarms = [found.mechanism for found in report.right if found.alarms]
        raise AuditFailed(f"faults not detected: {list(report.missed)}; correct mechanisms with an alarm: {alarms}.")


def _efforts(
    efforts: list[float], *, seed: int, jobs: int | None, backend: str, markdown: Path | None, quiet: bool
) -> None:
    from dpaudit.runtime.errors import AuditFailed
    from dpaudit.runtime.files import write_text
    from dpaudit.runtime.terminal import console
    from dpaudit.self_test.faults.efforts import run_efforts

    found = run_efforts(efforts, seed=seed, jobs=jobs, backend=backend)
    if markdown is not None:
        given = " ".join(f"--effort {effort:g}" for effort in efforts)
        write_text(markdown, found.markdown(f"dpaudit selftest --faults {given} --markdown {markdown}"))
    if not quiet:
        console().print(found.table())
    if found.wrong:
        raise AuditFailed(f"known faults missed, or right mechanisms with an alarm: {', '.join(found.wrong)}.")
