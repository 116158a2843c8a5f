"""How far one client can move the model, against the noise that is there."""

import math
from dataclasses import replace

import numpy as np

from dpaudit.bounds.lower_bound import Finding
from dpaudit.runtime.check import FloatArray
from dpaudit.trace.accountant import LEVEL, scale_noise, true_epsilon
from dpaudit.trace.manifest import DpClaim
from dpaudit.trace.reader import Round, Trace


def check_recorded_weights(trace: Trace, claim: DpClaim) -> list[Finding]:
    """Weights by number of examples move the model further than the noise is made for."""
    worst = max((_heaviest(one, claim) for one in trace.rounds), default=1.0)
    shown = [one.weights for one in trace.rounds if one.weights is not None and one.weights.size]
    spread = any(np.ptp(weights) > 1e-9 * weights.max() for weights in shown)
    if not spread and claim.weighting != "num-examples":
        return []
    if not spread:
        return [
            Finding(
                "client weights",
                "warning",
                "the claim",
                "updates are weighted by numbers of examples, and the trace does not show them",
                "equal weights, or noise scaled to the largest",
                "write the weights of each round",
                rung=0,
            )
        ]
    return [
        Finding(
            "client weights",
            "violation",
            "the weights of each round",
            f"the heaviest client moves the average {worst:.3g} times as far as an equal share",
            "every clipped update counts once",
            "average with equal weights, or scale the noise to the largest weight",
            true_epsilon=true_epsilon(trace, claim, scale_noise(claim, 1 / max(1.0, worst))),
            rung=0,
        )
    ]


def _heaviest(one: Round, claim: DpClaim) -> float:
    """How far one client moves the average, relative to an equal share of the divisor the noise is made for."""
    if one.weights is None or not one.weights.size:
        return 1.0
    divisor = one.weights.size if claim.denominator == "replies" or claim.clients is None else claim.clients
    return float(one.weights.max() / one.weights.sum() * divisor)


def check_denominator(trace: Trace, claim: DpClaim) -> list[Finding]:
    """Dividing by those who answered, while the noise was made for those expected."""
    replies = [one.replies for one in trace.rounds if one.replies is not None]
    if claim.denominator != "replies" or claim.clients is None or not replies:
        return []
    fewest = min(replies)
    if fewest >= claim.clients:
        return []
    factor = claim.clients / max(fewest, 1)
    return [
        Finding(
            "drop-outs",
            "violation",
            f"the answers of {len(replies)} rounds",
            f"{fewest} clients answered where {claim.clients:g} were planned, and the average is over those who did: "
            f"one client counts {factor:.3g} times as much as the noise is made for",
            "a fixed divisor, or noise made for the clients that answered",
            "divide the noisy sum by the expected number of clients",
            true_epsilon=true_epsilon(trace, claim, scale_noise(claim, 1 / factor)),
            rung=0,
        )
    ]


def check_noise(trace: Trace, claim: DpClaim) -> list[Finding]:
    """Every release holds the noise, so it cannot be shorter than the noise alone would be."""
    from scipy import stats

    if not claim.noise_multiplier or (claim.clip is None and not any(one.clip for one in trace.rounds)):
        return []
    worst, where = math.inf, 0
    for one in trace.rounds:
        clip = one.clip if one.clip is not None else claim.clip
        clients = one.replies if claim.denominator == "replies" or claim.clients is None else claim.clients
        if clip is None or not clients:
            continue
        release = trace.flat(one.after) - trace.flat(one.before)
        count = math.sqrt(one.replies or clients) if claim.noise == "local" else 1.0
        deviation = claim.noise_multiplier * clip * count / clients
        left = _residual(trace, one, release, clip, clients)
        floor = deviation * math.sqrt(stats.chi2.ppf(LEVEL / (3 * len(trace.rounds)), release.size))
        ratio = float(np.linalg.norm(left)) / floor if floor > 0 else math.inf
        if ratio < worst:
            worst, where = ratio, one.number
            realised = float(np.linalg.norm(left)) / (deviation * math.sqrt(release.size)) * claim.noise_multiplier
    if worst >= 1:
        return []
    return [
        Finding(
            "realised noise",
            "violation",
            f"the release of round {where}",
            f"what the clients do not explain is as small as noise of multiplier {realised:.3g}",
            f"noise of multiplier {claim.noise_multiplier:g} on every coordinate",
            "scale the noise to clip over divisor, and add it to every array",
            true_epsilon=true_epsilon(trace, claim, replace(claim, noise_multiplier=realised)),
            rung=0,
        )
    ]


def _residual(trace: Trace, one: Round, release: FloatArray, clip: float, clients: float) -> FloatArray:
    """The release without its clients, where their updates are in the trace; otherwise the release."""
    if not one.updates:
        return release
    total = np.zeros_like(release)
    for own in one.updates.values():
        update = trace.flat(own)
        total += update * min(1.0, clip / max(float(np.linalg.norm(update)), 1e-30))
    return release - total / clients


def check_sensitivity(trace: Trace, claim: DpClaim) -> list[Finding]:
    """Noise scaled to less than what updates are clipped to."""
    if claim.sensitivity is None or claim.clip is None or claim.sensitivity >= claim.clip * (1 - 1e-9):
        return []
    share = claim.sensitivity / claim.clip
    return [
        Finding(
            "sensitivity below the clip",
            "violation",
            "the claim",
            f"the noise is scaled to a sensitivity of {claim.sensitivity:g}, updates are clipped to {claim.clip:g}",
            f"a sensitivity of at least {claim.clip:g}",
            "scale the noise to the clip norm",
            true_epsilon=true_epsilon(trace, claim, scale_noise(claim, share)),
            rung=0,
        )
    ]
