"""Is what is clipped one example, or the mean of several? Only for the words of a finding that is there already."""

from dataclasses import replace

import numpy as np

from dpaudit.evidence import Finding
from dpaudit.forensics.probe import Probe

CALLS = 12


def name_microbatches(probe: Probe, findings: list[Finding]) -> list[Finding]:
    """The same findings, with microbatches named where means of several examples are what is clipped."""
    if not any(finding.check == "sensitivity" and finding.severity == "violation" for finding in findings):
        return findings
    together = clipped_together(probe)
    if together is None:
        return findings
    remedy = (
        f"means of {together} examples (microbatches) are clipped as one, and one example turns such a mean around: clip "
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
    zeros = probe.releases(probe.zeros(size), CALLS).mean(axis=0)
    one, all_of_them = probe.zeros(size), np.tile(1e4 * probe.stated.clip * unit, (size, 1))
    one[0] = 1e4 * size * probe.stated.clip * unit  # beyond the clip, in a mean of all too
    shares = [float((probe.releases(batch, CALLS).mean(axis=0) - zeros) @ unit) for batch in (one, all_of_them)]
    if shares[0] <= 0:
        return None
    groups = round(shares[1] / shares[0])
    return size // groups if 0 < groups < 0.8 * size and size % groups == 0 else None
