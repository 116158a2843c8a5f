"""Can training texts be got out of a language model by sampling from it?"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dpaudit.attacks.membership.exposure import exposure, extrapolated_exposure
from dpaudit.bounds.lower_bound import ErrorLevel
from dpaudit.data.token_files import read_texts, read_token_logprobs
from dpaudit.data.token_logprobs import TokenLogprobs, refuse_unlike
from dpaudit.results.extraction import (
    ExposedSecret,
    ExtractionPoint,
    ExtractionResult,
    ExtractionSide,
    ReproducedTexts,
)
from dpaudit.results.result import DataSummary, ModelResult, Result, provenance
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.extraction import extractable, log_probability_of_records
from dpaudit.scores.intervals import interval
from dpaudit.scores.reproduced import RUN, find_reproduced

N = (1, 10, 100, 1000, 10_000, 100_000, 1_000_000)
P = (0.1, 0.5, 0.9)
LISTED = 20  # records that a result names
SHOWN = 0.95  # confidence of the intervals; no claim is judged by them


def audit_extraction(
    records: TokenLogprobs | str | Path,
    *,
    others: TokenLogprobs | str | Path | None = None,
    candidates: TokenLogprobs | str | Path | None = None,
    generations: Sequence[str] | str | Path | None = None,
    n: Sequence[int] = N,
    p: Sequence[float] = P,
    run: int = RUN,
    show_records: bool = False,
) -> Result:
    """What can be extracted of texts a model was trained on, from one forward pass over each.

    A record is (n, p)-extractable when n samples of what follows its prefix hold the rest with probability p or more
    (Hayes et al. 2024, arXiv 2410.19482). The table holds the log-probabilities of the rest under the sampler that is
    meant, with its temperature and its top-k; its mask leaves the prefix out.

    Args:
        records: texts the model was trained on, a table or a file of one (docs/language_model.md).
        others: texts of the same kind it was not trained on, with the same prefix lengths: what can be extracted of
            them is no memory.
        candidates: secrets of the same form as ``records`` that were drawn alike and not planted: gives the exposure
            of each record, by its rank among them and by a fit (Carlini et al. 2019, arXiv 1802.08232).
        generations: what the model wrote, or a file of it: in which texts of ``records`` are looked for.
        n: numbers of samples.
        p: probabilities.
        run: words in a row that count as reproduced.
        show_records: put the likeliest records into the result as texts.

    Raises:
        InputError: tables that are wrong or unlike, an n or p out of range, generations without texts to look for.

    >>> from dpaudit.data.token_columns import token_logprobs
    >>> table = token_logprobs({"id": ["a", "b"], "logprobs": [[-0.1, -0.2], [-9.0, -8.0]]})
    >>> (found,) = audit_extraction(table, n=[100], p=[0.9]).extraction
    >>> found.records.points[0].extracted, found.records.extracted(10**9, 0.9)
    (1, 2)
    """
    begin = time.monotonic()
    name = "text" if isinstance(records, TokenLogprobs) else Path(records).stem
    given = {"records": records, "others": others, "candidates": candidates}
    tables = {
        side: each if isinstance(each, TokenLogprobs) else read_token_logprobs(each)
        for side, each in given.items()
        if each is not None
    }
    refuse_unlike(tables)
    outcome = measure_extraction(tables, n, p, show_records=show_records)
    own = tables["records"]
    if generations is not None:
        seen = _reproduced(own, generations, run, show_records=show_records)
        outcome = outcome.model_copy(update={"reproduced": seen})
    return Result(
        schema=1,
        name=name,
        title=f"Extraction from {name}",
        unit="record",
        adjacency="add-remove",
        delta=0.0,
        provenance=provenance(seed=None),
        data=DataSummary(
            name=name,
            records=sum(map(len, tables.values())),
            members=len(own),
            population=0,
            fingerprint=None,
            licence="not stated",
            notes=list(own.notes),
        ),
        level=ErrorLevel.shared(SHOWN, 0),
        models=[
            ModelResult(
                name=name,
                trainer="given log-probabilities",
                parameters={},
                mechanism=None,
                accounted=None,
                utility=None,
            )
        ],
        comparisons=[],
        extraction=[outcome],
        timing={"total": round(time.monotonic() - begin, 3)},
    )


def measure_extraction(
    tables: Mapping[str, TokenLogprobs], n: Sequence[int], p: Sequence[float], *, show_records: bool = False
) -> ExtractionResult:
    """What can be extracted of ``records``, beside ``others`` and among ``candidates`` where these are given.

    >>> from dpaudit.data.token_columns import token_logprobs
    >>> table = token_logprobs({"id": ["a", "b"], "logprobs": [[-0.1, -0.2], [-9.0, -8.0]]})
    >>> measure_extraction({"records": table}, [100], [0.9]).records.points[0].extracted
    1
    """
    if not n or not p:
        raise InputError("give at least one n and one p.")
    for number in n:
        check.integer("n", number, at_least=1)
    for level in p:
        check.open_unit("p", level)
    own, others, candidates = tables["records"], tables.get("others"), tables.get("candidates")
    if show_records and own.texts is None:
        raise InputError("the file of records has no column 'text', so there is no record to show.")
    return ExtractionResult(
        temperature=own.temperature,
        top_k=own.top_k,
        records=_side(own, n, p, show_records=show_records),
        others=None if others is None else _side(others, n, p),
        candidates=0 if candidates is None else len(candidates),
        secrets=[] if candidates is None else _secrets(own, candidates),
    )


def _side(table: TokenLogprobs, n: Sequence[int], p: Sequence[float], *, show_records: bool = False) -> ExtractionSide:
    logs = log_probability_of_records(table)
    order = np.argsort(-logs, kind="stable")
    rows = order[:LISTED].tolist()
    texts = [table.texts[row] for row in rows] if show_records and table.texts is not None else []
    points = [_point(logs, samples, level) for level in p for samples in n]
    return ExtractionSide(log_probabilities=logs[order].tolist(), rows=rows, texts=texts, points=points)


def _point(logs: FloatArray, n: int, p: float) -> ExtractionPoint:
    count = int(extractable(logs, n, p).sum())
    low, high = interval(count, logs.size, SHOWN)
    return ExtractionPoint(n=n, p=p, extracted=count, share=count / logs.size, low=float(low), high=float(high))


def _secrets(planted: TokenLogprobs, candidates: TokenLogprobs) -> list[ExposedSecret]:
    own, others = -log_probability_of_records(planted), -log_probability_of_records(candidates)
    if not (np.isfinite(own).all() and np.isfinite(others).all()):
        raise InputError("exposure needs the log-probability of every token: make the tables without top_k.")
    ranks, fits = exposure(own, others), extrapolated_exposure(own, others)
    first = own < others.min()
    return [
        ExposedSecret(row=row, by_rank=float(ranks[row]), by_fit=float(fits[row]), first=bool(first[row]))
        for row in range(len(planted))
    ]


def _reproduced(
    table: TokenLogprobs, generations: Sequence[str] | str | Path, run: int, *, show_records: bool
) -> ReproducedTexts:
    if table.texts is None:
        raise InputError("the file of records has no column 'text', so there is nothing to look for in generations.")
    written = read_texts(generations) if isinstance(generations, str | Path) else list(generations)
    found = find_reproduced(table.texts, written, run=run)
    rows = np.flatnonzero(found.near)[:LISTED].tolist()
    return ReproducedTexts(
        texts=len(table),
        generations=len(written),
        verbatim=int(found.verbatim.sum()),
        near=int(found.near.sum()),
        run=int(found.run.sum()),
        words=run,
        rows=rows,
        shown=[table.texts[row] for row in rows] if show_records else [],
    )
