"""A trace held against its own claim, before any attack: what does not fit is found for certain or nearly so.

scipy and dp-accounting are imported when a trace is inspected, so that one can be written without them.
"""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from dpaudit._check import FloatArray
from dpaudit.claim import FULL_BATCH, FixedSize, GaussianSteps, Poisson, Sampling
from dpaudit.evidence import Finding
from dpaudit.trace.manifest import DpClaim
from dpaudit.trace.reader import Round, Trace, read_trace

LEVEL = 1e-6  # chance that a right run gets a violation, shared among the statistical checks
RUNAWAY = 30.0  # the clip moved by this factor in one direction only, and still moves
SETTLED = 5  # rounds at the end that are looked at for that
LITTLE = 0.3  # noise multiplier below which sampling hides next to nothing: ε is then accounted without it, in no time
GRID = 1e-3  # of the privacy loss: an error far below the digits printed here
BUFFERS = re.compile(r"moving_mean|moving_variance|running_mean|running_var|num_batches_tracked", re.IGNORECASE)
SLACK = 1.02  # a claimed ε may be this much below ours before it is called wrong: accountants differ


def inspect_trace(path: str | Path) -> list[Finding]:
    """What in a trace contradicts its own claim; violations first, empty when nothing does.

    Args:
        path: folder of the trace.

    Raises:
        InputError: it is no trace, or nothing of it can be read.
    """
    return inspect_rounds(read_trace(path))


def inspect_rounds(trace: Trace) -> list[Finding]:
    """`inspect_trace` of a trace that was read already."""
    findings = _completeness(trace)
    claim = trace.manifest.dp_claim
    if claim is None:
        findings.append(
            _finding(
                "no claim", "warning", "the manifest", "it claims no privacy", "a dp_claim", "state one to check it"
            )
        )
    else:
        for check in (_weights, _denominator, _noise, _sensitivity, _rounds, _epsilon, _formula, _clip, _participation):
            findings += check(trace, claim)
    findings += _buffers(trace) + _metrics(trace)
    return sorted(findings, key=lambda finding: finding.severity != "violation")


def _finding(
    check: str,
    severity: Literal["violation", "warning"],
    fed: str,
    observed: str,
    expected: str,
    remedy: str,
    *,
    epsilon: float | None = None,
) -> Finding:
    return Finding(check, severity, fed, observed, expected, remedy, rung=0, true_epsilon=epsilon)


def _completeness(trace: Trace) -> list[Finding]:
    found = []
    gone = [*trace.missing, *(number for number, _ in trace.damaged)]
    if gone:
        names = ", ".join(f"r{number:04d}.npz" for number in sorted(gone)[:5]) + (" ..." if len(gone) > 5 else "")
        found.append(
            _finding(
                "rounds missing",
                "warning",
                f"{len(trace.rounds) + len(gone)} rounds",
                f"{len(gone)} are missing or unreadable: {names}",
                "every round",
                "the checks below used the others; attacks on the whole course refuse this trace",
            )
        )
    if trace.manifest.rounds is None:
        found.append(
            _finding(
                "trace not closed",
                "warning",
                "the manifest",
                "it does not say how many rounds there were: the run ended early or goes on",
                "a closed trace",
                "call close() after the last round",
            )
        )
    return found


def _heaviest(one: Round, claim: DpClaim) -> float:
    """How far one client moves the average, relative to an equal share of the divisor the noise is made for."""
    if one.weights is None or not one.weights.size:
        return 1.0
    divisor = one.weights.size if claim.denominator == "replies" or claim.clients is None else claim.clients
    return float(one.weights.max() / one.weights.sum() * divisor)


def _weights(trace: Trace, claim: DpClaim) -> list[Finding]:
    """Weights by number of examples move the model further than the noise is made for."""
    worst = max((_heaviest(one, claim) for one in trace.rounds), default=1.0)
    spread = any(one.weights is not None and np.ptp(one.weights) > 1e-9 * one.weights.max() for one in trace.rounds)
    if not spread and claim.weighting != "num-examples":
        return []
    if not spread:
        return [
            _finding(
                "client weights",
                "warning",
                "the claim",
                "updates are weighted by numbers of examples, and the trace does not show them",
                "equal weights, or noise scaled to the largest",
                "write the weights of each round",
            )
        ]
    return [
        _finding(
            "client weights",
            "violation",
            "the weights of each round",
            f"the heaviest client moves the average {worst:.3g} times as far as an equal share",
            "every clipped update counts once",
            "average with equal weights, or scale the noise to the largest weight",
            epsilon=_true_epsilon(trace, claim, _scaled(claim, 1 / max(1.0, worst))),
        )
    ]


