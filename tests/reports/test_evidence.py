"""Evidence tables ask what the standards ask, answer from the result, and say what was not tested."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from dpaudit import Result
from dpaudit.reports.context import CHOICES, CONTEXT
from dpaudit.reports.evidence import STANDARDS, evidence_table
from dpaudit.reports.evidence_answers import NOT_TESTED
from dpaudit.runtime.errors import InputError
from tests.reports import sections
from tests.reports.results import HOSTILE, hostile, three
from tests.small_audits import around

GOLDEN = Path(__file__).parent


def rows(table: str) -> list[list[str]]:
    """The cells of a Markdown table, without its head."""
    lines = [line for line in table.splitlines() if line.startswith("| **")]
    return [[part.strip() for part in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@pytest.mark.parametrize("standard", STANDARDS)
def test_every_requirement_is_a_row_with_an_answer(standard: str) -> None:
    """As many rows as requirements, each with three cells, whatever the result holds."""
    for result in (three(), sections.everything(), sections.gradient(), sections.extracted(), around([])):
        found = rows(evidence_table(result, standard))
        assert [len(row) for row in found] == [3] * len(STANDARDS[standard].requirements)
        assert all(row[1] for row in found)


@pytest.mark.parametrize("standard", STANDARDS)
def test_the_table_of_an_audit_is_the_one_on_file(standard: str) -> None:
    """The answers on a result with every experiment, as they were read; day and version are left out."""
    table = evidence_table(sections.everything(), standard)
    table = re.sub(r"of [0-9-]{10} \(dpaudit [^)]*\)", "(dpaudit)", table)
    assert table == (GOLDEN / f"evidence-{standard}.md").read_text(encoding="utf-8")


def answer(result: Result, standard: str, clause: str, context: Mapping[str, object] | None = None) -> str:
    """The answer to one requirement."""
    return next(row[1] for row in rows(evidence_table(result, standard, context)) if clause in row[0])


def test_what_did_not_run_is_not_tested() -> None:
    """Reconstruction and single records need their experiments; with them there are figures."""
    assert answer(three(), "edpb", "model inversion").startswith(NOT_TESTED)
    assert "reconstructions succeeded" in answer(sections.gradient(), "edpb", "model inversion")
    assert answer(sections.gradient(), "aisvs", "11.3.3 (level 3)").startswith(NOT_TESTED)
    assert "guessing: 500" in answer(three(), "aisvs", "11.3.3 (level 3)")
    assert answer(three(), "aisvs", "11.4.1").startswith(NOT_TESTED)
    assert answer(three(), "edpb", "regurgitation").startswith(NOT_TESTED)
    assert "1 of 120 texts word for word" in answer(sections.extracted(), "edpb", "regurgitation")


def test_what_dpaudit_cannot_know_is_left_open_or_stated() -> None:
    """Trust model and deployment come from the controller; an unknown key and an empty text are refused."""
    assert answer(three(), "nist-800-226", "trust model").startswith("open:")
    stated = {key: f"the {key}" for key in CONTEXT if key not in (*CHOICES, "published")}
    assert answer(three(), "nist-800-226", "trust model", stated) == "the trust\\_model"
    with pytest.raises(InputError, match="a key of the context must be one of"):
        evidence_table(three(), "edpb", {"purposes": "x"})
    with pytest.raises(InputError, match="purpose of the context must be text"):
        evidence_table(three(), "edpb", {"purpose": " "})
    with pytest.raises(InputError, match="evidence must be one of 'edpb'"):
        evidence_table(three(), "iso")


def test_the_context_of_the_plan_is_used() -> None:
    """`[report.context]` is read from the plan that the result holds."""
    plan = '[report.context]\ntrust_model = "a trusted curator"\n'
    result = three()
    held = result.model_copy(update={"provenance": result.provenance.model_copy(update={"plan": plan})})
    assert answer(held, "nist-800-226", "trust model") == "a trusted curator"


def test_names_are_text() -> None:
    """Markup in the names of models makes no HTML, no link and no further column."""
    result = hostile()
    held = result.model_copy(update={"provenance": result.provenance.model_copy(update={"plan": None})})
    table = evidence_table(held, "edpb")
    assert HOSTILE["script"] not in table
    assert "<img" not in table
