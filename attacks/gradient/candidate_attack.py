"""The candidate attack on the trace of a DP-SGD or DP-FedAvg run: which of M candidates was in the training data?

`Hayes, Mahloujifar and Balle (2023) <https://arxiv.org/abs/2302.07225>`_. The attacker knows every other record, the
initial weights and all releases; subtracting what the known records contributed leaves the unknown contribution plus
noise. Under Poisson sampling the likelihood ratio is the best statistic (Neyman and Pearson); the plain sum is what
the paper uses. With M equally likely candidates guessing succeeds with probability 1/M exactly, so the success is
compared with the reconstruction bound at κ = 1/M.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from dpaudit.attacks.gradient.dense_network import Floats
from dpaudit.attacks.gradient.view import GradientView, NoisyReleases
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray
from dpaudit.runtime.errors import InputError


@dataclass(frozen=True)
class PrivacyUnits:
    """Units of privacy with their data: one record each, or all records of one user each.

    Args:
        features: (units, ...) for records, (units, records per user, ...) for users.
        labels: (units,) or (units, records per user).
    """

    features: Floats
    labels: IntArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", check.finite("features", self.features).astype(np.float32))
        units = self.labels.ndim
        if units not in (1, 2) or self.labels.shape != self.features.shape[:units] or self.features.ndim == units:
            raise InputError(
                f"labels must have shape (units,) or (units, records per user) to go with features of shape "
                f"{self.features.shape}, got {self.labels.shape}."
            )

    def __len__(self) -> int:
        return len(self.features)


class GradientModel(Protocol):
    """Gradients of single records at a stack of flat weight vectors: `DenseNetwork`, `KerasNetwork`."""

    def weighted_sums(
        self, flat: Floats, features: Floats, labels: IntArray, weight: Floats, *, clip: float | None = None
    ) -> Floats:
        """Σ over records of weight · ∇, each ∇ scaled down to norm ``clip`` first.

        Args:
            flat: shape (stack, parameters).
            features: shape (records, ...).
            labels: shape (records,).
            weight: shape (stack, records).
            clip: None does not clip.
        """
        ...

    def products(self, flat: Floats, features: Floats, labels: IntArray, direction: Floats) -> tuple[Floats, Floats]:
        """⟨∇, direction⟩ with directions (stack, parameters), and |∇|², both of shape (stack, records)."""
        ...

    def initial(self, *, seed: int) -> npt.NDArray[np.float32]:
        """Fresh weights, flat, shape (parameters,)."""
        ...


class Contributions(Protocol):
    """What records or users add to a release, each clipped; any model can be attacked through these two."""

    @property
    def clip(self) -> float:
        """Norm every contribution is clipped to."""
        ...

    def total(self, weights: Floats, units: PrivacyUnits, took_part: BoolArray) -> Floats:
        """Sum of the clipped contributions of those who took part.

        Weights (steps, parameters) and took_part (steps, units) give (steps, parameters).
        """
        ...

    def inner(self, weights: Floats, units: PrivacyUnits, direction: Floats) -> tuple[FloatArray, FloatArray]:
        """Inner products of clipped contributions with ``direction`` (steps, parameters), and their squared norms.

        Both have shape (steps, units).
        """
        ...


@dataclass(frozen=True)
class RecordContributions:
    """DP-SGD: one record contributes its clipped gradient."""

    network: GradientModel
    clip: float

    def __post_init__(self) -> None:
        check.positive("clip", self.clip)

    def total(self, weights: Floats, units: PrivacyUnits, took_part: BoolArray) -> Floats:
        """Sum of clipped gradients, shape (steps, parameters)."""
        weight = took_part.astype(weights.dtype)
        return self.network.weighted_sums(weights, units.features, units.labels, weight, clip=self.clip)

    def inner(self, weights: Floats, units: PrivacyUnits, direction: Floats) -> tuple[FloatArray, FloatArray]:
        """Inner products and squared norms of clipped gradients, both (steps, units)."""
        products, squared = self.network.products(weights, units.features, units.labels, direction)
        norms = squared.astype(np.float64)
        factor = _clip_factor(norms, self.clip)
        return factor * products, factor**2 * norms


@dataclass(frozen=True)
class UserContributions:
    """DP-FedAvg: one user contributes the clipped change of the weights under local full-batch SGD."""

    network: GradientModel
    clip: float
    learning_rate: float
    local_steps: int

    def __post_init__(self) -> None:
        check.positive("clip", self.clip)
        check.positive("learning_rate", self.learning_rate)
        check.integer("local_steps", self.local_steps, at_least=1)

    def total(self, weights: Floats, units: PrivacyUnits, took_part: BoolArray) -> Floats:
        """Sum of clipped updates, shape (steps, parameters)."""
        total = np.zeros_like(weights)
        for unit in range(len(units)):
            total += took_part[:, unit, None] * self._clipped(weights, units, unit)
        return total

    def inner(self, weights: Floats, units: PrivacyUnits, direction: Floats) -> tuple[FloatArray, FloatArray]:
        """Inner products and squared norms of clipped updates, both (steps, units)."""
        updates = [self._clipped(weights, units, unit) for unit in range(len(units))]
        products = np.stack([(u * direction).sum(1, dtype=np.float64) for u in updates], axis=1)
        return products, np.stack([(u**2).sum(1, dtype=np.float64) for u in updates], axis=1)

    def _clipped(self, weights: Floats, units: PrivacyUnits, unit: int) -> Floats:
        features, labels = units.features[unit], units.labels[unit]
        local = weights
        share = np.full((len(weights), len(features)), 1 / len(features), weights.dtype)
        for _ in range(self.local_steps):
            local = local - self.learning_rate * self.network.weighted_sums(local, features, labels, share)
        update = local - weights
        return update * _clip_factor((update**2).sum(1), self.clip)[:, None]


@dataclass(frozen=True)
class CandidateAttack:
    """Scores every candidate for having been the one unknown record (or user) of a run; higher is more likely.

    Args:
        contributions: how a candidate would have entered a release.
        score: ``likelihood-ratio`` is the best statistic and needs the noise multiplier; ``sum`` is the published
            one and needs nothing.
    """

    contributions: Contributions
    score: Literal["likelihood-ratio", "sum"] = "likelihood-ratio"

    def __post_init__(self) -> None:
        check.one_of("score", self.score, ("likelihood-ratio", "sum"))

    def __call__(self, view: GradientView, *, known: PrivacyUnits, candidates: PrivacyUnits) -> FloatArray:
        """Scores (candidates,) from a trace, the attacker's known records and its candidates.

        Raises:
            InputError: the view is not a trace, or the trace has no noise and the likelihood ratio is asked for.
        """
        if not isinstance(view, NoisyReleases):
            raise InputError(f"the candidate attack reads a trace, got a {type(view).__name__}.")
        if view.clip != self.contributions.clip:
            raise InputError(f"the trace was clipped to {view.clip:g}, the attack assumes {self.contributions.clip:g}.")
        took_part = view.known_took_part
        if took_part is None:
            took_part = np.ones((view.steps, len(known)), bool)
        if took_part.shape != (view.steps, len(known)):
            raise InputError(
                f"known_took_part must have shape ({view.steps}, {len(known)}) for {len(known)} known records, got "
                f"{took_part.shape}."
            )
        residual = view.releases - self.contributions.total(view.weights, known, took_part)
        products, norms = self.contributions.inner(view.weights, candidates, residual)
        if self.score == "sum":
            return np.asarray(products.sum(0), np.float64)
        if view.noise_multiplier == 0:
            raise InputError("the likelihood ratio needs noise: noise_multiplier is 0; use score='sum'.")
        variance = (view.noise_multiplier * view.clip) ** 2
        log_ratio = (2 * products.astype(np.float64) - norms) / (2 * variance)
        if view.rate == 1:
            return np.asarray(log_ratio.sum(0))
        # The unknown record entered each batch by a coin of probability `rate`: a mixture, step by step.
        return np.asarray(np.logaddexp(np.log1p(-view.rate), np.log(view.rate) + log_ratio).sum(0))


def _clip_factor(squared: Floats, clip: float) -> Floats:
    norm = np.sqrt(np.maximum(squared, 1e-30))
    return np.asarray(np.minimum(1.0, clip / norm), squared.dtype)
