"""Rung 0 on a trace: who took part in which step, and how often noise was drawn, against the sampler accounted for.

What a trace cannot be under the claim (a step too many, a record twice in a batch) is a fact; what is merely unlikely
is tested at a stated level.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from dpaudit.accounting.claim import FixedSize, GaussianSteps, Poisson, Shuffled
from dpaudit.bounds.lower_bound import Finding
from dpaudit.runtime import check
from dpaudit.runtime.check import IntArray
from dpaudit.runtime.errors import InputError

LEVEL = 1e-6


@dataclass(frozen=True)
class RecordedBatches:
    """What a training left behind.

    Args:
        records: records in the training data; users where users are sampled.
        batches: the records of each step, whole numbers below ``records``.
        noise_draws: how often noise was drawn; None when nobody counted.
        accounted_steps: steps the accountant was told; None when nobody counted.
    """

    records: int
    batches: Sequence[IntArray]
    noise_draws: int | None = None
    accounted_steps: int | None = None

    def __post_init__(self) -> None:
        check.integer("records", self.records, at_least=1)
        if not len(self.batches):
            raise InputError("batches must hold at least one step.")
        for step, batch in enumerate(self.batches):
            ids = np.asarray(batch)
            if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
                raise InputError(f"the batch of step {step} must be a list of record numbers.")
            if ids.size and (ids.min() < 0 or ids.max() >= self.records):
                raise InputError(
                    f"the batch of step {step} must hold records 0 to {self.records - 1}, "
                    f"got {int(ids.min())} to {int(ids.max())}."
                )


def reconcile_trace(assumed: GaussianSteps, trace: RecordedBatches, *, level: float = LEVEL) -> tuple[Finding, ...]:
    """Every difference between the steps an accountant was told and a trace.

    Args:
        assumed: steps and sampling as accounted.
        trace: what happened.
        level: chance of a false alarm over all tests.

    >>> batches = [np.arange(10 * step, 10 * step + 10) for step in range(10)] * 3
    >>> steps = GaussianSteps(noise_multiplier=1.0, steps=30, sampling=Poisson(0.1))
    >>> [finding.check for finding in reconcile_trace(steps, RecordedBatches(100, batches))]
    ['fixed batches', 'sampler']
    """
    check.open_unit("level", level)
    sizes = np.array([len(batch) for batch in trace.batches])
    counts = np.bincount(np.concatenate([np.asarray(b, np.int64) for b in trace.batches]), minlength=trace.records)
    return (*_counted(assumed, trace), *_repeated(trace), *_drawn(assumed, trace, sizes, counts, level))


def _counted(assumed: GaussianSteps, trace: RecordedBatches) -> list[Finding]:
    findings = []
    steps = len(trace.batches)
    accounted = assumed.steps if trace.accounted_steps is None else min(assumed.steps, trace.accounted_steps)
    if steps > accounted:
        remedy = "step the accountant at every update, and keep its count over resumes"
        findings.append(
            _finding("steps", f"{steps} updates", f"{accounted} were accounted", "every update accounted", remedy)
        )
    if trace.noise_draws is not None and trace.noise_draws < steps:
        seen = f"noise was drawn {trace.noise_draws} times"
        findings.append(
            _finding("noise draws", f"{steps} updates", seen, "noise at every update", "add noise before every update")
        )
    for step, batch in enumerate(trace.batches):
        if len(np.unique(batch)) < len(batch):
            seen = "a record is in it more than once"
            expected, remedy = "each record at most once in a batch", "sample without replacement within a batch"
            findings.append(_finding("repeated record", f"the batch of step {step}", seen, expected, remedy))
            break
    return findings


def _repeated(trace: RecordedBatches) -> list[Finding]:
    """Whether whole batches come back: one partition of the data used again and again."""
    keys = [np.sort(np.asarray(batch, np.int64)).tobytes() for batch in trace.batches if len(batch) > 3]
    if len(keys) - len(set(keys)) <= len(keys) // 4:
        return []
    return [
        _finding(
            "fixed batches",
            f"{len(keys)} batches",
            f"only {len(set(keys))} different ones: the data is cut once and never shuffled",
            "fresh batches at every step",
            "draw each batch by Poisson coins; a fixed cut has no amplification by sampling",
        )
    ]


def _drawn(
    assumed: GaussianSteps, trace: RecordedBatches, sizes: IntArray, counts: IntArray, level: float
) -> list[Finding]:
    rate, steps, records = assumed.sampling.rate, len(trace.batches), trace.records
    findings = []
    total, coins = int(sizes.sum()), steps * records
    if isinstance(assumed.sampling, Poisson) and stats.binom.sf(total - 1, coins, rate) < level / 4:
        seen = f"{total} participations, a rate of {total / coins:.4g}"
        remedy = "account with the rate at which records were really drawn"
        findings.append(_finding("sampling rate", f"{steps} batches", seen, f"a rate of {rate:.4g}", remedy))
    if rate == 1:
        return findings
    exactly = bool((sizes == sizes[0]).all())
    if isinstance(assumed.sampling, FixedSize | Shuffled):
        if not exactly and isinstance(assumed.sampling, FixedSize):
            remedy = "account for the batches that were drawn"
            seen = f"from {sizes.min()} to {sizes.max()} records"
            findings.append(_finding("sampler", f"{steps} batches", seen, "batches of one size", remedy))
        return findings
    # Too little spread is what shuffled batches show. The sum over sizes is nearly χ²; the one over counts is nearly
    # normal, with the variance of squared binomials.
    spread_of_sizes = float(((sizes - records * rate) ** 2).sum() / (records * rate * (1 - rate)))
    spread_of_counts = float(((counts - steps * rate) ** 2).sum() / (steps * rate * (1 - rate)))
    even_sizes = stats.chi2.cdf(spread_of_sizes, steps) < level / 4
    variance = records * (2 + (1 - 6 * rate * (1 - rate)) / (steps * rate * (1 - rate)))
    even_counts = stats.norm.cdf(spread_of_counts, records, math.sqrt(variance)) < level / 4
    if even_sizes or even_counts:
        what = "every record about equally often" if even_counts else "batches of about one size"
        findings.append(
            _finding(
                "sampler",
                f"{steps} batches",
                f"{what}: shuffled or cut, not drawn by Poisson coins",
                "the spread of independent coins",
                "draw each batch by Poisson coins; the accountant's figure is no upper bound for shuffled batches",
            )
        )
    never = int((counts == 0).sum())
    if stats.binom.sf(never - 1, records, (1 - rate) ** steps) < level / 4 and never > 0:
        seen = f"{never} of {records} records were never drawn"
        findings.append(
            _finding("dropped remainder", f"{steps} batches", seen, "every record can be drawn", "drop no remainder")
        )
    return findings


def _finding(check: str, fed: str, observed: str, expected: str, remedy: str) -> Finding:
    return Finding(check, "violation", fed, observed, expected, remedy, rung=0)
