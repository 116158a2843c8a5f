"""The table of faults and rungs as a page."""

import math

from dpaudit.accounting.of_noise import epsilon_under
from dpaudit.zoo.run import Row, ZooReport

HEAD = """# The bug zoo

Broken mechanisms and pipelines, what each promises, the ε there really is, and the rung of the audit ladder that must
catch it. This page is made by `dpaudit selftest --zoo --markdown docs/zoo.md`.

The true ε follows from the fault by the accountant (empty where no single number says it; ∞ where next to no noise is
left). For drop-outs it is that of half of the clients, for noise in the update that of whole batches; the inspection
measures with a quarter of them. For augmented copies it is an upper bound by group privacy. The measured ε̂ is a
bound on rungs 3 and 4, and computed from the measured noise multiplier on rungs 1 and 2. Rungs 0 to 2 share a
family-wise level of 1e-6 in each audit; rungs 3 and 4 have 5 %.
"""


def as_markdown(report: ZooReport) -> str:
    """The report as a page."""
    lines = [
        HEAD,
        f"{len(report.rows) - len(report.missed)} of {len(report.rows)} faults caught, "
        f"in {sum(row.seconds for row in report.rows):.0f} CPU seconds of hunting.",
        "",
        "| rung | put into | fault | claimed ε | true ε | ε̂ | seen by | CPU s |",
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
        "Right mechanisms, in which nothing may be found:",
        "",
        "| mechanism | inspections | alarms |",
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
