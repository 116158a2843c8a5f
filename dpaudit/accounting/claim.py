"""What is claimed: an (ε, δ) with its unit, adjacency and sampling, and the mechanism it follows from.

A claim is a description; `dpaudit.accounting` computes with it. Claims with different units or adjacencies are
not comparable, so both are part of the value and never defaulted when a result is judged.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError

if TYPE_CHECKING:
    from dpaudit.accounting.law import Law

Adjacency = Literal["add-remove", "replace-one", "zero-out"]
Unit = Literal["record", "user"]
Design = Literal["one-run", "many-runs"]  # the scores are one experiment, or independent trials

NoiseKnowledge = Literal["accounted", "none", "unknown"]  # what is known of the noise of a training

ADJACENCIES: tuple[Adjacency, ...] = get_args(Adjacency)
UNITS: tuple[str, ...] = get_args(Unit)
# A claimed ε may lie this share below the one that follows from the mechanism: a figure rounded to three significant
# digits is off by up to half a percent, and accountants that count on other grids differ by less.
TOLERANCE = 5e-3


def too_small(claimed: float, follows: float) -> bool:
    """Whether a claimed ε is certainly smaller than the one that follows from what was run.

    >>> too_small(3.7, 3.71), too_small(3.7, 3.8)
    (False, True)
    """
    return claimed < follows * (1 - TOLERANCE)


@dataclass(frozen=True)
class Protection:
    """Whose data differ between neighbouring data sets, how, and at which δ: only equal ones can be compared.

    Args:
        unit: one ``record`` or everything of one ``user``.
        adjacency: what a neighbouring data set is.
        delta: in [0, 1).
    """

    unit: Unit
    adjacency: Adjacency
    delta: float

    def __post_init__(self) -> None:
        check.one_of("unit", self.unit, UNITS)
        check.one_of("adjacency", self.adjacency, ADJACENCIES)
        check.delta("delta", self.delta)


@dataclass(frozen=True)
class Poisson:
    """Every record enters each batch by an independent coin of probability ``rate``."""

    rate: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", check.probability("sampling rate", self.rate))
        if self.rate == 0:
            raise InputError("sampling rate must be above 0, got 0.0.")


@dataclass(frozen=True)
class TruncatedPoisson:
    """Poisson batches of which a uniformly drawn part of ``largest_batch`` records is kept where more were drawn.

    `Ganesh (2025) <https://arxiv.org/abs/2508.15089>`_; programs of fixed shapes need such a bound.

    Args:
        rate: at which each record is drawn before a batch is cut, below 1.
        largest_batch: most records in a batch.
        records: in the data; of two data sets of different size, those of the larger one.
    """

    rate: float
    largest_batch: int
    records: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", Poisson(self.rate).rate)
        if self.rate == 1:
            raise InputError("every truncated batch has largest_batch records at rate 1: state fixed-size batches.")
        check.integer("largest_batch", self.largest_batch, at_least=1)
        check.integer("records", self.records, at_least=1)

    @property
    def cut(self) -> float:
        """Probability that the other records fill a batch, so that one more record takes the place of another."""
        from scipy.stats import binom  # late: what writes a trace has numpy only

        return float(binom.sf(self.largest_batch - 1, self.records - 1, self.rate))

    @property
    def kept_of_cut(self) -> float:
        """Probability that a record is in a batch that the others fill."""
        from scipy.stats import binom

        longer = float(binom.sf(self.largest_batch, self.records, self.rate))
        return longer * self.largest_batch / self.records / self.cut if self.cut > 0 else 0.0

    @property
    def kept(self) -> float:
        """Probability that a record is in a batch, after the cut.

        >>> round(TruncatedPoisson(0.5, 1, 2).kept, 3)  # alone in one batch in four, one of two in another
        0.375
        """
        return self.rate * (1 - self.cut) + self.cut * self.kept_of_cut


@dataclass(frozen=True)
class FixedSize:
    """Each batch is ``batch_size`` of ``records`` drawn without replacement, afresh at every step."""

    batch_size: int
    records: int

    def __post_init__(self) -> None:
        check.integer("batch_size", self.batch_size, at_least=1)
        check.integer("records", self.records, at_least=self.batch_size)

    @property
    def rate(self) -> float:
        """Share of the records in one batch."""
        return self.batch_size / self.records


@dataclass(frozen=True)
class Shuffled:
    """The records are shuffled once per epoch and cut into ``batches_per_epoch`` batches, as Keras ``fit`` does.

    No tight analysis of DP-SGD on shuffled batches is known; the Poisson figure for the same rate is optimistic.
    """

    batches_per_epoch: int

    def __post_init__(self) -> None:
        check.integer("batches_per_epoch", self.batches_per_epoch, at_least=1)

    @property
    def rate(self) -> float:
        """Share of the records in one batch."""
        return 1 / self.batches_per_epoch


Sampling = Poisson | TruncatedPoisson | FixedSize | Shuffled
SamplingName = Literal["poisson", "truncated-poisson", "fixed-size", "shuffled"]
SAMPLINGS: dict[type, SamplingName] = {
    Poisson: "poisson",
    TruncatedPoisson: "truncated-poisson",
    FixedSize: "fixed-size",
    Shuffled: "shuffled",
}
FULL_BATCH = Poisson(1.0)


@dataclass(frozen=True)
class GaussianSteps:
    """DP-SGD as its accountant sees it: ``steps`` Gaussian releases of clipped sums on sampled batches.

    Args:
        noise_multiplier: standard deviation of the noise over the clip norm; 0 means no noise and no privacy.
        steps: number of releases.
        sampling: how the batches were really drawn.
        slack: probability that the training left the accounted procedure (a truncated batch); it is added to δ.
        unit: whose contribution is clipped and noised as one: a ``record``'s gradient or a ``user``'s update.
    """

    noise_multiplier: float
    steps: int
    sampling: Sampling
    slack: float = 0.0
    unit: Unit = "record"

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise_multiplier", check.nonnegative("noise_multiplier", self.noise_multiplier))
        check.integer("steps", self.steps, at_least=1)
        check.delta("slack", self.slack)
        check.one_of("unit", self.unit, UNITS)

    @property
    def in_words(self) -> str:
        """Noise, steps and sampling, for a sentence."""
        sampling = self.sampling
        drawn = f"{SAMPLINGS[type(sampling)]} rate {sampling.rate:.4g}"
        if isinstance(sampling, Shuffled):
            drawn = f"shuffled into {sampling.batches_per_epoch} batches"
        elif isinstance(sampling, TruncatedPoisson):
            drawn += f", at most {sampling.largest_batch} of {sampling.records} records in a batch"
        return f"noise multiplier {self.noise_multiplier:g}, {self.steps} steps, {drawn}"


@dataclass(frozen=True)
class LawSteps:
    """Steps whose noise has another law than independent Gaussian draws.

    Args:
        law: as `dpaudit.accounting.law.law_from` reads it: ``laplace``, ``discrete-gaussian:0.01``,
            ``banded:1,0.5:64``, ``tree:64``.
        noise_multiplier: scale of the noise over the clip norm (of the L1 norm for Laplace).
        steps: number of releases.
        sampling: how the batches were drawn; a tree has none (``Shuffled``), the others Poisson batches.
    """

    law: str
    noise_multiplier: float
    steps: int
    sampling: Sampling

    def __post_init__(self) -> None:
        _ = self.noise  # which checks itself
        object.__setattr__(self, "noise_multiplier", check.positive("noise_multiplier", self.noise_multiplier))
        check.integer("steps", self.steps, at_least=1)

    @property
    def noise(self) -> "Law":
        """The law."""
        from dpaudit.accounting.law import law_from  # late: it needs scipy, and what writes a trace has numpy only

        return law_from(self.law)

    def with_noise(self, noise_multiplier: float) -> GaussianSteps:
        """Scale, steps and sampling, as `dpaudit.accounting.law_epsilon.law_epsilon` takes them."""
        return GaussianSteps(noise_multiplier, self.steps, self.sampling)


@dataclass(frozen=True)
class Claim:
    """A claim of (ε, δ)-differential privacy.

    Args:
        epsilon: the claimed ε; infinity claims nothing and is what training without noise can claim.
        delta: the claimed δ, in [0, 1).
        unit: whose data is protected: one ``record`` or everything of one ``user``.
        adjacency: what a neighbouring data set is.
        source: where the number comes from, in words fit for a report.
        mechanism: what was run, when it is known; the whole trade-off curve follows from it.
        noise: the same for noise of another law, from which ε follows and no curve
            (`dpaudit.accounting.law_epsilon.claim_of_law` makes such a claim).

    >>> Claim(2.0, 1e-5, unit="record", adjacency="add-remove", source="the paper's table 1").epsilon
    2.0
    """

    epsilon: float
    delta: float
    unit: Unit
    adjacency: Adjacency
    source: str
    mechanism: GaussianSteps | None = None
    noise: LawSteps | None = None

    def __post_init__(self) -> None:
        if self.mechanism is not None and self.noise is not None:
            raise InputError("a claim has Gaussian steps (mechanism) or steps of another law (noise), not both.")
        _ = self.protection  # which checks itself
        if self.epsilon != math.inf:
            check.nonnegative("epsilon", self.epsilon)
        noise = self.mechanism.noise_multiplier if self.mechanism is not None else None
        if noise == 0 and self.epsilon != math.inf:
            raise InputError(
                f"a claim of ε = {self.epsilon:g} cannot come from noise_multiplier 0: without noise ε is infinite."
            )

    @property
    def protection(self) -> Protection:
        """Of what it claims the ε."""
        return Protection(self.unit, self.adjacency, self.delta)
