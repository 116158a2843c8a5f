"""``dpaudit extract``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from dpaudit.cli.options import Json, Out, Quiet


def extract(
    records: Annotated[
        Path,
        typer.Argument(
            help="Log-probabilities of the tokens of texts the model was trained on, under the sampler that is meant, "
            "with the prefix masked out: Parquet, JSON lines or NPZ."
        ),
    ],
    others: Annotated[
        Path | None, typer.Option(help="The same of texts it was not trained on: what is no memory.")
    ] = None,
    candidates: Annotated[
        Path | None,
        typer.Option(help="The same of secrets drawn like the records and not planted: gives the exposure of each."),
    ] = None,
    generations: Annotated[
        Path | None,
        typer.Option(help="What the model wrote (.txt, .jsonl, .csv, .parquet): the texts are looked for in it."),
    ] = None,
    n: Annotated[
        list[int] | None, typer.Option("--n", help="Samples; may be repeated. Default: 1, 10, ... to a million.")
    ] = None,
    p: Annotated[
        list[float] | None, typer.Option("--p", help="Probability; may be repeated. Default: 0.1, 0.5 and 0.9.")
    ] = None,
    run: Annotated[int, typer.Option(help="Words in a row that count as reproduced in generations.")] = 50,
    show_records: Annotated[
        bool, typer.Option("--show-records", help="Put the likeliest texts into the result and the report.")
    ] = False,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure which training texts can be got out of a language model by sampling.

    A text is (n, p)-extractable when n samples of what follows its prefix hold the rest with probability p or more.
    One forward pass over the text says so; nothing is sampled. `dpaudit verify` judges claims of kind extraction.
    """
    from dpaudit.audits import extract as audit
    from dpaudit.reports.tables.extraction import extraction_in_words
    from dpaudit.reports.terminal import tabulate_extraction
    from dpaudit.runtime.terminal import console, plain_text

    result = audit.audit_extraction(
        records,
        others=others,
        candidates=candidates,
        generations=generations,
        n=n or audit.N,
        p=p or audit.P,
        run=run,
        show_records=show_records,
    )
    if out is not None:
        result.save(out, overwrite=True)
    if json:
        sys.stdout.write(result.json())
    elif not quiet:
        (found,) = result.extraction
        screen = console()
        screen.print("Share of records that n samples hold with probability p or more, with 95 % intervals in %:")
        screen.print(tabulate_extraction(found))
        for line in extraction_in_words(found):
            screen.print(plain_text(line), soft_wrap=True)
        if out is not None:
            screen.print(f"report: {out / 'report.html'}", soft_wrap=True)