def _denominator(trace: Trace, claim: DpClaim) -> list[Finding]:
    """Dividing by those who answered, while the noise was made for those expected."""
    replies = [one.replies for one in trace.rounds if one.replies is not None]
    if claim.denominator != "replies" or claim.clients is None or not replies:
        return []
    fewest = min(replies)
    if fewest >= claim.clients:
        return []
    factor = claim.clients / max(fewest, 1)
    return [
        _finding(
            "drop-outs",
            "violation",
            f"the answers of {len(replies)} rounds",
            f"{fewest} clients answered where {claim.clients:g} were planned, and the average is over those who did: "
            f"one client counts {factor:.3g} times as much as the noise is made for",
            "a fixed divisor, or noise made for the clients that answered",
            "divide the noisy sum by the expected number of clients",
            epsilon=_true_epsilon(trace, claim, _scaled(claim, 1 / factor)),
        )
    ]


def _noise(trace: Trace, claim: DpClaim) -> list[Finding]:
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
        _finding(
            "realised noise",
            "violation",
            f"the release of round {where}",
            f"what the clients do not explain is as small as noise of multiplier {realised:.3g}",
            f"noise of multiplier {claim.noise_multiplier:g} on every coordinate",
            "scale the noise to clip over divisor, and add it to every array",
            epsilon=_true_epsilon(trace, claim, replace(claim, noise_multiplier=realised)),
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


def _sensitivity(trace: Trace, claim: DpClaim) -> list[Finding]:
    if claim.sensitivity is None or claim.clip is None or claim.sensitivity >= claim.clip * (1 - 1e-9):
        return []
    share = claim.sensitivity / claim.clip
    return [
        _finding(
            "sensitivity below the clip",
            "violation",
            "the claim",
            f"the noise is scaled to a sensitivity of {claim.sensitivity:g}, updates are clipped to {claim.clip:g}",
            f"a sensitivity of at least {claim.clip:g}",
            "scale the noise to the clip norm",
            epsilon=_true_epsilon(trace, claim, _scaled(claim, share)),
        )
    ]


def _rounds(trace: Trace, claim: DpClaim) -> list[Finding]:
    ran = max(one.number for one in trace.rounds) + 1
    if claim.rounds is None or ran <= claim.rounds:
        return []
    return [
        _finding(
            "more rounds than accounted",
            "violation",
            "the trace",
            f"{ran} rounds were run",
            f"at most the {claim.rounds} that were accounted",
            "account for every round",
            epsilon=_true_epsilon(trace, claim, claim, rounds=ran),
        )
    ]


def _epsilon(trace: Trace, claim: DpClaim) -> list[Finding]:
    """The claimed ε against the one that follows from noise, sampling and rounds."""
    if claim.epsilon is None:
        return []
    ours = _true_epsilon(trace, claim, claim)
    if ours is None:
        return [
            _finding(
                "ε cannot be recomputed",
                "warning",
                "the claim",
                f"ε = {claim.epsilon:g} without all of delta, noise_multiplier, sampler, clients, of and rounds",
                "what an accountant needs",
                "write it into the manifest",
            )
        ]
    if claim.epsilon * SLACK >= ours:
        return []
    amplified = claim.sampler in ("fixed-size", "shuffled", "all")
    assumed = replace(claim, sampler="poisson")
    as_poisson = _true_epsilon(trace, assumed, assumed) if amplified and claim.rate else None
    hint = (
        "; it fits Poisson sampling, which this was not" if as_poisson and claim.epsilon * SLACK >= as_poisson else ""
    )
    return [
        _finding(
            "claimed ε",
            "violation",
            "noise, sampling and rounds as the manifest gives them",
            f"ε = {claim.epsilon:g} is claimed{hint}",
            f"ε = {ours:.4g} at δ = {claim.delta:g}",
            "account for the sampling that was run, and for every round",
            epsilon=ours,
        )
    ]


def _formula(trace: Trace, claim: DpClaim) -> list[Finding]:
    if claim.accountant != "classical-gaussian" or claim.epsilon is None or claim.epsilon <= 1:
        return []
    return [
        _finding(
            "classical Gaussian formula",
            "violation",
            "the claim",
            f"ε = {claim.epsilon:g} comes from the formula with √(2 ln(1.25/δ)), whose proof needs ε below 1",
            "an accountant that holds for any ε",
            "use the privacy loss distribution of dp-accounting",
            epsilon=_true_epsilon(trace, claim, claim),
        )
    ]


def _clip(trace: Trace, claim: DpClaim) -> list[Finding]:
    """An adapted clip should settle at a quantile, not run away."""
    clips = np.array([one.clip for one in trace.rounds if one.clip is not None])
    if clips.size < 2 * SETTLED:
        return []
    steps = np.diff(np.log(clips))
    tail = steps[-SETTLED:]
    moved = math.exp(abs(float(np.log(clips[-1] / clips[0]))))
    if moved < RUNAWAY or not ((tail > 0).all() or (tail < 0).all()) or abs(tail.mean()) < 0.3 * abs(steps).max():
        return []
    way = "grows" if clips[-1] > clips[0] else "falls"
    return [
        _finding(
            "clip runs away",
            "warning",
            f"the clip of {clips.size} rounds",
            f"it {way} from {clips[0]:.3g} to {clips[-1]:.3g} and does not settle",
            "a clip near a quantile of the updates' norms",
            "the clip grows when more than the wanted share of updates is clipped: mind the sign",
        )
    ]


def _participation(trace: Trace, claim: DpClaim) -> list[Finding]:
    """The numbers of answers against the sampling rate; fewer may be drop-outs, more cannot be."""
    from scipy.stats import binom

    replies = [one.replies for one in trace.rounds if one.replies is not None]
    if claim.sampler != "poisson" or claim.of is None or claim.rate is None or not replies:
        return []
    total = sum(replies)
    if binom.sf(total - 1, claim.of * len(replies), claim.rate) >= LEVEL / 3:
        return []
    seen = total / (claim.of * len(replies))
    return [
        _finding(
            "sampling rate",
            "violation",
            f"the answers of {len(replies)} rounds",
            f"{seen:.3g} of the clients took part in a round",
            f"{claim.rate:.3g}",
            "account for the rate at which clients are drawn",
            epsilon=_true_epsilon(trace, claim, replace(claim, clients=seen * claim.of)),
        )
    ]


def _buffers(trace: Trace) -> list[Finding]:
    """Moving averages that are sent along are neither clipped nor noised."""
    manifest = trace.manifest
    names = [
        name
        for i, (name, trained) in enumerate(zip(manifest.weight_names, manifest.trainable, strict=True))
        if (not trained or BUFFERS.search(name)) and any((one.before[i] != one.after[i]).any() for one in trace.rounds)
    ]
    if not names or manifest.dp_claim is None:
        return []
    return [
        _finding(
            "buffers outside the clip",
            "violation",
            "arrays that are not trained",
            f"{', '.join(names[:3])} change from round to round with the clients' data",
            "nothing leaves a client that is not clipped and noised",
            "keep the statistics at the clients, or use GroupNormalization",
        )
    ]


def _metrics(trace: Trace) -> list[Finding]:
    if not trace.manifest.metrics or trace.manifest.dp_claim is None:
        return []
    return [
        _finding(
            "metrics without noise",
            "warning",
            "the manifest",
            f"{', '.join(trace.manifest.metrics)} of the clients are released as they are",
            "noise on everything that is released",
            "add noise to them, or account for them",
        )
    ]


def _scaled(claim: DpClaim, factor: float) -> DpClaim:
    return claim if claim.noise_multiplier is None else replace(claim, noise_multiplier=claim.noise_multiplier * factor)


def _true_epsilon(trace: Trace, claim: DpClaim, assumed: DpClaim, *, rounds: int | None = None) -> float | None:
    """ε of the claim's own accounting with other noise, rate or rounds; None when the manifest does not say enough."""
    from dpaudit.accounting import epsilon

    noise, total = assumed.noise_multiplier, rounds or claim.rounds or trace.manifest.rounds
    sampling = _sampling(assumed)
    if noise is None or total is None or sampling is None or claim.delta is None:
        return None
    if noise == 0:
        return math.inf
    if noise < LITTLE:
        sampling = FULL_BATCH
    adjacency = claim.adjacency
    if isinstance(sampling, FixedSize) and adjacency == "add-remove":
        adjacency = "replace-one"  # a fixed number of clients has no add-remove accounting
    return epsilon(
        GaussianSteps(noise, total, sampling, unit=claim.unit), delta=claim.delta, adjacency=adjacency
    ).epsilon


def _sampling(claim: DpClaim) -> Sampling | None:
    if claim.noise == "local" or claim.sampler in ("all", "shuffled"):
        return FULL_BATCH  # nobody is hidden by sampling: a client's own message, or a known position
    if claim.sampler == "poisson" and claim.rate:
        return Poisson(claim.rate)
    if claim.sampler == "fixed-size" and claim.clients is not None and claim.of is not None:
        return FixedSize(round(claim.clients), claim.of)
    return None
