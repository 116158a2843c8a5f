"""Gradients whose norm float32 cannot hold: NaN, infinite, so large or so small that the square is infinite or zero."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dpaudit.accounting.law import GaussianNoise, Laplace
from dpaudit.bounds.lower_bound import Finding
from dpaudit.inspection.probe import Probe
from dpaudit.inspection.questions import FAR
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError

KIND = "gradients that float32 cannot hold"
TOLERANCE = 5e-3
OVERFLOW = 1e30  # finite in float32; its square is not
TINY = 1e-30  # above zero in float32; its square is not


@dataclass(frozen=True)
class Extreme:
    """One gradient in a batch of zeros; ``ordinary`` when records do cause such ones, so that all must go well."""

    fed: str
    gradient: FloatArray
    ordinary: bool = False


def check_extremes(probe: Probe, noise: FloatArray, spacing: float) -> list[Finding]:
    """They must not get past the clip, and a tiny one must be as good as none.

    Args:
        probe: the mechanism.
        noise: releases of batches of zeros, (calls, coordinates).
        spacing: of releases that are rounded; else 0.
    """
    scale = max(float(noise.std()), probe.stated.first_noise(probe.batch_size))
    reach = (
        probe.stated.law.reach(probe.level)
        if isinstance(probe.stated.law, Laplace)
        else GaussianNoise().reach(probe.level)
    )
    limit = 2 * probe.stated.sensitivity(probe.batch_size) + scale * (reach + 8)
    asked = (extreme for extreme in _extremes(probe) if probe.clock.allows(KIND))
    found = [finding for extreme in asked for finding in _fed(probe, extreme, limit)]
    return [*_worst(found, "non-finite gradient"), *_worst(found, "tiny gradient"), *_beside_nan(probe, spacing)]


def _beside_nan(probe: Probe, spacing: float) -> list[Finding]:
    """What stands in for a gradient that is NaN may not be made from the others. Needs a reset."""
    if probe.mechanism.reset is None or not probe.clock.allows(KIND):
        return []
    batch = probe.zeros(probe.batch_size)
    batch[1] = math.nan
    releases = []
    for factor in (0.0, FAR):
        batch[0] = factor * probe.stated.clip * probe.direction(None)
        try:
            with np.errstate(all="ignore"):
                releases.append(probe.raw(batch, reset=True))
        except InputError:  # it refuses such a batch
            return []
    rounding = probe.stated.length(np.full(probe.coordinates, spacing))
    moved = (probe.stated.length(releases[1] - releases[0]) - rounding) / probe.stated.sensitivity(probe.batch_size)
    if not moved > 1 + TOLERANCE:  # NaN is reported already
        return []
    return [
        Finding(
            check="sensitivity",
            severity="violation",
            fed=f"one gradient of norm {FAR:g} C beside one that is NaN",
            observed=f"it moves the release {moved:.3g} times as far as allowed: the other one takes its part",
            expected="a gradient that is NaN counts as zero, whatever the others are",
            remedy="set non-finite gradients to zero; never put a mean or a median of the others in their place",
            rung=1,
        )
    ]


def _extremes(probe: Probe) -> list[Extreme]:
    spread = probe.direction(None) * math.sqrt(probe.coordinates)
    extremes = [Extreme(f"one gradient of {TINY:g} in every coordinate, whose square is 0", TINY * spread, True)]
    for name, bad in (("NaN", math.nan), ("infinite", math.inf), ("overflowing", OVERFLOW)):
        gradient = 1e3 * probe.stated.clip * spread
        gradient[0] = bad
        article = "an" if name[0] in "aeiou" else "a"
        extremes.append(Extreme(f"one gradient with {article} {name} coordinate and huge others", gradient))
    return extremes


def _fed(probe: Probe, extreme: Extreme, limit: float) -> list[Finding]:
    batch = probe.zeros(probe.batch_size)
    batch[0] = extreme.gradient
    try:
        with np.errstate(all="ignore"):  # what becomes of such a gradient is the question here
            release = probe.raw(batch)
    except InputError as error:
        return [_fails(extreme, str(error))]
    finite = release[np.isfinite(release)]
    if finite.size and float(np.abs(finite).max()) > limit:
        observed = f"it passed the clip: the release holds values up to {np.abs(finite).max():.3g}"
        return [_finding(extreme, "violation", observed, f"nothing beyond {limit:.3g}")]
    if finite.size < release.size:
        bad = release.size - finite.size
        return [_fails(extreme, f"{bad} of {release.size} coordinates of the release are not finite")]
    return []


def _fails(extreme: Extreme, observed: str) -> Finding:
    return _finding(extreme, "violation" if extreme.ordinary else "warning", observed, "a finite release")


def _finding(extreme: Extreme, severity: Literal["violation", "warning"], observed: str, expected: str) -> Finding:
    if extreme.ordinary:
        remedy = "divide by the larger of norm and clip norm, never by the norm alone: a record that is learnt has such"
    elif severity == "violation":
        remedy = "set non-finite coordinates to zero before computing the norm"
    else:
        remedy = "drop such gradients before the clip: the claim holds only while no record can cause one"
    return Finding(
        check="tiny gradient" if extreme.ordinary else "non-finite gradient",
        severity=severity,
        fed=extreme.fed,
        observed=observed,
        expected=expected,
        remedy=remedy,
        rung=1,
        true_epsilon=math.inf,
    )


def _worst(findings: list[Finding], check: str) -> list[Finding]:
    found = [finding for finding in findings if finding.check == check]
    violations = [finding for finding in found if finding.severity == "violation"]
    return violations[:1] or found[:1]
