"""The noisy average of each round: as it was written, or the model's change with the server's step undone."""

import math
from dataclasses import dataclass

import numpy as np

from dpaudit.runtime.check import FloatArray
from dpaudit.trace.manifest import DpClaim
from dpaudit.trace.reader import Round, Trace

DEVIATIONS = 6.0  # of the rate found by least squares: a chance of 2e-9
# Of the claimed noise: a round with noise leaves more, whatever the rate, and under momentum up to 0.999 too.
NONE = 0.02
MANY = 100  # parameters, beyond which that holds
UNCERTAIN = 0.5  # width of its interval, relative to the rate, beyond which it is not taken


@dataclass(frozen=True)
class Averages:
    """Noisy averages, and how they were come by.

    Args:
        rounds: those whose average is known.
        left: of each, what the clients that are shown do not explain, shape (parameters,).
        taken: what was taken for the server's step, where the manifest does not state it; empty otherwise.
        missing: why the averages of other rounds, or of all, are not known; empty when all are.
    """

    rounds: tuple[Round, ...] = ()
    left: tuple[FloatArray, ...] = ()
    taken: str = ""
    missing: str = ""


def noisy_averages(trace: Trace, claim: DpClaim) -> Averages:
    """The noise of each round, with what of the clients' updates is not known."""
    rounds = [one for one in trace.rounds if _clip(one, claim) is not None and _divisor(one, claim)]
    if not rounds:
        return Averages(missing="neither the clip nor the number of clients is known")
    if any(one.average is not None for one in rounds):
        shown = [(one, trace.flat(one.average)) for one in rounds if one.average is not None]
        few = len(shown) < len(rounds)
        return _without_clients(trace, claim, shown, "some rounds do not show the noisy average" if few else "")
    server = trace.manifest.server
    if server is None:
        return _by_least_squares(trace, claim, rounds)
    releases = {one.number: _release(trace, one) for one in trace.rounds}
    match server.optimizer:
        case "sgd":
            undone = [(one, releases[one.number] / server.learning_rate) for one in rounds]
        case "momentum":
            nothing = np.zeros_like(next(iter(releases.values())))
            before = {one.number: releases.get(one.number - 1, nothing if one.number == 0 else None) for one in rounds}
            undone = [
                (one, (releases[one.number] - server.momentum * last) / server.learning_rate)
                for one in rounds
                if (last := before[one.number]) is not None
            ]
        case _:
            return Averages(
                missing=f"the server's step ({server.optimizer}) cannot be undone from the models, as several averages "
                "lead to the same step; write the noisy average of each round (TraceWriter.round(average=...))"
            )
    reason = "rounds after a missing one follow from what is not there" if len(undone) < len(rounds) else ""
    return _without_clients(trace, claim, undone, reason)


def unit(one: Round, claim: DpClaim) -> float:
    """Standard deviation that noise of multiplier 1 has in the average of a round."""
    clip, clients = _clip(one, claim), _divisor(one, claim)
    assert clip is not None
    assert clients is not None
    count = math.sqrt(one.replies or clients) if claim.noise == "local" else 1.0
    return clip * count / clients


def _release(trace: Trace, one: Round) -> FloatArray:
    return trace.flat(one.after) - trace.flat(one.before)


def _without_clients(trace: Trace, claim: DpClaim, shown: list[tuple[Round, FloatArray]], missing: str) -> Averages:
    left = tuple(average - (_clients(trace, one, claim) if one.updates else 0.0) for one, average in shown)
    return Averages(tuple(one for one, _ in shown), left, missing=missing)


def _clients(trace: Trace, one: Round, claim: DpClaim) -> FloatArray:
    """The average of the updates that a round shows, clipped as the claim says."""
    clip, clients = _clip(one, claim), _divisor(one, claim)
    assert clip is not None
    assert clients is not None
    updates = [trace.flat(own) for own in (one.updates or {}).values()]
    weights = np.full(len(updates), 1 / clients)
    if one.weights is not None and one.weights.size == len(updates) and np.ptp(one.weights):
        weights = one.weights / one.weights.sum()
    total = np.zeros(trace.flat(one.before).size)
    for weight, update in zip(weights, updates, strict=True):
        total += weight * update * min(1.0, clip / max(float(np.linalg.norm(update)), 1e-30))
    return total


