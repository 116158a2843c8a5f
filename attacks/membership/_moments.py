"""Mean and spread of the reference models' φ with and without each record, also with one pair of models left out."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import gammaln

from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.out_of_core import over_records, releasing
from dpaudit.scores.signals import Signals

Variance = Literal["shrunk", "per-record", "residual", "raw"]
VARIANCES: tuple[str, ...] = ("shrunk", "per-record", "residual", "raw")

# Prior degrees of freedom when too few models are there to fit them: a t distribution with a finite fourth moment.
FALLBACK_DEGREES = 6.0


@dataclass(frozen=True)
class Moments:
    """Per record: number of models, their mean φ, and the sum of squared deviations from it, each (records,)."""

    count: FloatArray
    mean: FloatArray
    squares: FloatArray

    @classmethod
    def of(cls, phi: FloatArray, where: BoolArray) -> "Moments":
        """Over the models (axis 0) with ``where``; both of shape (models, records)."""
        count = where.sum(axis=0).astype(np.float64)
        at_least_one = np.maximum(count, 1.0)
        mean = np.einsum("mr,mr->r", phi, where.astype(np.float64)) / at_least_one
        deviation = np.where(where, phi - mean, 0.0)
        mean = mean + deviation.sum(axis=0) / at_least_one  # a second pass takes out the first one's rounding
        deviation = np.where(where, phi - mean, 0.0)
        return cls(count, mean, np.einsum("mr,mr->r", deviation, deviation))

    def without(self, value: FloatArray) -> "Moments":
        """The moments after one model's φ, ``value`` (records,), is taken out again."""
        count = self.count - 1.0
        left = np.maximum(count, 1.0)
        deviation = value - self.mean
        mean = self.mean - deviation / left
        squares = self.squares - deviation * deviation * (self.count / left)
        return Moments(count, mean, np.where(count > 1, np.maximum(squares, 0.0), 0.0))


class SideMoments(NamedTuple):
    """Moments over the reference models trained with the record (``inside``) and without it (``outside``)."""

    inside: Moments
    outside: Moments


# φ -> the number whose moments are wanted, of the same shape.
Of = Callable[[FloatArray], FloatArray]


def side_moments(signals: Signals, *, of: Of = np.asarray) -> SideMoments:
    """Both moments of one target's references, which may be larger than memory."""
    return _sides(signals.reference, signals.included, of)


def _sides(phi: FloatArray, included: BoolArray, of: Of) -> SideMoments:
    def block(phi: FloatArray, included: BoolArray) -> tuple[FloatArray, ...]:
        values = of(np.asarray(phi, np.float64))
        inside, outside = Moments.of(values, included), Moments.of(values, ~included)
        return inside.count, inside.mean, inside.squares, outside.count, outside.mean, outside.squares

    found = over_records(block, phi, included)
    return SideMoments(Moments(*found[:3]), Moments(*found[3:]))


def moments_without_pairs(
    phi: FloatArray, included: BoolArray, *, of: Of = np.asarray
) -> Iterator[tuple[int, FloatArray, SideMoments]]:
    """(first model of the pair, its numbers (2, records), moments over all other models) for every pair (2k, 2k + 1).

    One member of a pair was trained on a record exactly when the other was not, so one value leaves each side.
    """
    inside, outside = _sides(phi, included, of)
    for first in releasing(range(0, len(phi), 2), phi, included):
        pair = of(np.array(phi[first : first + 2], np.float64))
        with_record = np.where(included[first], pair[0], pair[1])
        left = SideMoments(inside.without(with_record), outside.without(pair[0] + pair[1] - with_record))
        del with_record
        yield first, pair, left
        del pair, left  # of every record: not held while the next pair is read


@dataclass(frozen=True)
class Spread:
    """A location-scale law per record: Student-t with ``degrees`` degrees of freedom, normal when they are infinite.

    ``location`` and ``scale`` have shape (records,); ``degrees`` is one number when all records have as many models.
    """

    location: FloatArray
    scale: FloatArray
    degrees: FloatArray | float

    def z(self, phi: FloatArray) -> FloatArray:
        """Standardised φ, shape (records,)."""
        score: FloatArray = (phi - self.location) / self.scale
        return score

    def log_density(self, phi: FloatArray) -> FloatArray:
        """Log-density of φ, shape (records,)."""
        squared = np.square(self.z(phi))
        if isinstance(self.degrees, float) and math.isinf(self.degrees):
            return self._offset - 0.5 * squared
        student: FloatArray = self._offset - 0.5 * (self.degrees + 1) * np.log1p(squared / self.degrees)
        return student

    @cached_property
    def _offset(self) -> FloatArray:
        """The part of the log-density that does not depend on φ."""
        nu = np.asarray(self.degrees)
        if np.isinf(nu).all():
            constant = np.asarray(-0.5 * np.log(2 * np.pi))
        else:
            constant = gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * np.log(np.pi * nu)
        offset: FloatArray = constant - np.log(self.scale)
        return offset


