"""Findings as a table for the terminal."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from dpaudit.evidence import Finding
from dpaudit.forensics.inspection import Inspection


def table(found: Inspection) -> Table:
    """One line for each finding; a single line when there is none.

    >>> table(Inspection("DP-SGD", (), 1.0, 1e-6, 100, 0.1)).row_count
    1
    """
    return findings_table(found.findings, title=f"Inspection of {found.mechanism}")


def findings_table(findings: Sequence[Finding], *, title: str) -> Table:
    """Findings with what was fed, what came out, what was expected and how to mend it."""
    lines = Table(title=escape(title), show_lines=True, show_header=False)
    lines.add_column()
    lines.add_column()
    for finding in findings:
        style = "bold red" if finding.severity == "violation" else "yellow"
        rows = [("fed", finding.fed), ("came out", finding.observed), ("expected", finding.expected)]
        if finding.true_epsilon is not None:
            rows.append(("true ε", f"{finding.true_epsilon:.3g}"))
        facts = "\n".join(f"{name + ':':10}{text}" for name, text in [*rows, ("remedy", finding.remedy)])
        lines.add_row(f"[{style}]{escape(finding.check)}[/]\n{finding.severity}", escape(facts))
    if not findings:
        lines.add_row("all checks", "nothing that is not as stated")
    return lines
