"""Is what is clipped one example, or the mean of several? Only for the words of a finding that is there already."""

import math
from dataclasses import replace

from dpaudit.bounds.lower_bound import Finding
from dpaudit.inspection.probe import Probe

CALLS = 48


def name_microbatches(probe: Probe, findings: list[Finding]) -> list[Finding]:
    """The same findings, with microbatches named where means of several examples are what is clipped."""
    if not any(finding.check == "sensitivity" and finding.severity == "violation" for finding in findings):
        return findings
    together = clipped_together(probe)
    if together is None:
        return findings
    remedy = (
        f"means of {together} examples (microbatches) are clipped as one, and one example turns a mean around: clip "
        "example by example (num_microbatches=None, or as many as examples), or account for half the noise multiplier"
    )
    return [
        replace(finding, remedy=remedy)
        if (finding.check, finding.severity) == ("sensitivity", "violation")
        else finding
        for finding in findings
    ]


def clipped_together(probe: Probe) -> int | None:
    """How many neighbours in the batch share one clip; None where each has its own, or nothing is clipped alike."""
    size, unit = probe.batch_size, probe.direction(None)
    one, all_of_them = probe.zeros(size), probe.alike(size, 1e4 * probe.stated.clip, unit)
    one[0] = 1e4 * size * probe.stated.clip * unit  # beyond the clip, in a mean of all too
    if probe.mechanism.reset is not None:
        zeros, *rest = (probe.release(batch, reset=True) for batch in (probe.zeros(size), one, all_of_them))
    else:
        zeros, *rest = (
            probe.releases(batch, CALLS, least=2).mean(axis=0) for batch in (probe.zeros(size), one, all_of_them)
        )
    alone, together = (float((release - zeros) @ unit) for release in rest)
    unclipped = alone * probe.stated.divisor(size) > 2 * size * probe.stated.clip
    if alone <= 0 or together <= 0 or unclipped:
        return None
    groups = [count for count in range(1, size) if size % count == 0]
    nearest = min(groups, key=lambda count: abs(math.log(together / alone / count)))
    return size // nearest if abs(math.log(together / alone / nearest)) < 0.4 else None
