"""``dpaudit verify``."""

from pathlib import Path
from typing import Annotated

import typer

from dpaudit.cli.options import Json, Quiet


def verify(
    results: Annotated[
        list[Path] | None, typer.Argument(help="Results to judge: result.json files or folders of runs.")
    ] = None,
    claims: Annotated[
        list[Path] | None,
        typer.Option(help="Claims files. Default: claims.toml, or [tool.dpaudit] in pyproject.toml, in this folder."),
    ] = None,
    baseline: Annotated[Path | None, typer.Option(help="Earlier result that no-growth claims compare with.")] = None,
    require_power: Annotated[
        bool, typer.Option("--require-power", help="Exit 3 when the audit was too weak to judge a claim.")
    ] = False,
    junit: Annotated[Path | None, typer.Option(help="Also write JUnit XML to this file.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Also append a Markdown table to this file, e.g. $GITHUB_STEP_SUMMARY.")
    ] = None,
    code_quality: Annotated[
        Path | None, typer.Option(help="Also write a code quality report of GitLab to this file.")
    ] = None,
    annotate: Annotated[
        bool,
        typer.Option(
            "--annotate/--no-annotate",
            envvar="GITHUB_ACTIONS",
            help="Write annotations at the lines of the claims to standard error, as GitHub reads them. Default: where "
            "GITHUB_ACTIONS is true.",
        ),
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge results against claims.

    The exit code is 0 when all claims are consistent, 1 when one is contradicted, and 3 when one has no verdict (or,
    with --require-power, when the audit of one was too weak).
    """
    from dataclasses import asdict

    from dpaudit.gate.claims_file import find_claims, load_claims
    from dpaudit.gate.verify import verify as judge
    from dpaudit.reports import annotations
    from dpaudit.reports import gate as report
    from dpaudit.results.result import load_result
    from dpaudit.runtime.errors import InputError
    from dpaudit.runtime.files import alone_in, read_text, write_text
    from dpaudit.runtime.terminal import console, plain_text, print_json

    files = [load_claims(path) for path in claims or [find_claims(Path())]]
    paths = results or [Path(file.result) for file in files if file.result is not None]
    if not paths:
        raise InputError("there is no result to judge: give result.json files, or result = ... in the claims file.")
    baselines = [baseline] if baseline else [Path(file.baseline) for file in files if file.baseline is not None]
    if len({path.resolve() for path in baselines}) > 1:
        raise InputError(f"the claims files name {len(baselines)} baselines; give one with --baseline.")
    before = load_result(of_run(baselines[0])) if baselines else None
    gate = judge([load_result(of_run(path)) for path in paths], files, baseline=before)
    code = gate.exit_code(require_power=require_power)
    if junit is not None:
        write_text(junit, report.junit(gate, require_power=require_power))
    if markdown is not None:
        with alone_in(markdown.parent):  # or one of two gates that append to it at once would be lost
            write_text(markdown, (read_text(markdown) if markdown.exists() else "") + report.gate_as_markdown(gate))
    if code_quality is not None:
        write_text(code_quality, annotations.gitlab_code_quality(gate, require_power=require_power))
    if annotate:  # not to standard output, which --json is alone on
        for line in annotations.github_annotations(gate, require_power=require_power):
            typer.echo(line, err=True)
    if json:
        document = {
            "schema": 1, "exit_code": code, "false_alarms": gate.false_alarms,
            "judgements": [asdict(each) for each in gate.judgements],
        }  # fmt: skip
        print_json(document)
    elif not quiet:
        out = console()
        out.print(report.tabulate_judgements(gate))
        for each in gate.judgements:
            out.print(plain_text(f"{each.claim}: {each.sentence}"), soft_wrap=True)
    if code:
        raise typer.Exit(code)


def of_run(path: Path) -> Path:
    """A result.json, or the one in the folder of a run."""
    return path / "result.json" if path.is_dir() else path
