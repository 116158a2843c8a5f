"""Asking a mechanism questions: batches of chosen gradients in, checked releases out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from dpaudit.accounting.law import DiscreteGaussian, Laplace, correlated
from dpaudit.inspection.clock import Clock
from dpaudit.inspection.mechanism import Array, Mechanism, Stated
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError

# What a mechanism that cannot take a batch raises; anything else (no memory, an interrupt) is not about the batch.
RAISED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Probe:
    """A mechanism, what it says of itself, and the error the audit may make.

    Args:
        level: chance that one check raises a false alarm.
        seed: seed of the canaries' directions.
        clock: of all questions together.

    Gradients travel as one matrix (batch, coordinates) here; the mechanism gets them as a list of float32 arrays.
    """

    mechanism: Mechanism
    stated: Stated
    level: float
    seed: int
    clock: Clock = field(default_factory=Clock)

    @cached_property
    def slices(self) -> list[slice]:
        """Where each variable lies among the coordinates."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.mechanism.shapes])
        return [
            slice(int(end - np.prod(shape)), int(end)) for end, shape in zip(ends, self.mechanism.shapes, strict=True)
        ]

    @property
    def coordinates(self) -> int:
        """Numbers in one gradient."""
        return int(self.slices[-1].stop)

    @property
    def batch_size(self) -> int:
        """Examples in an ordinary batch."""
        return self.mechanism.batch_size

    def zeros(self, batch_size: int) -> Array:
        """A batch with nothing to protect."""
        return np.zeros((batch_size, self.coordinates), np.float32)

    def alike(self, batch_size: int, norm: float, unit: FloatArray) -> Array:
        """A batch of so many gradients of this norm along one direction."""
        with np.errstate(over="ignore"):
            return np.tile((norm * unit).astype(np.float32), (batch_size, 1))

    @cached_property
    def _made(self) -> dict[int | None, FloatArray]:
        return {}

    def direction(self, variable: int | None) -> FloatArray:
        """A vector of norm 1 within one variable, or over all of them with an equal share of the norm for each."""
        if variable not in self._made:
            self._made[variable] = self._direction(variable)
        return self._made[variable]

    def _direction(self, variable: int | None) -> FloatArray:
        rng = np.random.default_rng([self.seed, 0 if variable is None else variable + 1])
        unit = np.zeros(self.coordinates)
        for index, part in enumerate(self.slices):
            if variable is None or index == variable:
                # Coordinates of one size, so that a clip of single values shows at its worst.
                signs = rng.choice((-1.0, 1.0), part.stop - part.start)
                unit[part] = signs / math.sqrt(signs.size)
        return unit / self.stated.length(unit)

    def random_direction(self, rng: np.random.Generator) -> FloatArray:
        """A vector of norm 1 that no program knows."""
        drawn = rng.standard_normal(self.coordinates)
        return drawn / self.stated.length(drawn)

    def arrays(self, batch: Array) -> list[Array]:
        """A matrix of gradients as the list the mechanism takes."""
        with np.errstate(over="ignore"):  # a canary beyond float32 is meant to be infinite there
            single = batch.astype(np.float32)
        return [
            single[:, part].reshape(len(batch), *shape)
            for part, shape in zip(self.slices, self.mechanism.shapes, strict=True)
        ]

    def reset(self) -> None:
        """Put the mechanism back to its start."""
        if self.mechanism.reset is None:
            raise InputError("this question needs a mechanism that can be reset.")
        self.mechanism.reset()

    def raw(self, batch: Array, *, reset: bool = False) -> FloatArray:
        """One release as a vector (coordinates,), NaN and infinities included.

        Raises:
            InputError: it raised, or did not return one array per variable in the variable's shape.
        """
        if reset:
            self.reset()
        return self.answer(self.arrays(batch), from_start=not reset)

    def answer(self, gradients: list[Array], *, from_start: bool = False) -> FloatArray:
        """As `raw`, for gradients that `arrays` has made. ``from_start``: by a new mechanism where steps depend."""
        mechanism = self.mechanism
        if from_start and correlated(self.stated.law) is not None and mechanism.fresh is not None:
            mechanism = mechanism.fresh()
        try:
            release = mechanism.release(gradients)
        except RAISED as error:
            size = len(gradients[0])
            hint = (
                f" (where it takes only batches of {self.batch_size}: Mechanism(partial=False), --fixed-batches)"
                if size not in (0, self.batch_size) and mechanism.partial
                else ""
            )
            raise InputError(
                f"{mechanism.name} raised {type(error).__name__} on a batch of {size} gradients: {error}{hint}"
            ) from error
        return self._vector(release)

    def release(self, batch: Array, *, reset: bool = False) -> FloatArray:
        """One release as a vector (coordinates,).

        Raises:
            InputError: as `raw`, or a value is NaN or infinite.
        """
        return self._finite(self.raw(batch, reset=reset), len(batch))

    def releases(self, batch: Array, calls: int, *, least: int | None = None) -> FloatArray:
        """Several releases of one batch, shape (calls, coordinates); no more than ``least`` when the time is over."""
        gradients = self.arrays(batch)
        found: list[FloatArray] = []
        while len(found) < calls and (least is None or len(found) < least or self.clock.left > 0):
            found.append(self.finite_answer(gradients))
        return np.stack(found)

    def finite_answer(self, gradients: list[Array]) -> FloatArray:
        """One release of prepared gradients, by a new mechanism where steps depend on each other."""
        return self._finite(self.answer(gradients, from_start=True), len(gradients[0]))

    def sequence(self, batches: Sequence[list[Array]]) -> FloatArray:
        """Releases of prepared batches, one after another, shape (calls, coordinates)."""
        return np.stack([self._finite(self.answer(batch), len(batch[0])) for batch in batches])

    def _finite(self, vector: FloatArray, size: int) -> FloatArray:
        bad = int((~np.isfinite(vector)).sum())
        if bad:
            raise InputError(
                f"{self.mechanism.name} returned NaN or infinity in {bad} of {vector.size} coordinates "
                f"for a batch of {size} finite gradients."
            )
        return vector

    def scores(self, release: FloatArray, batch_size: int) -> FloatArray:
        """Normal scores of a release of zeros, at the first step where steps depend on each other."""
        stated = self.stated
        if isinstance(stated.law, Laplace | DiscreteGaussian):
            rng = np.random.default_rng([self.seed, 34])
            scale = stated.noise_multiplier * stated.clip
            return stated.law.scores(release * stated.divisor(batch_size), scale, rng)
        scores: FloatArray = release / stated.first_noise(batch_size)
        return scores

    def anew(self) -> "Probe":
        """The same questions to the mechanism built again."""
        if self.mechanism.fresh is None:
            raise InputError(f"{self.mechanism.name} cannot be built anew: give Mechanism(fresh=...).")
        return replace(self, mechanism=self.mechanism.fresh())

    def _vector(self, release: Sequence[Array]) -> FloatArray:
        shapes = self.mechanism.shapes
        if not isinstance(release, list | tuple) or len(release) != len(shapes):
            got = f"{len(release)} arrays" if isinstance(release, list | tuple) else type(release).__name__
            raise InputError(f"{self.mechanism.name} must return a list of {len(shapes)} arrays, got {got}.")
        arrays = [np.asarray(part) for part in release]
        for index, (array, shape) in enumerate(zip(arrays, shapes, strict=True)):
            if array.shape != tuple(shape):
                raise InputError(
                    f"{self.mechanism.name} must return shape {tuple(shape)} for variable {index}, got {array.shape}."
                )
            if array.dtype.kind not in "fiu":
                raise InputError(f"{self.mechanism.name} must return numbers, got {array.dtype} for variable {index}.")
        return np.concatenate([array.ravel().astype(np.float64) for array in arrays])
