"""Findings on a terminal: every text of every field as it is."""

import io
from dataclasses import asdict, fields

import pytest
from rich.console import Console

from dpaudit.bounds.lower_bound import Finding
from dpaudit.inspection.findings_table import findings_table, tabulate_findings
from dpaudit.inspection.inspect import Inspection
from dpaudit.runtime.terminal import console
from tests.runtime.test_terminal import HOSTILE

FINDING = Finding("noise", "violation", "zeros", "no noise", "noise", "add noise", rung=0, true_epsilon=4.0)
TEXTS = [field.name for field in fields(Finding) if field.type is str]


def shown(drawn: object, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What Rich's own console shows, and what ours does, each as its lines."""
    stock = Console(file=io.StringIO(), width=200)
    stock.print(drawn)
    assert isinstance(stock.file, io.StringIO)
    ours = console()
    ours.width = 200
    ours.print(drawn)
    return [stock.file.getvalue(), capsys.readouterr().out]


def test_fields_of_a_finding_that_are_text() -> None:
    """All but the severity, which is one of two words, and the numbers."""
    assert TEXTS == ["check", "fed", "observed", "expected", "remedy"]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("field", TEXTS)
@pytest.mark.parametrize("severity", ["violation", "warning"])
def test_every_text_of_a_finding_is_shown_as_it_is(
    field: str, text: str, severity: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whole, with the other fields beside it unharmed."""
    hostile = Finding(**{**asdict(FINDING), "severity": severity, field: text})
    for page in shown(findings_table([hostile], title="Inspection"), capsys):
        cells = [cell.strip() for line in page.splitlines() for cell in line.split("│")]
        expected = {
            "check": hostile.check,
            "fed": f"fed:      {hostile.fed}",
            "observed": f"came out: {hostile.observed}",
            "expected": f"expected: {hostile.expected}",
            "remedy": f"remedy:   {hostile.remedy}",
        }
        assert set(expected.values()) | {severity, "true ε:   4"} <= set(cells)


@pytest.mark.parametrize("text", HOSTILE)
def test_name_of_a_mechanism_is_shown_as_it_is(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In the title of an inspection without findings."""
    for page in shown(tabulate_findings(Inspection(text, (), 1.0, 1e-6, 100, 0.1)), capsys):
        assert f"Inspection of {text}" in " ".join(page.split())
