"""A recorded training beside the steps an accountant was told."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dpaudit.accounting.claim import Claim, FixedSize, GaussianSteps, Poisson, TruncatedPoisson
from dpaudit.accounting.composed import epsilon_of_steps
from dpaudit.bounds.lower_bound import Finding
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, IntArray
from dpaudit.runtime.errors import InputError


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


def presence(batches: Sequence[IntArray], records: int) -> BoolArray:
    """Which records are in which batch, shape (records, steps).

    >>> presence([np.array([0, 2]), np.array([1])], 3).astype(int).tolist()
    [[1, 0], [0, 1], [1, 0]]
    """
    present = np.zeros((records, len(batches)), bool)
    for step, batch in enumerate(batches):
        present[np.asarray(batch, np.int64), step] = True
    return present


@dataclass(frozen=True)
class Seen:
    """A trace beside what was accounted, and the level of each test on it."""

    assumed: GaussianSteps
    trace: RecordedBatches
    sizes: IntArray
    counts: IntArray
    level: float  # of each test
    claim: Claim | None

    @property
    def steps(self) -> int:
        """How many there were."""
        return len(self.trace.batches)

    @property
    def rate(self) -> float:
        """At which each record was accounted to be in a batch."""
        sampling = self.assumed.sampling
        return sampling.kept if isinstance(sampling, TruncatedPoisson) else sampling.rate

    def epsilon(self, rate: float) -> float | None:
        """What a record drawn at this rate has for certain; None without a claim or where no accounting is known."""
        sampling = self.assumed.sampling
        if self.claim is None or not 0 < rate <= 1:
            return None
        if isinstance(sampling, FixedSize):
            if self.claim.adjacency == "add-remove":
                return None
            records = self.trace.records
            sampling = FixedSize(min(records, max(1, round(rate * records))), records)
        else:
            sampling = Poisson(rate)
        really = replace(self.assumed, sampling=sampling, slack=0.0)
        return epsilon_of_steps(really, delta=self.claim.delta, adjacency=self.claim.adjacency).certain


def finding_of(check: str, fed: str, observed: str, expected: str, remedy: str) -> Finding:
    """A violation of rung 0."""
    return Finding(check, "violation", fed, observed, expected, remedy, rung=0)
