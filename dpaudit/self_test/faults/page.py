"""The table of faults and rungs as a page."""

import math

from dpaudit.accounting.composed import epsilon_under
from dpaudit.self_test.faults.run import FaultsReport, Row

HEAD = """# Known faults

The self-test holds broken mechanisms and pipelines whose faults are known. For each one this page gives the claimed ε,
the true ε, and the rung of the audit ladder that must detect the fault. The page is made by `dpaudit selftest --faults
--markdown docs/faults.md`.

The true ε is computed from the fault by the accountant. It is empty where no single number describes it, and ∞ where
almost no noise is left. For drop-outs it is the ε of half of the clients, and for noise in the update that of whole
batches; the inspection measures with a quarter of them. For augmented copies it is an upper bound by group privacy.
The measured ε̂ is a bound on rungs 3 and 4; on rungs 1 and 2 it is computed from the measured noise multiplier. Rungs
0 to 2 share a family-wise level of 1e-6 in each audit; rungs 3 and 4 have 5 %. Rung 1 inspects with effort 1.
"""


def as_markdown(report: FaultsReport) -> str:
    """The report as a page."""
    lines = [
        HEAD,
        f"{len(report.rows) - len(report.missed)} of {len(report.rows)} faults detected, "
        f"in {sum(row.seconds for row in report.rows):.0f} CPU seconds.",
        "",
        "| rung | fault is in | fault | claimed ε | true ε | ε̂ | detected by | CPU s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in report.rows:
        fault = row.fault
        cells = (
            str(fault.rung),
            fault.subject,
            f"**{fault.name}**: {fault.fault}",
            f"{fault.claim.epsilon:.3g}",
            _true(row),
            _measured(row),
            row.seen.check or "**nothing**",
            f"{row.seconds:.1f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "Correct mechanisms, in which nothing may be found:",
        "",
        "| mechanism | inspections | false alarms |",
        "|---|---|---|",
    ]
    lines += [f"| {found.mechanism} | {found.runs} | {found.alarms} |" for found in report.right]
    return "\n".join(lines) + "\n"


def _true(row: Row) -> str:
    return _number(row.seen.epsilon if row.fault.rung == 0 else row.fault.true_epsilon)


def _measured(row: Row) -> str:
    sigma = row.seen.noise_multiplier
    if row.fault.rung >= 3 or sigma is None:
        return _number(row.seen.epsilon if row.fault.rung >= 3 else None)
    return _number(epsilon_under(row.fault.claim)(sigma))


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return "∞" if math.isinf(value) else f"{value:.3g}"
