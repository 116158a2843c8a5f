"""Findings as a table for the terminal."""

import math
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from dpaudit.bounds.lower_bound import Finding
from dpaudit.inspection.inspect import Inspection
from dpaudit.runtime.check import printable
from dpaudit.runtime.terminal import plain_text


def tabulate_findings(found: Inspection) -> Table:
    """One line for each finding; a single line when there is none.

    >>> tabulate_findings(Inspection("DP-SGD", (), 1.0, 1e-6, 100, 0.1)).row_count
    1
    """
    return findings_table(found.findings, title=f"Inspection of {found.mechanism}")


def findings_table(findings: Sequence[Finding], *, title: str) -> Table:
    """Findings with what was fed, what came out, what was expected and how to mend it."""
    lines = Table(title=plain_text(title, "table.title"), show_lines=True, show_header=False)
    lines.add_column()
    lines.add_column()
    for finding in findings:
        style = "bold red" if finding.severity == "violation" else "yellow"
        rows = [("fed", finding.fed), ("came out", finding.observed), ("expected", finding.expected)]
        if finding.true_epsilon is not None:
            rows.append(("true ε", "∞" if math.isinf(finding.true_epsilon) else f"{finding.true_epsilon:.3g}"))
        facts = "\n".join(f"{name + ':':10}{printable(text)}" for name, text in [*rows, ("remedy", finding.remedy)])
        lines.add_row(Text.assemble(plain_text(finding.check, style), f"\n{finding.severity}"), Text(facts))
    if not findings:
        lines.add_row("all checks", "nothing that is not as stated")
    return lines
