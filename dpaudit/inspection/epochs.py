"""Shuffled epochs: every record once in each, in batches of one size but for the last, in a new order each time."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from dpaudit.accounting.gaussian import gaussian_epsilon
from dpaudit.bounds.lower_bound import Finding
from dpaudit.inspection.recorded import Seen, finding_of
from dpaudit.runtime.check import IntArray

MOST_PLACES = 10_000_000  # records times batches of an epoch, whose counts are held in memory


def check_epochs(seen: Seen, batches: int) -> list[Finding]:
    """Every record once an epoch, in batches of one size but for the last, in a new order each time."""
    findings, records = [], seen.trace.records
    steps = f"{seen.steps} batches, {batches} an epoch"
    epochs = [seen.trace.batches[start : start + batches] for start in range(0, seen.steps, batches)]
    per_epoch = np.stack([np.bincount(np.concatenate([np.asarray(b) for b in e]).astype(np.int64), minlength=records)
                          for e in epochs])  # fmt: skip
    remedy = "deal every record into one batch of each epoch"
    if per_epoch.max() > 1:
        most = int(seen.counts.max())
        observed = f"{int((per_epoch > 1).any(axis=0).sum())} of {records} records are in several batches of an epoch"
        found = finding_of("repeated record", steps, observed, "each record once an epoch", remedy)
        findings.append(replace(found, true_epsilon=_of_times(seen, most)))
    whole = per_epoch[: seen.steps // batches]
    missing = int((whole == 0).sum(axis=1).max(initial=0))
    if missing and not findings:
        observed = f"up to {missing} of {records} records are in no batch of an epoch"
        found = finding_of("dropped remainder", steps, observed, "each record once an epoch", "drop no remainder")
        findings.append(replace(found, severity="warning"))
    # The largest batch of which so many make an epoch, with or without a remainder.
    largest = max(records // batches, math.ceil(records / (batches - 1)) - 1) if batches > 1 else records
    if seen.sizes.max() > largest:
        observed = f"batches of up to {int(seen.sizes.max())} records"
        findings.append(finding_of("batch size", steps, observed, f"at most {largest}", remedy))
    return [*findings, *_places(seen, epochs, batches)]


def _of_times(seen: Seen, times: int) -> float | None:
    """ε of a record in so many of the batches, at least: that of the sum of all releases."""
    if seen.claim is None:
        return None
    moved = 2.0 if seen.claim.adjacency == "replace-one" else 1.0
    if seen.assumed.noise_multiplier == 0:
        return math.inf
    return gaussian_epsilon(moved * times / math.sqrt(seen.steps) / seen.assumed.noise_multiplier, seen.claim.delta)


def _places(seen: Seen, epochs: Sequence[Sequence[IntArray]], batches: int) -> list[Finding]:
    """Records that come back in the same place of the epoch: the order is not drawn afresh."""
    records = seen.trace.records
    if records * batches > MOST_PLACES:
        return []
    places = np.zeros((records, batches), np.int32)
    for epoch in epochs:
        for place, batch in enumerate(epoch):
            places[np.asarray(batch, np.int64), place] += 1
    often = int(places.max())
    share = seen.sizes.max() / records
    if often < 2 or stats.binom.sf(often - 1, len(epochs), share) * places.size >= seen.level:
        return []
    record, place = divmod(int(places.argmax()), batches)
    return [
        finding_of(
            "fixed place",
            f"{len(epochs)} epochs",
            f"record {record} is in batch {place} of {often} of them",
            "a new order in every epoch",
            "shuffle all records at the start of each epoch",
        )
    ]
