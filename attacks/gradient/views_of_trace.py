"""What gradient attacks see of a federation that was written down as a trace (`dpaudit.trace`). numpy only."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dpaudit.attacks.gradient.view import ClientUpdate, NoisyReleases
from dpaudit.runtime.errors import InputError
from dpaudit.trace.reader import Round
from dpaudit.trace.reader import Trace as Recorded


def releases_view(trace: Recorded, *, known: Sequence[str] = ()) -> NoisyReleases:
    """The noisy sums of a DP-FedAvg run as `dpaudit.attacks.gradient.candidate_attack` reads them.

    The manifest must say clip, noise multiplier and what the sum was divided by; the server must be plain FedAvg.

    Args:
        trace: of the run, with every round.
        known: clients whose updates the attacker knows because the trace shows them; what they contributed is taken out
            of every sum.

    Raises:
        InputError: rounds are missing, the manifest does not say enough, the noise is not on the sum, clients are
            weighted, the clip moves, or a known client's updates are not in the trace.
    """
    claim = trace.whole().manifest.dp_claim
    if claim is None or claim.clip is None or claim.noise_multiplier is None:
        raise InputError("the candidate attack needs the clip and the noise multiplier; the trace claims none.")
    if claim.noise != "central" or claim.weighting == "num-examples":
        raise InputError(
            "the candidate attack reads sums of equally weighted updates with the server's noise; the trace has "
            f"{claim.noise} noise and weights by {claim.weighting or 'no stated rule'}."
        )
    if claim.sampler not in ("poisson", "all") or claim.rate is None:
        raise InputError(f"the candidate attack needs clients drawn by coins, or all; the trace says {claim.sampler}.")
    moving = {one.clip for one in trace.rounds if one.clip is not None} - {claim.clip}
    if moving:
        raise InputError(f"the candidate attack needs one clip; the trace has {claim.clip:g} and {min(moving):g}.")
    sums = np.stack([_sum(trace, one, known) for one in trace.rounds])
    return NoisyReleases(trace.weights, sums, claim.clip, claim.noise_multiplier, claim.rate)


def client_update(trace: Recorded, number: int, client: str, **knowledge: Any) -> ClientUpdate:
    """One client's update in one round, as inversion attacks read it.

    Args:
        trace: a trace that shows updates.
        number: of the round.
        client: its name in the trace.
        knowledge: what else the attacker knows (``learning_rate``, ``epochs``, ``records`` ...), as in `ClientUpdate`.

    Raises:
        InputError: there is no such round, or the client's update is not in it.
    """
    found = [one for one in trace.rounds if one.number == number]
    if not found:
        raise InputError(f"the trace has no round {number}; it has {[one.number for one in trace.rounds][:10]}.")
    kept = [i for i, trained in enumerate(trace.manifest.trainable) if trained]
    update = _update(found[0], client)
    return ClientUpdate(
        tuple(np.asarray(found[0].before[i], np.float64) for i in kept),
        tuple(np.asarray(update[i], np.float64) for i in kept),
        **knowledge,
    )


def _sum(trace: Recorded, one: Round, known: Sequence[str]) -> Any:
    claim = trace.manifest.dp_claim
    assert claim is not None
    assert claim.clip is not None
    divisor = one.replies if claim.denominator == "replies" else claim.clients
    if divisor is None:
        raise InputError(f"round {one.number} of the trace does not say how many clients answered.")
    total = (trace.flat(one.after) - trace.flat(one.before)) * divisor
    for client in known:
        if one.updates is not None and client not in one.updates:
            continue  # it was not asked in this round
        update = trace.flat(_update(one, client))
        total -= update * min(1.0, claim.clip / max(float(np.linalg.norm(update)), 1e-30))
    return total


def _update(one: Round, client: str) -> tuple[Any, ...]:
    if one.updates is None or client not in one.updates:
        there = ", ".join(sorted(one.updates)[:5]) if one.updates else "none"
        raise InputError(f"round {one.number} of the trace shows no update of client {client!r}; it shows {there}.")
    return one.updates[client]
