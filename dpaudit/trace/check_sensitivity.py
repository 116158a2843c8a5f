"""How far one client can move the model, against what the noise is made for."""

import numpy as np

from dpaudit.accounting.claim import too_small
from dpaudit.bounds.lower_bound import Finding
from dpaudit.trace.accountant import scale_noise, true_epsilon
from dpaudit.trace.manifest import DpClaim
from dpaudit.trace.reader import Round, Trace


def check_recorded_weights(trace: Trace, claim: DpClaim) -> list[Finding]:
    """Weights by number of examples move the model further than the noise is made for."""
    worst = max((_heaviest(one, claim) for one in trace.rounds), default=1.0)
    shown = [one.weights for one in trace.rounds if one.weights is not None and one.weights.size]
    spread = any(np.ptp(weights) > 1e-9 * weights.max() for weights in shown)
    if not spread and claim.weighting != "num-examples":
        return []
    if too_small(1.0, worst):
        return [
            Finding(
                "client weights",
                "violation",
                "the weights of each round",
                f"the heaviest client moves the average {times(worst)} as far as an equal share",
                "every clipped update counts once",
                "average with equal weights, or scale the noise to the largest weight",
                true_epsilon=true_epsilon(trace, claim, scale_noise(claim, 1 / worst)),
                rung=0,
            )
        ]
    if spread:
        seen = f"updates are weighted; the heaviest moved the average {times(worst)} as far as an equal share"
        remedy = "average with equal weights, or state the largest weight there can be and scale the noise to it"
    else:
        seen = "updates are weighted by numbers of examples, and the trace does not show them"
        remedy = "write the weights of each round"
    expected = "equal weights, or noise scaled to the largest"
    return [Finding("client weights", "warning", "the weights of the updates", seen, expected, remedy, rung=0)]


def times(factor: float) -> str:
    """A factor in words that never reads as 1 where it is not.

    >>> times(3.876), times(1.0017)
    ('3.88 times', '1.0017 times')
    """
    return f"{factor:.3g} times" if not 0.95 < factor < 1.05 else f"{factor:.5g} times"


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
    if not too_small(fewest, claim.clients):
        return []
    factor = claim.clients / max(fewest, 1)
    return [
        Finding(
            "drop-outs",
            "violation",
            f"the answers of {len(replies)} rounds",
            f"{fewest} clients answered where {claim.clients:g} were planned, and the average is over those who did: "
            f"one client counts {times(factor)} as much as the noise is made for",
            "a fixed divisor, or noise made for the clients that answered",
            "divide the noisy sum by the expected number of clients",
            true_epsilon=true_epsilon(trace, claim, scale_noise(claim, 1 / factor)),
            rung=0,
        )
    ]


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