def _by_least_squares(trace: Trace, claim: DpClaim, rounds: list[Round]) -> Averages:
    """A constant rate from the clients' updates and the model's change; none where the step is not that simple."""
    pairs = [(one, _clients(trace, one, claim), _release(trace, one)) for one in rounds if one.updates]
    if not pairs:
        smallest = min(float(np.linalg.norm(_release(trace, one))) / unit(one, claim) for one in rounds)
        size = trace.flat(rounds[0].before).size
        return Averages(
            missing="the manifest does not state the server's step, and no round shows the clients' updates; were the "
            f"average added as it is, the smallest release would be as noise of multiplier {smallest / size**0.5:.3g}"
        )
    scales = [1 / unit(one, claim) for one, _, _ in pairs]
    x = np.stack([scale * clients for scale, (_, clients, _) in zip(scales, pairs, strict=True)])
    y = np.stack([scale * release for scale, (_, _, release) in zip(scales, pairs, strict=True)])
    if bare := _bare(x, y, pairs, claim):
        return bare
    signal = float((x * x).sum())
    rate = float((x * y).sum()) / signal if signal > 0 else 0.0
    residual = y - rate * x
    deviation = math.sqrt(float((residual**2).sum()) / residual.size / signal) if signal > 0 else math.inf
    low, high = rate - DEVIATIONS * deviation, rate + DEVIATIONS * deviation
    if low <= 0 or high - low > UNCERTAIN * rate:
        return Averages(missing="the manifest does not state the server's step, and the noise hides it in the updates")
    if _remembers(residual, [one.number for one, _, _ in pairs], y):
        return Averages(
            missing="the manifest does not state the server's step, and it is no constant rate: the models' changes "
            "depend on earlier rounds or differ in size, as with momentum or a schedule"
        )
    # Whichever rate in the interval leaves more noise: the norm is largest at one of its ends.
    left = [
        max((release / end - clients for end in (low, high)), key=lambda each: float(np.linalg.norm(each)))
        for _, clients, release in pairs
    ]
    taken = f"a constant rate of {rate:.3g} ({low:.3g} to {high:.3g}) fits the updates and the models' changes"
    return Averages(tuple(one for one, _, _ in pairs), tuple(left), taken=taken)


def _bare(
    x: FloatArray, y: FloatArray, pairs: list[tuple[Round, FloatArray, FloatArray]], claim: DpClaim
) -> Averages | None:
    """The round whose change is a multiple of its own clients, and next to nothing else; None where there is none."""
    signal, along = (x * x).sum(axis=1), (x * y).sum(axis=1)
    if x.shape[1] < MANY or not (fits := np.flatnonzero((signal > 0) & (along > 0))).size:
        return None
    rates = along[fits] / signal[fits]
    left = np.linalg.norm(y[fits] / rates[:, None] - x[fits], axis=1) / math.sqrt(x.shape[1])
    if left.min() > NONE * (claim.noise_multiplier or 0.0):
        return None
    one, clients, release = pairs[fits[left.argmin()]]
    rate = float(rates[left.argmin()])
    return Averages((one,), (release / rate - clients,), f"a rate of {rate:.3g} in that round fits its updates", "")


def _remembers(residual: FloatArray, numbers: list[int], changes: FloatArray) -> bool:
    """Whether what is left goes on from round to round, or is larger in some rounds than in others."""
    norms = np.linalg.norm(residual, axis=1)
    if norms.max() <= 1e-6 * np.linalg.norm(changes, axis=1).max():
        return False  # no noise at all: rounding remains
    certain = DEVIATIONS / math.sqrt(2 * residual.shape[1])
    if np.log(norms.max() / max(float(norms.min()), 1e-300)) > 2 * certain:
        return True
    next_to = [k for k in range(1, len(numbers)) if numbers[k] == numbers[k - 1] + 1]
    if not next_to:
        return False
    cosines = [float(residual[k] @ residual[k - 1]) / (norms[k] * norms[k - 1]) for k in next_to]
    return abs(float(np.mean(cosines))) > DEVIATIONS / math.sqrt(len(next_to) * residual.shape[1])


def _clip(one: Round, claim: DpClaim) -> float | None:
    return one.clip if one.clip is not None else claim.clip


def _divisor(one: Round, claim: DpClaim) -> float | None:
    return one.replies if claim.denominator == "replies" or claim.clients is None else claim.clients
