"""What a server makes of its clients' updates: plain averages, and TensorFlow Privacy's queries.

An aggregator is a value that can be read, checked and accounted without TensorFlow; `queries` runs one. All noise comes
from seeded generators: good for audits, not for a model that is released.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from dpaudit.accounting.claim import GaussianSteps
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.strict import Strict
from dpaudit.training.federated.participation import AllClients, FixedClients, OncePerEpoch, PoissonClients

Sampler = PoissonClients | FixedClients | AllClients | OncePerEpoch


@dataclass(frozen=True)
class PlainMean(Strict):
    """The average of the updates that arrived, without privacy.

    Args:
        weighting: ``records`` weighs a client by its number of records, as FedAvg does (`McMahan et al. (2016)
            <https://arxiv.org/abs/1602.05629>`_); ``uniform`` counts every client once.
    """

    weighting: Literal["records", "uniform"] = "records"
    kind: Literal["mean"] = "mean"

    def mechanism(self, sampler: Sampler, rounds: int) -> GaussianSteps | None:
        """None: nothing is claimed."""
        return None


@dataclass(frozen=True)
class _Clipped(Strict):
    """Updates clipped to ``clip``, with noise in multiples of it."""

    clip: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        check.positive("clip", self.clip)
        check.nonnegative("noise_multiplier", self.noise_multiplier)

    def mechanism(self, sampler: Sampler, rounds: int) -> GaussianSteps | None:
        """What the accountant is told."""
        return sampler.mechanism(self.noise_multiplier, rounds)


@dataclass(frozen=True)
class FixedClip(_Clipped):
    """Updates clipped to ``clip``, summed, noise of ``noise_multiplier · clip`` added, divided by a fixed number.

    DP-FedAvg of `McMahan et al. (2017) <https://arxiv.org/abs/1710.06963>`_. Every client counts once, and the divisor
    is the expected number of clients, so that neither weights nor drop-outs change the sensitivity.
    """

    kind: Literal["fixed-clip"] = "fixed-clip"


@dataclass(frozen=True)
class AdaptiveClip(Strict):
    """`FixedClip` whose clip follows a quantile of the updates' norms (`Andrew et al. (2019)
    <https://arxiv.org/abs/1905.03871>`_).

    The number of updates below the clip is released too, with noise of ``count_noise``; the noise on the sum is raised
    so that both together cost what ``noise_multiplier`` alone would.

    Args:
        noise_multiplier: of the round as a whole.
        clip: of the first round.
        quantile: share of the updates that should not be clipped.
        rate: how fast the clip moves, the logarithm of the largest change in a round.
        count_noise: standard deviation of the noise on the count; None is a twentieth of the expected clients.
    """

    noise_multiplier: float
    clip: float = 0.1
    quantile: float = 0.5
    rate: float = 0.2
    count_noise: float | None = None
    kind: Literal["adaptive-clip"] = "adaptive-clip"

    def __post_init__(self) -> None:
        check.nonnegative("noise_multiplier", self.noise_multiplier)
        check.positive("clip", self.clip)
        check.open_unit("quantile", self.quantile)
        check.positive("rate", self.rate)
        if self.count_noise is not None:
            check.positive("count_noise", self.count_noise)

    def count_stddev(self, expected: float) -> float:
        """Standard deviation of the noise on the count."""
        return expected / 20 if self.count_noise is None else self.count_noise

    def sum_multiplier(self, expected: float) -> float:
        """Noise multiplier of the sum, (z⁻² - (2 σ_b)⁻²)^(-1/2): theorem 1 of Andrew et al.

        Raises:
            InputError: the noise on the count alone would cost more than the whole round may.

        >>> round(AdaptiveClip(noise_multiplier=1.0).sum_multiplier(100), 4)
        1.005
        """
        if self.noise_multiplier == 0:
            return 0.0
        doubled = 2 * self.count_stddev(expected)
        if self.noise_multiplier >= doubled:
            raise InputError(
                f"noise_multiplier {self.noise_multiplier:g} needs count_noise above {self.noise_multiplier / 2:g}; "
                f"it is {doubled / 2:g} (with {expected:g} clients in a round)."
            )
        return float((self.noise_multiplier**-2 - doubled**-2) ** -0.5)

    def mechanism(self, sampler: Sampler, rounds: int) -> GaussianSteps | None:
        """What the accountant is told."""
        return sampler.mechanism(self.noise_multiplier, rounds)


@dataclass(frozen=True)
class Tree(_Clipped):
    """DP-FTRL: Gaussian noise from a binary tree over the rounds, a new tree every epoch.

    `Kairouz et al. (2021) <https://arxiv.org/abs/2103.00039>`_ with the variance reduction of Honaker (2015), as
    TensorFlow Privacy has it. It needs clients that take part once per epoch.

    Args:
        clip: L2 norm updates are clipped to.
        noise_multiplier: standard deviation of every node's noise over ``clip``.
    """

    kind: Literal["tree"] = "tree"

    def mechanism(self, sampler: Sampler, rounds: int) -> GaussianSteps | None:
        """What the accountant is told: a client is in one node of each level, so one tree is one Gaussian release of
        sensitivity clip · √levels.
        """
        if not isinstance(sampler, OncePerEpoch):
            raise InputError(
                "tree aggregation needs sampling of kind 'once-per-epoch': its noise pays for single participations."
            )
        levels = math.ceil(math.log2(sampler.rounds)) + 1
        return sampler.mechanism(self.noise_multiplier / math.sqrt(levels), rounds)


@dataclass(frozen=True)
class LocalNoise(_Clipped):
    """Local differential privacy: each client clips its update and adds the noise itself; nobody needs to be trusted.

    The claim is about what one client's messages show, so it composes over all rounds and sampling does not help.

    Args:
        clip: L2 norm a client clips its update to.
        noise_multiplier: standard deviation of each client's noise over ``clip``.
    """

    kind: Literal["local"] = "local"

    def mechanism(self, sampler: Sampler, rounds: int) -> GaussianSteps | None:
        """What the accountant is told: a client may be asked in every round (in one per epoch with once-per-epoch)."""
        return (sampler if isinstance(sampler, OncePerEpoch) else AllClients()).mechanism(self.noise_multiplier, rounds)


@dataclass(frozen=True)
class Distributed(_Clipped):
    """Distributed discrete Gaussian noise under secure aggregation (`Kairouz, Liu and Steinke (2021)
    <https://arxiv.org/abs/2102.06387>`_): each client adds a share, the server sees the sum only.

    Updates are clipped, scaled, rounded to integers at random and summed modulo 2^bits. A round in which fewer than
    ``threshold`` of the expected clients answer is given up, because noise shares would be missing.
    The accountant takes the sum of discrete Gaussians for one continuous Gaussian; with shares of several units the
    difference is far below the printed digits.

    Args:
        clip: L2 norm updates are clipped to.
        noise_multiplier: standard deviation over sensitivity of the noise in the smallest sum that is accepted.
        scale: integer units per unit of an update.
        bits: of the modular sum.
        threshold: share of the expected clients that must answer.
    """

    scale: float = 1e4
    bits: int = 24
    threshold: float = 0.5
    kind: Literal["distributed"] = "distributed"

    def __post_init__(self) -> None:
        super().__post_init__()
        check.positive("scale", self.scale)
        check.integer("bits", self.bits, at_least=8, at_most=31)
        if not 0 < check.number("threshold", self.threshold) <= 1:
            raise InputError(f"threshold must be in (0, 1], got {self.threshold!r}.")

    def least(self, expected: float) -> int:
        """Clients that must answer."""
        return max(1, math.ceil(self.threshold * expected))

    def bound(self, coordinates: int) -> float:
        """L2 norm, in integer units, that a rounded update keeps: the paper's conditional rounding, β = e^(-1/2)."""
        norm = self.scale * self.clip
        rounded = norm**2 + coordinates / 4 + norm + math.sqrt(coordinates) / 2
        return min(norm + math.sqrt(coordinates), math.sqrt(rounded))

    def share(self, expected: float, coordinates: int) -> float:
        """Scale of one client's discrete Gaussian noise, in integer units.

        Raises:
            InputError: a share would be below two units, too coarse for the accountant.
        """
        exact = self.noise_multiplier * self.bound(coordinates) / math.sqrt(self.least(expected))
        if 0 < exact < 2:
            raise InputError(f"scale {self.scale:g} makes a noise share of {exact:.2g} units; it must be at least 2.")
        return exact


Aggregator = PlainMean | FixedClip | AdaptiveClip | Tree | LocalNoise | Distributed
NamedAggregator = Annotated[Aggregator, Field(discriminator="kind")]
