"""``dpaudit report``."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    result: Annotated[Path, typer.Argument(help="A result.json, or the folder of a run.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the report; default that of the result.")
    ] = None,
    baseline: Annotated[Path | None, typer.Option(help="Also show what changed since this result.")] = None,
    png: Annotated[bool, typer.Option("--png", help="Also write the figures as PNG files.")] = False,
    pdf: Annotated[bool, typer.Option("--pdf", help="Also write report.pdf.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Also write report.md.")] = False,
) -> None:
    """Draw the report of a result again; nothing is trained or measured."""
    from dpaudit.cli.verify import of_run
    from dpaudit.files import write_text
    from dpaudit.reports import markdown as words
    from dpaudit.reports.html import write_pixels, write_report
    from dpaudit.reports.pdf import write_pdf
    from dpaudit.result import load_result

    source = of_run(result)
    folder = out or source.parent
    loaded = load_result(source)
    write_report(loaded, folder, load_result(of_run(baseline)) if baseline is not None else None)
    if png:
        write_pixels(loaded, folder)
    if pdf:
        write_pdf(loaded, folder / "report.pdf")
    if markdown:
        write_text(folder / "report.md", words.markdown(loaded))
    typer.echo(f"report: {folder / 'report.html'}")
