"""Noise and sensitivity against what is stated: the two numbers everything else rests on.

A release whose noise and sensitivity are wrong by the same factor is private as stated (only its learning rate is
off) and gives a warning; what counts is their ratio.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from dpaudit.accounting.composed import EpsilonOf
from dpaudit.bounds.lower_bound import Finding
from dpaudit.inspection.probe import Probe
from dpaudit.inspection.samples import (
    EstimateInterval,
    Move,
    measure_moves,
    noise_along,
    noise_calls,
    noise_samples,
    noise_scale,
)
from dpaudit.runtime.check import FloatArray

# Smallest relative deviation worth a word: float32 sums of a batch agree to about 1e-5.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Scale:
    """What was measured at one batch size."""

    batch_size: int
    noise: FloatArray
    busy_noise: FloatArray
    moves: tuple[Move, ...]


def measure_scale(probe: Probe, batch_size: int) -> Scale:
    """Noise on a batch of zeros and on an ordinary one, and the moves of the canary portfolio."""
    calls = noise_calls(probe)
    ordinary = np.stack([0.3 * probe.stated.clip * probe.direction(i % len(probe.slices)) for i in range(batch_size)])
    return Scale(
        batch_size,
        probe.releases(probe.zeros(batch_size), calls),
        noise_samples(probe, ordinary, calls),
        tuple(measure_moves(probe, batch_size, level=probe.level / 4)),
    )


def check_scale(probe: Probe, scale: Scale, epsilon_of: EpsilonOf) -> list[Finding]:
    """Too little noise for the sensitivity there is, per variable; then a scale that is merely not the stated one."""
    tests = 4 * (len(probe.slices) + 1)
    level = probe.level / 4 / tests
    worst: dict[tuple[str, str], tuple[float, Finding]] = {}
    for place in [*range(len(probe.slices)), None]:
        quiet = _relative(probe, scale.noise, place, scale.batch_size, level)
        busy = _relative(probe, scale.busy_noise, place, scale.batch_size, level)
        noise = min(quiet, busy, key=lambda interval: interval.high)
        move = _worst_move(scale, place)
        sigma, findings = _judge(probe, place, noise, quiet, busy, move)
        for finding in findings:  # the same fault shows in several variables
            key = (finding.check, finding.severity)
            if key not in worst or sigma < worst[key][0]:
                worst[key] = (sigma, finding)
    return [
        replace(finding, true_epsilon=epsilon_of(sigma)) if finding.severity == "violation" else finding
        for sigma, finding in worst.values()
    ]


def effective_noise_multiplier(probe: Probe, scale: Scale) -> float:
    """Measured noise over measured sensitivity, the worst over variables; infinite when nothing moves the release."""
    ratios = []
    for place in [*range(len(probe.slices)), None]:
        noise = min(
            _relative(probe, samples, place, scale.batch_size, probe.level).estimate
            for samples in (scale.noise, scale.busy_noise)
        )
        move = _worst_move(scale, place).size.estimate
        ratios.append(noise / move if move > 0 else math.inf)
    return min(ratios) * probe.stated.noise_multiplier


def _worst_move(scale: Scale, place: int | None) -> Move:
    return max((move for move in scale.moves if move.variable == place), key=lambda move: move.size.low)


def _relative(probe: Probe, noise: FloatArray, place: int | None, batch_size: int, level: float) -> EstimateInterval:
    stated = probe.stated.noise(batch_size)
    if stated == 0:
        return EstimateInterval(1.0, 1.0, 1.0)
    found = noise_scale(noise_along(probe, noise, place), level=level)
    return EstimateInterval(found.low / stated, found.estimate / stated, found.high / stated)


def _judge(
    probe: Probe,
    place: int | None,
    noise: EstimateInterval,
    quiet: EstimateInterval,
    busy: EstimateInterval,
    move: Move,
) -> tuple[float, list[Finding]]:
    where = "over all variables" if place is None else f"in variable {place}"
    sigma = probe.stated.noise_multiplier
    ratio = noise.high / move.size.low if move.size.low > 0 else math.inf
    if ratio < 1 - TOLERANCE:
        best = noise.estimate / move.size.estimate
        truth = f"noise multiplier {best * sigma:.3g} instead of {sigma:g}"
        findings = []
        if noise.high < 1 - TOLERANCE:
            only_busy = "" if quiet.high < 1 - TOLERANCE else " when the batch holds gradients"
            only_quiet = "" if busy.high < 1 - TOLERANCE else " when there is nothing to protect"
            findings.append(
                Finding(
                    check="noise",
                    severity="violation",
                    fed=f"one batch of {move.batch_size} gradients, again and again",
                    observed=f"{noise.estimate:.3g} times the stated noise {where}{only_busy}{only_quiet}: {truth}",
                    expected=f"standard deviation {probe.stated.noise(move.batch_size):.4g} in every coordinate",
                    remedy="add noise of noise_multiplier x clip / denominator to every variable, at every step",
                    rung=1,
                )
            )
        if move.size.low > 1 + TOLERANCE or not findings:
            findings.append(
                Finding(
                    check="sensitivity",
                    severity="violation",
                    fed=move.canary,
                    observed=f"one example moves the release {move.size.estimate:.4g} times as far as allowed: {truth}",
                    expected=f"at most {probe.stated.sensitivity(move.batch_size):.4g} in L2 norm",
                    remedy="clip each example's gradient, over all variables together, before summing",
                    rung=1,
                )
            )
        return best * sigma, findings
    if noise.low > 1 + TOLERANCE or noise.high < 1 - TOLERANCE:
        # Alike when what moves is nearer to the noise than to what is stated.
        nearer = move.size.estimate**2 > noise.estimate if noise.estimate > 1 else True
        why = "both are scaled alike" if nearer else "there is more noise than stated"
        return math.inf, [
            Finding(
                check="scale",
                severity="warning",
                fed=f"batches of {move.batch_size} gradients",
                observed=f"{noise.estimate:.3g} times the stated noise {where}, {move.size.estimate:.3g} times the "
                f"stated sensitivity: {why}, and privacy does not suffer",
                expected="noise and sensitivity as stated",
                remedy="state the denominator that is used; noise beyond the stated only costs accuracy",
                rung=1,
            )
        ]
    return math.inf, []
