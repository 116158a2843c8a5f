"""Extraction from the language models of a plan: of their canaries or texts, beside those they were not trained on."""

from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from dpaudit.audits.audit import Audit, Subject
from dpaudit.audits.extract import N, P, measure_extraction
from dpaudit.data.dataset import Dataset
from dpaudit.data.token_columns import token_logprobs
from dpaudit.data.token_logprobs import TokenLogprobs
from dpaudit.data.tokens import tokenizer_named
from dpaudit.results.extraction import ExtractionResult
from dpaudit.runtime.check import IntArray
from dpaudit.runtime.errors import InputError


class ExtractionSettings(BaseModel):
    """``[extraction]``: which texts of a training are (n, p)-extractable from each model, and which others.

    That is: n samples of what follows a prefix hold the rest, word for word, with probability p or more
    (`Hayes et al. (2024) <https://arxiv.org/abs/2410.19482>`_), at temperature 1 and over all tokens.

    ``of`` is ``canaries`` or ``texts``; left out, the canaries where the plan has ``[canaries]``. Of a canary, what its
    loss counts is to be extracted; beside them stand the canaries that were not included, and the exposure of secrets
    is their rank among those. Of a text, the first ``prefix`` tokens are given (default: half of the context) and the
    rest is to be extracted; a text that ends before the context does is left out. Beside them stand texts that the
    models were not trained on. At most ``records`` are taken on each side. ``show_records`` puts the likeliest into
    the report.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    of: Literal["canaries", "texts"] | None = None
    prefix: int | None = Field(default=None, ge=1)
    records: int = Field(default=1000, ge=10)
    n: list[int] = Field(default=list(N), min_length=1)
    p: list[float] = Field(default=list(P), min_length=1)
    show_records: bool = False

    def check(self, *, canaries: bool, context: int) -> None:
        """Refuse what the data of the plan do not have.

        Raises:
            InputError: canaries without any, or a prefix for them; a prefix that leaves nothing of the context.
        """
        if self.of == "canaries" and not canaries:
            raise InputError('extraction.of = "canaries" needs a table [canaries].')
        if self.prefix is not None and (self.of or ("canaries" if canaries else "texts")) == "canaries":
            raise InputError('extraction.prefix is for texts: a canary has a prefix of its own. Set of = "texts".')
        if self.prefix is not None and self.prefix >= context:
            raise InputError(f"extraction.prefix must be below data.context, {context}, got {self.prefix}.")


def audit_texts_extracted(settings: ExtractionSettings, audit: Audit) -> list[ExtractionResult]:
    """What can be extracted from each model of an audit.

    Raises:
        InputError: fewer than ten records on a side.
    """
    of = settings.of or ("canaries" if audit.canaries else "texts")
    sides = _canaries(audit) if of == "canaries" else _texts(settings, audit)
    chosen = {}
    for name, (data, rows) in sides.items():
        if rows.size < 10:
            raise InputError(f"[extraction] has {rows.size} {of} among the {name}; at least 10 are needed.")
        order = np.random.default_rng(audit.seed_for("extraction", name)).permutation(rows)
        chosen[name] = data.take(np.sort(order[: settings.records]))
    return [_from_model(settings, audit, subject, of, chosen) for subject in audit.subjects]


def _canaries(audit: Audit) -> dict[str, tuple[Dataset, IntArray]]:
    member = audit.audited_member
    return {name: (audit.audited, np.flatnonzero(rows)) for name, rows in (("records", member), ("others", ~member))}


def _texts(settings: ExtractionSettings, audit: Audit) -> dict[str, tuple[Dataset, IntArray]]:
    """Texts as long as the context, with their first tokens given; no text of the others is one of the records."""
    inside = audit.member & (~audit.rows if audit.canaries else True)
    records = audit.dataset.take(inside)
    others = audit.population if audit.canaries else audit.dataset.take(~inside)
    known = {text.tobytes() for text in records.features}
    strange = np.array([text.tobytes() not in known for text in others.features], bool)
    whole = {"records": (records, records.labels.all(axis=1)), "others": (others, others.labels.all(axis=1) & strange)}
    prefix = audit.dataset.outputs // 2 if settings.prefix is None else settings.prefix
    rest = np.arange(audit.dataset.outputs) >= prefix
    return {
        name: (replace(data, labels=np.tile(rest.astype(np.float32), (len(data), 1))), np.flatnonzero(rows))
        for name, (data, rows) in whole.items()
    }


def _from_model(
    settings: ExtractionSettings,
    audit: Audit,
    subject: Subject,
    of: Literal["canaries", "texts"],
    sides: dict[str, Dataset],
) -> ExtractionResult:
    tables = {name: _table(audit, subject, name, data, show=settings.show_records) for name, data in sides.items()}
    canaries = None if audit.source is None else audit.source.canaries
    if of == "canaries" and canaries is not None and canaries.kind == "secret":
        tables["candidates"] = tables["others"]
    found = measure_extraction(tables, settings.n, settings.p, show_records=settings.show_records)
    rows = sides["records"].source_rows[found.records.rows].tolist()
    records = found.records.model_copy(update={"rows": rows})
    return found.model_copy(update={"model": subject.name, "of": of, "records": records})


def _table(audit: Audit, subject: Subject, name: str, data: Dataset, *, show: bool) -> TokenLogprobs:
    logs = -subject.model.predict(data.features).astype(np.float64)
    columns = {"id": [f"{name} {row}" for row in data.source_rows], "logprobs": list(logs), "mask": list(data.labels)}
    table = token_logprobs(columns, f"what {subject.name} predicts")
    if not show:
        return table
    assert audit.source is not None
    assert audit.source.text is not None
    tokenizer = tokenizer_named(audit.source.text.tokenizer)
    return replace(table, texts=tuple(tokenizer.decode([int(token) for token in row]) for row in data.features))
