"""``python -m dpaudit.zoo > docs/zoo.md``: the table of faults and rungs, measured now."""

import argparse
import math
import os
import sys

from dpaudit.forensics.epsilon import epsilon_under
from dpaudit.zoo.run import Row, ZooReport, run_zoo

HEAD = """# The bug zoo

Broken mechanisms and pipelines, what each promises, the ε there really is, and the rung of the audit ladder that must
catch it. `dpaudit selftest --zoo` runs it; this page is made by `python -m dpaudit.zoo > docs/zoo.md`.

The true ε follows from the fault by the accountant (below a noise multiplier of 0.25 the figure is that of 0.25, a
lower bound; it is empty where no single number says it). The measured ε̂ is a bound on rung 4 and computed from the
measured noise multiplier on rungs 1 and 2. Rungs 0 to 2 share a family-wise level of 1e-6 in each audit; rung 4 has
5 %.
"""


def markdown(report: ZooReport) -> str:
    """The report as a page."""
    lines = [
        HEAD,
        f"{len(report.rows) - len(report.missed)} of {len(report.rows)} faults caught, "
        f"in {sum(row.seconds for row in report.rows):.0f} s of hunting.",
        "",
        "| rung | put into | fault | claimed ε | true ε | ε̂ | seen by | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in report.rows:
        fault = row.fault
        cells = (
            str(fault.rung),
            fault.subject,
            f"**{fault.name}**: {fault.fault}",
            f"{fault.claim.epsilon:.3g}",
            _number(row.seen.epsilon if fault.rung == 0 and fault.true_epsilon is None else fault.true_epsilon),
            _number(_measured(row)),
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


def _measured(row: Row) -> float | None:
    if row.fault.rung == 4:
        return row.seen.epsilon
    # The effective noise says nothing of faults that leave it as it is: seeds, empty batches, state.
    sigma, true = row.seen.noise_multiplier, row.fault.noise_multiplier
    if sigma is None or not true:
        return math.inf if sigma == 0 else None
    return epsilon_under(row.fault.claim)(sigma)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return "∞" if math.isinf(value) else f"{value:.3g}"


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dpaudit.zoo", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--right-runs", type=int, default=1, help="inspections of each right mechanism")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    report = run_zoo(seed=chosen.seed, right_runs=chosen.right_runs, jobs=chosen.jobs)
    sys.stdout.write(markdown(report))
    sys.exit(0 if report.passed else 1)


if __name__ == "__main__":
    _main()
