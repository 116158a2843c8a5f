"""``dpaudit report``."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    result: Annotated[Path, typer.Argument(help="A result.json, or the folder of a run.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the report. Default: the folder of the result.")
    ] = None,
    baseline: Annotated[Path | None, typer.Option(help="Also show the changes since this result.")] = None,
    png: Annotated[bool, typer.Option("--png", help="Also write the figures as PNG files.")] = False,
    pdf: Annotated[bool, typer.Option("--pdf", help="Also write report.pdf.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Also write report.md.")] = False,
    evidence: Annotated[
        list[str] | None,
        typer.Option(
            help="Also write evidence-NAME.md: what edpb, nist-800-226 or aisvs asks and what this result answers; may "
            "be repeated."
        ),
    ] = None,
    card: Annotated[bool, typer.Option("--model-card", help="Also write model-card.md for Hugging Face.")] = False,
    context: Annotated[
        Path | None,
        typer.Option(help="TOML for --evidence: purpose, population, deployment, trust_model. Default: the plan."),
    ] = None,
    show_records: Annotated[
        bool,
        typer.Option("--show-records", help="Show the exposed records themselves. The report then contains raw data."),
    ] = False,
) -> None:
    """Write the report of a stored result again. Nothing is trained or measured.

    Exposed records are listed by row number. Only --show-records shows the records themselves.
    """
    from dpaudit.cli.verify import of_run
    from dpaudit.reports import markdown as words
    from dpaudit.reports.evidence import evidence_table
    from dpaudit.reports.html import write_pixels, write_report
    from dpaudit.reports.model_card import model_card
    from dpaudit.reports.pdf import write_pdf
    from dpaudit.reports.records import read_exposed_records
    from dpaudit.results.result import load_result
    from dpaudit.runtime.errors import InputError
    from dpaudit.runtime.files import parse_toml, read_text, write_text

    source = of_run(result)
    folder = out or source.parent
    loaded = load_result(source)
    before = load_result(of_run(baseline)) if baseline is not None else None
    records = read_exposed_records(loaded) if show_records else None
    if context is not None and not evidence:
        raise InputError("--context goes with --evidence.")
    told = None if context is None else parse_toml(read_text(context), context)
    tables = {name: evidence_table(loaded, name, told) for name in evidence or []}  # before anything is written
    write_report(loaded, folder, before, records)
    for name, table in tables.items():
        write_text(folder / f"evidence-{name}.md", table)
        typer.echo(f"evidence: {folder / f'evidence-{name}.md'}")
    if png:
        write_pixels(loaded, folder)
    if pdf:
        write_pdf(loaded, folder / "report.pdf", before, records)
    if markdown:
        write_text(folder / "report.md", words.result_as_markdown(loaded, before))
    if card:
        write_text(folder / "model-card.md", model_card(loaded))
        typer.echo(f"model card: {folder / 'model-card.md'}")
    typer.echo(f"report: {folder / 'report.html'}")
