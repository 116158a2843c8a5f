"""Rung 0 on a trace: who took part in which step, and how often noise was drawn, against the sampler accounted for.

What a trace cannot be under the claim (a step too many, a record twice in a batch or epoch) is a fact; what is merely
unlikely is tested by exact tails at a stated level, which all tests share.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from dpaudit.accounting.claim import Claim, FixedSize, GaussianSteps, Poisson, Shuffled, TruncatedPoisson
from dpaudit.accounting.composed import epsilon_of_steps
from dpaudit.bounds.lower_bound import Finding, Unchecked
from dpaudit.inspection.epochs import MOST_PLACES, check_epochs
from dpaudit.inspection.over_time import dependent, repeats
from dpaudit.inspection.recorded import RecordedBatches, Seen, finding_of
from dpaudit.inspection.together import MOST_RECORDS, together
from dpaudit.runtime import check
from dpaudit.scores.binomial_tails import CountSpread, found_with, spread, tied_at_most, too_large

LEVEL = 1e-6
# That share the level: the total, counts twice, batch sizes three times, pairs (or places in an epoch), repeated
# batches, batches that depend on earlier ones.
TESTS = 9


@dataclass(frozen=True)
class StatedParticipation:
    """What a trace says of who took part.

    Args:
        findings: every difference from what was accounted.
        not_checked: what was not looked at, and why.
    """

    findings: tuple[Finding, ...]
    not_checked: tuple[Unchecked, ...]


def reconcile_trace(
    assumed: GaussianSteps, trace: RecordedBatches, *, level: float = LEVEL, claim: Claim | None = None
) -> tuple[Finding, ...]:
    """Every difference between the steps an accountant was told and a trace: the findings of `inspect_participation`.

    >>> batches = [np.arange(10 * step, 10 * step + 10) for step in range(10)] * 3
    >>> steps = GaussianSteps(noise_multiplier=1.0, steps=30, sampling=Poisson(0.1))
    >>> [finding.check for finding in reconcile_trace(steps, RecordedBatches(100, batches))]
    ['fixed batches', 'sampler']
    """
    return inspect_participation(assumed, trace, level=level, claim=claim).findings


def inspect_participation(
    assumed: GaussianSteps, trace: RecordedBatches, *, level: float = LEVEL, claim: Claim | None = None
) -> StatedParticipation:
    """Who took part, against the steps an accountant was told, and what could not be checked.

    Args:
        assumed: steps and sampling as accounted.
        trace: what happened.
        level: chance of a false alarm over all tests.
        claim: at whose δ and adjacency the ε of the records drawn most is given; without it only their rate is.
    """
    share = check.open_unit("level", level) / TESTS
    sizes = np.array([len(batch) for batch in trace.batches])
    counts = np.bincount(np.concatenate([np.asarray(b, np.int64) for b in trace.batches]), minlength=trace.records)
    seen = Seen(assumed, trace, sizes, counts, share, claim)
    if assumed.sampling.rate == 1:
        drawn = []
    elif isinstance(assumed.sampling, Shuffled):
        drawn = check_epochs(seen, assumed.sampling.batches_per_epoch)
    else:
        drawn, (cut, seen) = _rate(seen), _cut(seen)
        drawn += [*cut, *_spread(seen, of_rate=not drawn)]
    drawn = [*_repeated(seen), *drawn]
    if not drawn:  # each of these makes batches depend on each other
        drawn = _over_time(seen)
    return StatedParticipation((*_counted(assumed, trace), *drawn, *_pairs(seen)), _not_checked(seen))


def _counted(assumed: GaussianSteps, trace: RecordedBatches) -> list[Finding]:
    findings = []
    steps = len(trace.batches)
    accounted = assumed.steps if trace.accounted_steps is None else min(assumed.steps, trace.accounted_steps)
    if steps > accounted:
        remedy = "step the accountant at every update, and keep its count over resumes"
        findings.append(
            finding_of("steps", f"{steps} updates", f"{accounted} were accounted", "every update accounted", remedy)
        )
    if trace.noise_draws is not None and trace.noise_draws < steps:
        seen = f"noise was drawn {trace.noise_draws} times"
        remedy = "add noise before every update"
        findings.append(finding_of("noise draws", f"{steps} updates", seen, "noise at every update", remedy))
    for step, batch in enumerate(trace.batches):
        if len(np.unique(batch)) < len(batch):
            seen = "a record is in it more than once"
            expected, remedy = "each record at most once in a batch", "sample without replacement within a batch"
            findings.append(finding_of("repeated record", f"the batch of step {step}", seen, expected, remedy))
            break
    return findings


def _repeated(seen: Seen) -> list[Finding]:
    """Whether whole batches come back: one partition of the data used again and again, or steps that are replayed."""
    trace = seen.trace
    keys = [np.sort(np.asarray(batch, np.int64)).tobytes() for batch in trace.batches if len(batch) > 3]
    if len(keys) - len(set(keys)) > len(keys) // 4:
        what = f"only {len(set(keys))} different ones: the data is cut once and never shuffled"
        remedy = "draw each batch by Poisson coins; a fixed cut has no amplification by sampling"
        return [finding_of("fixed batches", f"{len(keys)} batches", what, "fresh batches at every step", remedy)]
    again = repeats(trace.batches, trace.records, seen.assumed.sampling, seen.level) if seen.rate < 1 else 0
    if not again:
        return []
    what = f"{again} of them are the same as an earlier one"
    remedy = "draw each batch afresh, also when a training is resumed"
    return [finding_of("repeated batch", f"{seen.steps} batches", what, "fresh batches at every step", remedy)]


def _over_time(seen: Seen) -> list[Finding]:
    """Batches that share too many or too few records with earlier ones."""
    if seen.rate == 1:
        return []
    found = dependent(seen.trace.batches, seen.trace.records, seen.assumed.sampling, seen.level)
    if found is None:
        return []
    return [
        finding_of(
            "dependent batches",
            f"{seen.steps} batches",
            f"{found.what}: {found.seen} records are shared",
            f"about {found.expected:.3g} of batches that are drawn independently",
            "draw each batch from all of the data, independently of the ones before: no buffer, no order, no shards",
        )
    ]


def _rate(seen: Seen) -> list[Finding]:
    """More participations in all, or larger batches, than were accounted."""
    total, coins, sampling = int(seen.counts.sum()), seen.steps * seen.trace.records, seen.assumed.sampling
    largest, remedy = int(seen.sizes.max()), "account with the rate at which records were really drawn"
    observed, rate = f"batches of up to {largest} records", largest / seen.trace.records
    if isinstance(sampling, FixedSize):
        if largest <= sampling.batch_size:
            return []
        expected = f"batches of {sampling.batch_size}"
    elif isinstance(sampling, TruncatedPoisson) and largest > sampling.largest_batch:
        expected, remedy = f"at most {sampling.largest_batch}", "cut every batch as it is accounted"
    else:
        # What is cut leaves no more than was drawn.
        if stats.binom.sf(total - 1, coins, sampling.rate) >= seen.level:
            return []
        rate = total / coins
        observed, expected = f"{total} participations, a rate of {rate:.4g}", f"a rate of {seen.rate:.4g}"
    found = finding_of("sampling rate", f"{seen.steps} batches", observed, expected, remedy)
    return [replace(found, true_epsilon=seen.epsilon(rate))]


def _cut(seen: Seen) -> tuple[list[Finding], Seen]:
    """Poisson batches that were cut at a largest size, and the trace beside batches that are accounted so."""
    largest, records, sampling = int(seen.sizes.max()), seen.trace.records, seen.assumed.sampling
    if not isinstance(sampling, Poisson) or tied_at_most(seen.sizes, records, seen.rate) >= seen.level:
        return [], seen
    # Batches that all have one size were not drawn by coins and then cut.
    alike = not np.ptp(seen.sizes)
    if alike or spread(seen.sizes, records, seen.rate, seen.level, most=largest) != CountSpread(None, None, False):
        return [], seen  # more than a cut
    assumed = replace(seen.assumed, sampling=TruncatedPoisson(seen.rate, largest, records))
    costs = ""
    if seen.claim is not None:
        allowed = epsilon_of_steps(assumed, delta=seen.claim.delta, adjacency=seen.claim.adjacency).epsilon
        costs = f", for which ε is at most {allowed:.4g}"
    found = finding_of(
        "truncated batches",
        f"{seen.steps} batches",
        f"{int((seen.sizes == largest).sum())} of them have {largest} records, and none has more: they are cut there",
        "sizes as independent coins give them, without a largest one",
        f"account with truncated Poisson batches (largest batch {largest}){costs}, or cut none",
    )
    return [found], replace(seen, assumed=assumed)


def _spread(seen: Seen, *, of_rate: bool) -> list[Finding]:
    """Counts of records, and sizes of batches where the rate is right, against those of the sampler accounted for."""
    trace, steps, rate = seen.trace, f"{seen.steps} batches", seen.rate
    sampling, findings = seen.assumed.sampling, []
    coins = isinstance(sampling, Poisson | TruncatedPoisson)
    if isinstance(sampling, Poisson | TruncatedPoisson):
        most = sampling.largest_batch if isinstance(sampling, TruncatedPoisson) else None
        sizes = spread(seen.sizes, trace.records, sampling.rate, seen.level, most=most)
        uneven = sizes.above is not None or sizes.below is not None
    else:
        sizes, uneven = CountSpread(None, None, False), bool(np.ptp(seen.sizes))
    # Records of one batch leave each other less room where its size is fixed or cut.
    counts = spread(seen.counts, seen.steps, rate, seen.level, independent=isinstance(sampling, Poisson))
    remedy = "draw each batch as it is accounted: the figure is no upper bound for other batches"
    # Where some records are drawn more or less, few lie near the accounted count, which does not make them even.
    alike = counts.even and counts.above is None and counts.below is None
    if sizes.even or alike:
        what = "every record about equally often" if alike else "batches of about one size"
        expected = "the spread of independent coins" if coins else "batches drawn afresh at every step"
        findings.append(
            finding_of("sampler", steps, f"{what}: shuffled or cut, not drawn as accounted", expected, remedy)
        )
    elif uneven and of_rate:
        observed = f"from {seen.sizes.min()} to {seen.sizes.max()} records in a batch"
        expected = "sizes as independent coins give them" if coins else "batches of one size"
        findings.append(finding_of("sampler", steps, observed, expected, remedy))
    if counts.above is not None or too_large(seen.counts, seen.steps, rate, seen.level):
        findings += _drawn_most(seen)
    never = int((seen.counts == 0).sum())
    if never and stats.binom.sf(never - 1, trace.records, (1 - rate) ** seen.steps) < seen.level:
        observed = f"{never} of {trace.records} records were never drawn"
        expected, remedy = "every record can be drawn", "drop no remainder"
        findings.append(finding_of("dropped remainder", steps, observed, expected, remedy))
    elif counts.below is not None and not findings:
        observed = f"{int((seen.counts <= counts.below).sum())} of {trace.records} records at most {counts.below} times"
        expected = f"about {seen.steps * rate:.4g} times"
        found = finding_of("records drawn seldom", steps, observed, expected, "draw every record at the accounted rate")
        findings.append(replace(found, severity="warning"))
    return findings


def _drawn_most(seen: Seen) -> list[Finding]:
    """The records drawn most in one half of the steps, and their rate in the other half, which nothing selected."""
    always = seen.counts == seen.steps
    records, half = seen.trace.records, seen.steps // 2
    first, second = (
        np.bincount(np.concatenate([np.zeros(0, np.int64), *map(np.asarray, part)]).astype(np.int64), minlength=records)
        for part in (seen.trace.batches[:half], seen.trace.batches[half:])
    )
    most = first >= min(int(first.max()), int(stats.binom.isf(0.1 / records, half, seen.rate)) + 1)
    rate = float(second[most].mean()) / (seen.steps - half)
    if always.any():
        most, rate = always, 1.0
    elif rate <= seen.rate:  # it did not last: the counts themselves remain
        most, rate = seen.counts == seen.counts.max(), float(seen.counts.max()) / seen.steps
    found = finding_of(
        "records drawn often",
        f"{seen.steps} batches",
        f"{int(most.sum())} of {records} records are drawn at a rate of {rate:.3g}; the most drawn is in "
        f"{'every batch' if always.any() else f'{seen.counts.max()} batches'}",
        f"a rate of {seen.rate:.4g} for every record",
        "account with the largest rate of any record, or draw all of them alike",
    )
    return [replace(found, true_epsilon=seen.epsilon(rate))]


def _pairs(seen: Seen) -> list[Finding]:
    """Two records that go together hide nobody: who sees the one knows that the other was drawn."""
    if seen.rate == 1:
        return []
    found = together(seen.trace.batches, seen.trace.records, seen.assumed.sampling, seen.level)
    if found is None:
        return []
    return [
        finding_of(
            "records together",
            f"{seen.steps} batches",
            f"records {found.first} and {found.second} are in {found.both} batches together, of the "
            f"{found.of_first} and {found.of_second} that they are in",
            f"about {found.expected:.3g} batches together",
            "draw every record by a coin of its own; drawn in blocks, the blocks are what is sampled",
        )
    ]


def _not_checked(seen: Seen) -> tuple[Unchecked, ...]:
    trace, found = seen.trace, []
    if trace.noise_draws is None:
        found.append(Unchecked("noise at every step", "the trace does not say how often noise was drawn"))
    if trace.accounted_steps is None:
        found.append(Unchecked("the accountant's own count of steps", "the trace does not hold it"))
    if seen.rate == 1:
        found.append(Unchecked("who takes part", "every record is accounted in every step; none can be drawn more"))
        return tuple(found)
    if trace.records > MOST_RECORDS:
        reason = f"{trace.records} records have too many pairs; only those that always go together were looked for"
        found.append(Unchecked("records that mostly go together", reason))
    if isinstance(seen.assumed.sampling, Shuffled):
        if trace.records * seen.assumed.sampling.batches_per_epoch > MOST_PLACES:
            reason = "there are too many records and batches to count every place"
            found.append(Unchecked("records that keep their place in the epoch", reason))
        return tuple(found)
    rate = found_with(trace.records, seen.steps, seen.rate, seen.level)
    if rate < 1:
        reason = f"in {seen.steps} steps that is the smallest found with probability 0.8"
        found.append(Unchecked(f"rates below {rate:.3g} of a single record", reason))
    else:
        reason = f"{seen.steps} steps are too few to tell any rate of one record from {seen.rate:.3g}"
        found.append(Unchecked("the rate of a single record", reason))
    if isinstance(seen.assumed.sampling, Poisson):
        reason = "a largest size shows only by several batches that share it"
        found.append(Unchecked("batches cut at a size that hardly one reaches", reason))
    reason = "the trace does not say which records are a group"
    found.append(Unchecked("groups of records drawn in fixed numbers", reason))
    return tuple(found)
