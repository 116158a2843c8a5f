"""A trace held against its own claim, before any attack: what does not fit is found for certain or nearly so."""

from pathlib import Path

from dpaudit.bounds.lower_bound import Finding
from dpaudit.trace.accountant import check_epsilon, check_formula, check_participation, check_rounds
from dpaudit.trace.check_course import check_buffers, check_clip, check_completeness, check_metrics
from dpaudit.trace.check_sensitivity import check_denominator, check_noise, check_recorded_weights, check_sensitivity
from dpaudit.trace.reader import Trace, read_trace

CHECKS = (
    check_recorded_weights,
    check_denominator,
    check_noise,
    check_sensitivity,
    check_rounds,
    check_epsilon,
    check_formula,
    check_clip,
    check_participation,
)


def inspect_trace(path: str | Path) -> list[Finding]:
    """What in a trace contradicts its own claim; violations first, empty when nothing does.

    Args:
        path: folder of the trace.

    Raises:
        InputError: it is no trace, or nothing of it can be read.
    """
    return inspect_rounds(read_trace(path))


def inspect_rounds(trace: Trace) -> list[Finding]:
    """`inspect_trace` of a trace that was read already."""
    findings = check_completeness(trace)
    claim = trace.manifest.dp_claim
    if claim is None:
        findings.append(
            Finding(
                "no claim", "warning", "the manifest", "it claims no privacy", "a dp_claim", "state one to check it", 0
            )
        )
    else:
        for check in CHECKS:
            findings += check(trace, claim)
    findings += check_buffers(trace) + check_metrics(trace)
    return sorted(findings, key=lambda finding: finding.severity != "violation")
