"""Fixed ways to ask a model about a record again: every model is asked the same, so that the answers compare.

A query is a value: called with features and a seed it gives its copies of them, in order and always the same.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.strict import Strict

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Noise(Strict):
    """Copies with Gaussian noise on every feature.

    Args:
        scale: standard deviation of the noise.
        copies: how many.
    """

    scale: float
    copies: int = 1
    kind: Literal["noise"] = "noise"

    def __post_init__(self) -> None:
        check.positive("scale", self.scale)
        check.integer("copies", self.copies, at_least=1)

    def __call__(self, features: Features, *, seed: int) -> tuple[Features, ...]:
        """Copies of features (records, ...).

        >>> once, again = (Noise(0.1, copies=2)(np.zeros((3, 1), np.float32), seed=1) for _ in range(2))
        >>> np.array_equal(once, again), bool((once[0] == once[1]).any())
        (True, False)
        """
        rng = np.random.default_rng(seed)
        return tuple(
            features + self.scale * rng.standard_normal(features.shape, np.float32) for _ in range(self.copies)
        )


@dataclass(frozen=True)
class Flip(Strict):
    """The mirror image, left to right."""

    kind: Literal["flip"] = "flip"

    def __call__(self, features: Features, *, seed: int) -> tuple[Features, ...]:
        """One copy of images (records, height, width, channels); the seed is not used.

        >>> Flip()(np.array([[[[1], [2]]]], np.float32), seed=0)[0].ravel()
        array([2., 1.], dtype=float32)
        """
        _images(features, "flip")
        return (features[:, :, ::-1],)


@dataclass(frozen=True)
class Shift(Strict):
    """The image moved by whole pixels; what comes in is 0.

    Args:
        down: pixels down, up when negative.
        right: pixels to the right, to the left when negative.
    """

    down: int = 0
    right: int = 0
    kind: Literal["shift"] = "shift"

    def __post_init__(self) -> None:
        if not self.down and not self.right:
            raise InputError("a shift needs down or right other than 0.")

    def __call__(self, features: Features, *, seed: int) -> tuple[Features, ...]:
        """One copy of images (records, height, width, channels); the seed is not used.

        >>> Shift(right=1)(np.array([[[[1], [2]]]], np.float32), seed=0)[0].ravel()
        array([0., 1.], dtype=float32)
        """
        _images(features, "shift")
        moved = features
        for axis, by in ((1, self.down), (2, self.right)):
            size = moved.shape[axis]
            check.integer("shift", by, at_least=1 - size, at_most=size - 1)
            source = np.arange(size) - by
            inside = (source >= 0) & (source < size)
            shape = [1] * moved.ndim
            shape[axis] = size
            moved = np.where(inside.reshape(shape), np.take(moved, source.clip(0, size - 1), axis=axis), np.float32(0))
        return (moved,)


Query = Annotated[Noise | Flip | Shift, Field(discriminator="kind")]


def parse_query(text: str) -> Noise | Flip | Shift:
    """A query as a command takes it: its kind, then its numbers in order, between colons.

    Raises:
        InputError: it is none.

    >>> parse_query("noise:0.05:4"), parse_query("shift:0:1")
    (Noise(scale=0.05, copies=4, kind='noise'), Shift(down=0, right=1, kind='shift'))
    """
    kind, *rest = text.split(":")
    try:
        numbers = [float(each) for each in rest]
    except ValueError as error:
        raise InputError(f"the query {text!r} has something else than a number between its colons.") from error
    whole = [int(each) for each in numbers[1 if kind == "noise" else 0 :] if each.is_integer()]
    match kind, len(numbers), len(whole):
        case "noise", 1, 0:
            return Noise(numbers[0])
        case "noise", 2, 1:
            return Noise(numbers[0], copies=whole[0])
        case "flip", 0, 0:
            return Flip()
        case "shift", 2, 2:
            return Shift(down=whole[0], right=whole[1])
    raise InputError(f"{text!r} is no query; it is noise:SCALE, noise:SCALE:COPIES, flip or shift:DOWN:RIGHT.")


def _images(features: Features, what: str) -> None:
    if features.ndim != 4:
        raise InputError(
            f"a {what} needs images of shape (records, height, width, channels), got {features.shape}; use noise."
        )
