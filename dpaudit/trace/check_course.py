"""The course of a trace: missing rounds, a clip that runs away, what leaves the clients beside their updates."""

import math
import re

import numpy as np

from dpaudit.bounds.lower_bound import Finding
from dpaudit.trace.manifest import DpClaim
from dpaudit.trace.reader import Trace

RUNAWAY = 30.0  # the clip moved by this factor in one direction only, and still moves
SETTLED = 5  # rounds at the end that are looked at for that
BUFFERS = re.compile(r"moving_mean|moving_variance|running_mean|running_var|num_batches_tracked", re.IGNORECASE)


def check_completeness(trace: Trace) -> list[Finding]:
    """Rounds that are not there or cannot be read, and a trace that was never closed."""
    found = []
    gone = [*trace.missing, *(number for number, _ in trace.damaged)]
    if gone:
        names = ", ".join(f"r{number:04d}.npz" for number in sorted(gone)[:5]) + (" ..." if len(gone) > 5 else "")
        found.append(
            Finding(
                "rounds missing",
                "warning",
                f"{len(trace.rounds) + len(gone)} rounds",
                f"{len(gone)} are missing or unreadable: {names}",
                "every round",
                "the checks below used the others; attacks on the whole course refuse this trace",
                rung=0,
            )
        )
    if trace.manifest.rounds is None:
        found.append(
            Finding(
                "trace not closed",
                "warning",
                "the manifest",
                "it does not say how many rounds there were: the run ended early or goes on",
                "a closed trace",
                "call close() after the last round",
                rung=0,
            )
        )
    return found


def check_clip(trace: Trace, claim: DpClaim) -> list[Finding]:
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
        Finding(
            "clip runs away",
            "warning",
            f"the clip of {clips.size} rounds",
            f"it {way} from {clips[0]:.3g} to {clips[-1]:.3g} and does not settle",
            "a clip near a quantile of the updates' norms",
            "the clip grows when more than the wanted share of updates is clipped: mind the sign",
            rung=0,
        )
    ]


def check_buffers(trace: Trace) -> list[Finding]:
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
        Finding(
            "buffers outside the clip",
            "violation",
            "arrays that are not trained",
            f"{', '.join(names[:3])} change from round to round with the clients' data",
            "nothing leaves a client that is not clipped and noised",
            "keep the statistics at the clients, or use GroupNormalization",
            rung=0,
        )
    ]


def check_metrics(trace: Trace) -> list[Finding]:
    """Metrics of the clients that are released beside the model."""
    if not trace.manifest.metrics or trace.manifest.dp_claim is None:
        return []
    return [
        Finding(
            "metrics without noise",
            "warning",
            "the manifest",
            f"{', '.join(trace.manifest.metrics)} of the clients are released as they are",
            "noise on everything that is released",
            "add noise to them, or account for them",
            rung=0,
        )
    ]
