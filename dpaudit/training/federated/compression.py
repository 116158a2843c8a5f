"""What a client sends instead of its whole update, and how many bytes that is.

A compressor maps updates (clients, coordinates) to what the server decodes from them. It works before the update is
clipped and noised, so it changes utility and what an eavesdropper sees, not the accounting.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.strict import Strict

FLOAT_BYTES = 4
INDEX_BYTES = 4
SEED_BYTES = 8


@dataclass(frozen=True)
class Whole(Strict):
    """Everything, as float32."""

    kind: Literal["none"] = "none"

    def bytes_per_client(self, coordinates: int) -> int:
        """Bytes one client sends.

        >>> Whole().bytes_per_client(1000)
        4000
        """
        return FLOAT_BYTES * coordinates

    def __call__(self, updates: Any, *, keys: Any) -> Any:
        """The updates."""
        return updates


@dataclass(frozen=True)
class TopK(Strict):
    """The share of coordinates that are largest in magnitude, with their indices."""

    share: float
    kind: Literal["top-k"] = "top-k"

    def __post_init__(self) -> None:
        _share(self.share)

    def kept(self, coordinates: int) -> int:
        """Coordinates sent."""
        return max(1, round(self.share * coordinates))

    def bytes_per_client(self, coordinates: int) -> int:
        """Bytes one client sends."""
        return (FLOAT_BYTES + INDEX_BYTES) * self.kept(coordinates)

    def __call__(self, updates: Any, *, keys: Any) -> Any:
        """Zero outside of the largest coordinates of each client."""
        from dpaudit.runtime.tensorflow import tf

        count = self.kept(updates.shape[1])
        positions = tf.math.top_k(tf.abs(updates), count, sorted=False).indices
        values = tf.gather(updates, positions, batch_dims=1)
        clients = tf.repeat(tf.range(tf.shape(updates)[0]), count)
        return tf.scatter_nd(
            tf.stack([clients, tf.reshape(positions, [-1])], axis=1), tf.reshape(values, [-1]), tf.shape(updates)
        )


@dataclass(frozen=True)
class RandomMask(Strict):
    """Each coordinate with probability ``share``, divided by it to keep the mean; the mask travels as a seed."""

    share: float
    kind: Literal["random-mask"] = "random-mask"

    def __post_init__(self) -> None:
        _share(self.share)

    def bytes_per_client(self, coordinates: int) -> int:
        """Bytes one client sends, on average."""
        return FLOAT_BYTES * round(self.share * coordinates) + SEED_BYTES

    def __call__(self, updates: Any, *, keys: Any) -> Any:
        """Masked and scaled up."""
        from dpaudit.engine.randomness import Stream, uniform
        from dpaudit.runtime.tensorflow import tf

        drawn = uniform(Stream(keys, tf.constant(0)), updates.shape[1])
        return tf.where(drawn < self.share, updates / self.share, 0.0)


@dataclass(frozen=True)
class EightBit(Strict):
    """256 levels between the client's smallest and largest coordinate, rounded at random so that the mean is right."""

    kind: Literal["8-bit"] = "8-bit"

    def bytes_per_client(self, coordinates: int) -> int:
        """Bytes one client sends: a byte per coordinate, and the two ends."""
        return coordinates + 2 * FLOAT_BYTES

    def __call__(self, updates: Any, *, keys: Any) -> Any:
        """Rounded to the levels."""
        from dpaudit.engine.randomness import Stream, uniform
        from dpaudit.runtime.tensorflow import tf

        low = tf.reduce_min(updates, axis=1, keepdims=True)
        step = tf.maximum((tf.reduce_max(updates, axis=1, keepdims=True) - low) / 255, 1e-30)
        level = tf.floor((updates - low) / step + uniform(Stream(keys, tf.constant(0)), updates.shape[1]))
        return low + step * tf.clip_by_value(level, 0.0, 255.0)


@dataclass(frozen=True)
class Sign(Strict):
    """One bit per coordinate, times the mean magnitude (`Bernstein et al. (2018)
    <https://arxiv.org/abs/1802.04434>`_, scaled as in `Karimireddy et al. (2019) <https://arxiv.org/abs/1901.09847>`_).
    """

    kind: Literal["sign"] = "sign"

    def bytes_per_client(self, coordinates: int) -> int:
        """Bytes one client sends."""
        return math.ceil(coordinates / 8) + FLOAT_BYTES

    def __call__(self, updates: Any, *, keys: Any) -> Any:
        """Signs times the mean magnitude."""
        from dpaudit.runtime.tensorflow import tf

        return tf.sign(updates) * tf.reduce_mean(tf.abs(updates), axis=1, keepdims=True)


Compression = Annotated[Whole | TopK | RandomMask | EightBit | Sign, Field(discriminator="kind")]


def _share(share: float) -> None:
    if not 0 < check.number("share", share) <= 1:
        raise InputError(f"share must be in (0, 1], got {share!r}.")