def fit_spread(moments: Moments, variance: Variance, *, location: FloatArray | None = None) -> Spread:
    """The law of φ on one side under one of the four variances; see `Lira` for what they are.

    Raises:
        InputError: a record has too few models on this side, or φ does not vary at all.
    """
    centre = moments.mean if location is None else location
    match variance:
        case "raw":
            return Spread(centre, np.full_like(centre, np.sqrt(_raw_variance(moments))), np.inf)
        case "residual":
            require_models(moments, 2, "a pooled residual variance")
            pooled = _pooled_residuals(moments, centre)
            return Spread(centre, np.full_like(centre, np.sqrt(above_zero(pooled))), np.inf)
        case "per-record":
            require_models(moments, 2, "a variance per record")
            # The published code adds 1e-30 to the standard deviation of records whose signals are all equal.
            return Spread(centre, np.sqrt(moments.squares / moments.count) + 1e-30, np.inf)
        case "shrunk":
            return _student(moments, centre)


def _student(moments: Moments, centre: FloatArray) -> Spread:
    """Posterior predictive of φ with s² ~ inverse gamma around the pooled variance and a flat prior on the mean.

    The prior's degrees of freedom come from the spread of the per-record variances by the method of moments: empirical
    Bayes, as `Smyth (2004) <https://doi.org/10.2202/1544-6115.1027>`_ made it common for many small samples.
    """
    require_models(moments, 1, "a shrunk variance")
    # One model per side: the only spread there is lies between records, which is an upper bound.
    common, prior = variance_prior(moments) or (_raw_variance(moments), FALLBACK_DEGREES)
    equal = moments.count.min() == moments.count.max()
    degrees = prior + (float(moments.count[0]) if equal else moments.count) - 1
    scale = ((prior - 2) * common + moments.squares) / degrees * (1 + 1 / moments.count)
    return Spread(centre, np.sqrt(scale), degrees)


def variance_prior(moments: Moments) -> tuple[float, float] | None:
    """Mean and degrees of freedom of the inverse-gamma law of the records' variances; None with one model a side."""
    varied = moments.count > 1
    if not varied.any():
        return None
    some = moments.squares if varied.all() else moments.squares[varied]
    free = moments.count[varied] - 1
    common = above_zero(float(some.sum() / free.sum()))
    return common, _prior_degrees(some / free, free, common)


def _prior_degrees(variances: FloatArray, free: FloatArray, common: float) -> float:
    """Degrees of freedom ν of an inverse-gamma law of true variances, from the sample variances' relative variance.

    A sample variance with f degrees of freedom has E[s⁴] = E[σ⁴]·(1 + 2/f), and E[σ⁴]/E[σ²]² = (ν - 2)/(ν - 4).
    """
    fourth = float(np.mean(np.square(variances) / (1 + 2 / free)))
    ratio = fourth / common**2
    if ratio <= 1.0:
        return 1e6  # the sample variances differ by no more than chance: one variance for all
    if variances.size < 2:
        return FALLBACK_DEGREES
    return float(np.clip((4 * ratio - 2) / (ratio - 1), 4.0, 1e6))


def _raw_variance(moments: Moments) -> float:
    total = moments.count.sum()
    if total < 2:
        raise InputError(f"a pooled variance needs at least 2 reference signals on each side, got {int(total)}.")
    mean = float((moments.count * moments.mean).sum() / total)
    between = moments.count * np.square(moments.mean - mean)
    return above_zero(float((moments.squares + between).sum() / total))


def _pooled_residuals(moments: Moments, centre: FloatArray) -> float:
    """Variance of φ - centre over all models and records together (the mean residual taken out)."""
    total = moments.count.sum()
    shift = moments.mean - centre
    mean = float((moments.count * shift).sum() / total)
    return float((moments.squares + moments.count * np.square(shift - mean)).sum() / total)


def require_models(moments: Moments, least: int, what: str) -> None:
    """Refuse records with fewer than ``least`` models on this side; ``what`` is what needs them."""
    short = moments.count < least
    if short.any():
        raise InputError(
            f"{what} needs at least {least} reference model(s) trained with and {least} without every record; "
            f"{int(short.sum())} of {short.size} records have fewer, the first at index {int(np.argmax(short))}."
        )


def above_zero(variance: float) -> float:
    if variance <= 0:
        raise InputError("the reference signals do not vary at all, so no variance can be fitted to them.")
    return variance


def medians(signals: Signals) -> tuple[FloatArray, FloatArray]:
    """Median φ over the reference models trained with each record, and over those trained without it.

    A record without models on a side has median 0 there, which `fit_spread` never uses: it refuses such a record.
    """

    def block(phi: FloatArray, included: BoolArray) -> tuple[FloatArray, ...]:
        values = np.asarray(phi, np.float64)
        return _median(values, included), _median(values, ~included)

    inside, outside = over_records(block, signals.reference, signals.included)
    return inside, outside


def _median(phi: FloatArray, where: BoolArray) -> FloatArray:
    if not len(phi):
        return np.zeros(phi.shape[1])
    ordered = np.sort(np.where(where, phi, np.inf), axis=0)
    count = where.sum(axis=0)
    low = np.take_along_axis(ordered, np.maximum((count - 1) // 2, 0)[None], axis=0)[0]
    high = np.take_along_axis(ordered, (count // 2)[None].clip(max=len(phi) - 1), axis=0)[0]
    high = np.where(count % 2 == 1, low, high)
    return np.where(count > 0, (np.where(count > 0, low, 0.0) + np.where(count > 0, high, 0.0)) / 2, 0.0)
