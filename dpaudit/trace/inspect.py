"""A trace held against its own claim, before any attack: what does not fit is found for certain or nearly so."""

from dataclasses import dataclass
from pathlib import Path

from dpaudit.bounds.lower_bound import Finding, Unchecked
from dpaudit.trace.accountant import check_epsilon, check_formula, check_rounds
from dpaudit.trace.check_course import check_buffers, check_clip, check_completeness, check_metrics
from dpaudit.trace.check_noise import check_noise
from dpaudit.trace.check_participation import check_participation
from dpaudit.trace.check_sensitivity import check_denominator, check_recorded_weights, check_sensitivity
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


@dataclass(frozen=True)
class TraceInspection:
    """What a trace shows without an attack.

    Args:
        findings: what contradicts its own claim, violations first.
        not_checked: what was not looked at, and why.
    """

    findings: tuple[Finding, ...]
    not_checked: tuple[Unchecked, ...]


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
    return list(inspect_all(trace).findings)


def inspect_all(trace: Trace) -> TraceInspection:
    """What in a trace contradicts its own claim, and what could not be checked."""
    found: list[Finding | Unchecked] = [*check_completeness(trace)]
    claim = trace.manifest.dp_claim
    if claim is None:
        found.append(
            Finding(
                "no claim", "warning", "the manifest", "it claims no privacy", "a dp_claim", "state one to check it", 0
            )
        )
        found.append(Unchecked("noise, clipping, sampling and ε", "the manifest claims no privacy"))
    else:
        for look in CHECKS:
            found += look(trace, claim)
    found += check_buffers(trace) + check_metrics(trace)
    findings = [each for each in found if isinstance(each, Finding)]
    return TraceInspection(
        tuple(sorted(findings, key=lambda finding: finding.severity != "violation")),
        tuple(each for each in found if isinstance(each, Unchecked)),
    )
