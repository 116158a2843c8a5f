"""Findings as a table for the terminal."""

import math
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from dpaudit.bounds.lower_bound import Finding
from dpaudit.inspection.inspect import Inspection
from dpaudit.inspection.mechanism import Stated
from dpaudit.runtime.check import printable
from dpaudit.runtime.terminal import plain_text


def tabulate_findings(found: Inspection) -> Table:
    """One line for each finding; a single line when there is none.

    >>> tabulate_findings(Inspection("DP-SGD", (), 1.0, 1e-6, 100, 0.1)).row_count
    1
    """
    return findings_table(found.findings, title=f"Inspection of {found.mechanism}")


def sights_table(found: Inspection) -> Table:
    """What each question would have shown with probability 0.8, and what was not asked and why."""
    lines = Table(title=plain_text("What it would have found, with probability 0.8", "table.title"), show_header=False)
    lines.add_column()
    lines.add_column()
    for sight in found.sights:
        lines.add_row(sight.kind, printable(sight.smallest if sight.asked else f"not asked: {sight.smallest}"))
    return lines


def summary(found: Inspection, stated: Stated, *, claimed: float, delta: float, steps: int, rate: float) -> str:
    """The measured noise with its interval, beside what is stated."""
    if found.noise_multiplier is None or found.interval is None:
        measured = "noise multiplier not measured"
    else:
        low, high = found.interval
        measured = f"measured noise multiplier {found.noise_multiplier:.3g} (95 %: {low:.3g} to {high:.3g})"
    return (
        f"{measured}, stated {stated.noise_multiplier:g} (ε = {claimed:.3g} at δ = {delta:g} for {steps} "
        f"{'step' if steps == 1 else 'steps'} at rate {rate:g}); {found.calls:,} calls in {found.seconds:.1f} s, "
        f"false alarms at most {found.level:g}"
    )


def findings_table(findings: Sequence[Finding], *, title: str, not_checked: Sequence[str] = ()) -> Table:
    """Findings with what was fed, what came out, what was expected and how to mend it; what was not checked on top."""
    if not_checked:
        title += f" (not checked: {', '.join(dict.fromkeys(not_checked))})"
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
        lines.add_row("the other checks" if not_checked else "all checks", "nothing that is not as stated")
    return lines
