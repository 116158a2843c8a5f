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
    registry: Annotated[
        bool,
        typer.Option(
            "--registry",
            help="Also write registry/NAME.yaml: an entry for the registry of deployments, for each claim.",
        ),
    ] = False,
    context: Annotated[
        Path | None,
        typer.Option(
            help="TOML for --evidence and --registry with what only you know, as [report.context] of a plan. Default: "
            "the plan."
        ),
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Also write numbers.csv: all numbers in one table.")] = False,
    badge: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a badge with what was measured, as SVG.")
    ] = None,
    mlflow: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Also log numbers and page to this tracking store of MLflow, as one run."),
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Also write numbers and words as events of TensorBoard.")
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
    from dpaudit.integrations.tensorboard_events import write_events
    from dpaudit.reports import markdown as words
    from dpaudit.reports.badge import badge as badge_of
    from dpaudit.reports.context import checked_context, context_of
    from dpaudit.reports.evidence import evidence_table
    from dpaudit.reports.html import write_pixels, write_report
    from dpaudit.reports.model_card import model_card
    from dpaudit.reports.numbers import as_csv
    from dpaudit.reports.pdf import write_pdf
    from dpaudit.reports.records import read_exposed_records
    from dpaudit.reports.registry import registry_entries
    from dpaudit.reports.to_mlflow import log_to_mlflow, metric_names
    from dpaudit.results.result import load_result
    from dpaudit.runtime.errors import InputError
    from dpaudit.runtime.files import parse_toml, read_text, write_text

    source = of_run(result)
    folder = out or source.parent
    loaded = load_result(source)
    before = load_result(of_run(baseline)) if baseline is not None else None
    records = read_exposed_records(loaded) if show_records else None
    if context is not None and not evidence and not registry:
        raise InputError("--context goes with --evidence or --registry.")
    # All of it before anything is written.
    told = context_of(loaded) if context is None else checked_context(parse_toml(read_text(context), context))
    tables = {f"evidence-{name}.md": evidence_table(loaded, name, told) for name in evidence or []}
    entries = registry_entries(loaded, told) if registry else []
    files = {
        **tables,
        **({"report.md": words.result_as_markdown(loaded, before)} if markdown else {}),
        **({"model-card.md": model_card(loaded)} if card else {}),
        **({"numbers.csv": as_csv(loaded)} if csv else {}),
        **{f"registry/{entry.name}": entry.text for entry in entries},
    }
    write_report(loaded, folder, before, records)
    for name, text in files.items():
        write_text(folder / name, text)
        typer.echo(f"{name.split('/')[0].split('.')[0]}: {folder / name}")
    for entry in entries:
        if entry.missing:
            typer.echo(f"to be stated in [report.context] before {entry.name} is valid: {', '.join(entry.missing)}")
    if badge is not None:
        write_text(badge, badge_of(loaded))
        typer.echo(f"badge: {badge}")
    if png:
        write_pixels(loaded, folder)
    if pdf:
        write_pdf(loaded, folder / "report.pdf", before, records)
    if mlflow is not None:
        typer.echo(f"MLflow run: {log_to_mlflow(loaded, mlflow)}")
    if tensorboard is not None:
        write_events(metric_names(loaded), words.result_as_markdown(loaded), tensorboard)
        typer.echo(f"events: {tensorboard}")
    typer.echo(f"report: {folder / 'report.html'}")
