"""Gradients that are NaN, infinite, or whose norm overflows: they must not get past the clip."""

import math

import numpy as np

from dpaudit._check import FloatArray
from dpaudit.errors import InputError
from dpaudit.evidence import Finding
from dpaudit.forensics.probe import Probe

OVERFLOW = 1e30  # finite in float32; its square is not


def check_nonfinite(probe: Probe, noise: FloatArray) -> list[Finding]:
    """A canary with one bad coordinate, its others huge, in an ordinary batch."""
    findings = []
    scale = max(float(noise.std()), probe.stated.noise(probe.batch_size))
    limit = 2 * probe.stated.sensitivity(probe.batch_size) + scale * (math.sqrt(2 * math.log(2 / probe.level)) + 8)
    for name, bad in (("NaN", math.nan), ("infinite", math.inf), ("overflowing", OVERFLOW)):
        batch = probe.zeros(probe.batch_size)
        batch[0] = 1e3 * probe.stated.clip * probe.direction(None) * math.sqrt(probe.coordinates)
        batch[0, 0] = bad
        fed = f"one gradient with {'an' if name[0] in 'aeiou' else 'a'} {name} coordinate and huge others"
        try:
            with np.errstate(invalid="ignore", over="ignore"):  # what a NaN becomes is the question here
                release = probe.raw(batch)
        except InputError as error:
            findings.append(_warning(fed, str(error)))
            continue
        finite = release[np.isfinite(release)]
        if finite.size and float(np.abs(finite).max()) > limit:
            findings.append(
                Finding(
                    check="non-finite gradient",
                    severity="violation",
                    fed=fed,
                    observed=f"it passed the clip: the release holds values up to {np.abs(finite).max():.3g}",
                    expected=f"nothing beyond {limit:.3g}",
                    remedy="set non-finite coordinates to zero before computing the norm",
                    rung=1,
                    true_epsilon=math.inf,
                )
            )
        elif finite.size < release.size:
            bad_ones = release.size - finite.size
            findings.append(_warning(fed, f"{bad_ones} of {release.size} coordinates of the release are not finite"))
    return _worst(findings)


def _warning(fed: str, observed: str) -> Finding:
    return Finding(
        check="non-finite gradient",
        severity="warning",
        fed=fed,
        observed=observed,
        expected="a finite release",
        remedy="drop such gradients before the clip: the claim holds only while no record can cause one",
        rung=1,
        true_epsilon=math.inf,
    )


def _worst(findings: list[Finding]) -> list[Finding]:
    violations = [finding for finding in findings if finding.severity == "violation"]
    return violations[:1] or findings[:1]
