"""Steps that are not like the others: now and then without noise, or after a gradient that is not finite."""

import math
from collections.abc import Iterable

import numpy as np
from scipy import special

from dpaudit.bounds.lower_bound import Finding
from dpaudit.inspection.check_extremes import OVERFLOW
from dpaudit.inspection.mechanism import Array
from dpaudit.inspection.noise import NoiseRun
from dpaudit.inspection.probe import Probe
from dpaudit.inspection.sight import POWER, Sight, least_ratio
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError

AFTERWARDS = 4
EXCITED = "steps after a gradient that is not finite"
TYPICAL = 0.9  # quantile that shows the noise of steps that have it, where one in ten has
KNOWN = 30  # calls from which that quantile is known
ROOM = 1.2  # by which it may be wrong


def rare_steps(probe: Probe, noise: NoiseRun) -> BoolArray:
    """Calls with too little noise in some variable, by the exact lower tail of each; none where nearly all are so."""
    typical = np.ones((len(noise.kinds), len(noise.sizes)))
    for index in range(len(noise.kinds)):
        squares = noise.squares[noise.kind == index]
        if len(squares) >= KNOWN:
            typical[index] = np.quantile(squares, TYPICAL, axis=0) / (2 * special.gammaincinv(noise.sizes / 2, TYPICAL))
        else:
            typical[index] = 0.0
    scale = typical[noise.kind]
    squares = np.divide(noise.squares, scale, out=np.tile(1.0 * noise.sizes, (noise.calls, 1)), where=scale > 0)
    found: BoolArray = np.any(special.chdtr(noise.sizes, ROOM * squares) * squares.size < probe.level, axis=1)
    return found


def check_rare(noise: NoiseRun, found: BoolArray) -> list[Finding]:
    """A finding for the calls that `rare_steps` found."""
    if not found.any():
        return []
    steps = np.flatnonzero(found)
    squares = (noise.squares[found] / np.maximum(noise.relative[found] ** 2, 1e-300) / noise.sizes).min()
    gaps = np.unique(np.diff(steps))
    every = f", one in {gaps[0]}" if len(gaps) == 1 and gaps[0] > 1 else ""
    return [
        Finding(
            check="rare steps",
            severity="violation",
            fed=f"{noise.calls:,} steps on batches of several sizes and magnitudes",
            observed=f"{len(steps)} of them with little or no noise (the first is call {steps[0] + 1}{every}; "
            f"{math.sqrt(squares):.2g} times the noise of the others)",
            expected="the same noise at every step",
            remedy="add noise at every step, whatever the counter, the size of the batch or the gradients",
            rung=1,
            true_epsilon=math.inf if squares < 1e-6 else None,
        )
    ]


def sights_of_rare(probe: Probe, noise: NoiseRun) -> list[Sight]:
    """How rare such a step may be, and how much noise it may keep."""
    often = noise.calls / -math.log(1 - POWER)
    ratio = least_ratio(probe.level / noise.squares.size, float(noise.sizes.max())) / math.sqrt(ROOM)
    return [
        Sight(
            "rare steps",
            f"one step in {often:,.0f} with {ratio:.2g} times the noise or less; rarer ones cannot be seen by "
            f"{noise.calls:,} calls",
        )
    ]


def check_excited(probe: Probe, noise: NoiseRun) -> list[Finding]:
    """A step on a gradient that is not finite, and the ones after it, must be as noisy as any other."""
    if noise.missing:
        return []
    scale = noise.level[0]
    zeros, level = probe.zeros(probe.batch_size), probe.level / (3 * (AFTERWARDS + 1) * len(scale))
    for name, bad in (("NaN", math.nan), ("an infinite one", math.inf), (f"one of {OVERFLOW:g}", OVERFLOW)):
        if not probe.clock.allows(EXCITED):
            return []
        batch = probe.zeros(probe.batch_size)
        batch[0] = bad
        for place, release in _releases(probe, batch, zeros):
            if not np.isfinite(release).all():
                continue  # `check_extremes` says so
            squares = (
                np.array([np.square(probe.scores(release, probe.batch_size)[part]).sum() for part in probe.slices])
                / scale**2
            )
            if float(np.min(special.chdtr(noise.sizes, squares))) >= level:
                continue
            worst = math.sqrt(float((squares / noise.sizes).min()))
            which = "the step itself" if place == 0 else f"step {place} after it"
            return [
                Finding(
                    check="skipped step",
                    severity="violation",
                    fed=f"a batch with a gradient of {name}, then ordinary ones",
                    observed=f"{which} has {worst:.2g} times the noise of the others, which shows that it was there",
                    expected="the same noise at every step",
                    remedy="drop the gradient and release the step with its noise; a gradient scaler may skip nothing",
                    rung=1,
                    true_epsilon=math.inf if worst < 1e-3 else None,
                )
            ]
    return []


def _releases(probe: Probe, batch: Array, zeros: Array) -> Iterable[tuple[int, FloatArray]]:
    """Releases of a batch and of the ones after it; not those that are refused, which `check_extremes` reports."""
    asked = probe.anew() if probe.mechanism.fresh is not None else probe
    found = []
    with np.errstate(all="ignore"):  # what becomes of such a gradient is the question here
        for place, each in enumerate([batch, *[zeros] * AFTERWARDS]):
            try:
                found.append((place, asked.raw(each)))
            except InputError:
                continue
    return found
