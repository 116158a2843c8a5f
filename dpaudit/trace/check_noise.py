"""How much noise there is in what a federation released."""

import math
from dataclasses import replace

import numpy as np

from dpaudit.bounds.lower_bound import Finding, Unchecked
from dpaudit.trace.accountant import LEVEL, true_epsilon
from dpaudit.trace.averages import noisy_averages, unit
from dpaudit.trace.manifest import DpClaim
from dpaudit.trace.reader import Trace

CHECK = "realised noise"


def check_noise(trace: Trace, claim: DpClaim) -> list[Finding | Unchecked]:
    """Every noisy average holds the noise, so it cannot be shorter than the noise alone would be."""
    from scipy import stats

    if claim.noise_multiplier is None:
        return [Unchecked(CHECK, "the claim states no noise multiplier")]
    if claim.noise_multiplier == 0:
        return []
    averages = noisy_averages(trace, claim)
    found: list[Finding | Unchecked] = []
    if averages.missing:
        found.append(Unchecked(CHECK if not averages.rounds else f"{CHECK} of every round", averages.missing))
    if averages.taken:
        found.append(Unchecked("the server's step", f"the manifest does not state it; {averages.taken}"))
    if not averages.rounds:
        return found
    realised = [
        float(np.linalg.norm(left)) / (unit(one, claim) * math.sqrt(left.size))
        for one, left in zip(averages.rounds, averages.left, strict=True)
    ]
    size = averages.left[0].size
    lowest = math.sqrt(stats.chi2.ppf(LEVEL / (6 * len(realised)), size) / size)
    # All rounds together hold noise too, of which a smaller lack shows; each has half of the check's level.
    together = math.sqrt(float(np.mean(np.square(realised))))
    least = math.sqrt(stats.chi2.ppf(LEVEL / 6, size * len(realised)) / (size * len(realised)))
    worst = int(np.argmin(realised))
    if realised[worst] < lowest * claim.noise_multiplier:
        where, seen = f"the release of round {averages.rounds[worst].number}", realised[worst]
    elif together < least * claim.noise_multiplier:
        where, seen = f"the releases of {len(realised)} rounds together", together
    else:
        return found
    server = averages.taken or (f"server: {trace.manifest.server.in_words}" if trace.manifest.server else "")
    found.append(
        Finding(
            CHECK,
            "violation",
            f"{where} ({server})" if server else where,
            f"what the clients do not explain is as small as noise of multiplier {seen:.3g}",
            f"noise of multiplier {claim.noise_multiplier:g} on every coordinate",
            "scale the noise to clip over divisor, and add it to every array",
            true_epsilon=true_epsilon(trace, claim, replace(claim, noise_multiplier=seen)),
            rung=0,
        )
    )
    return found
