"""Randomness as a function of (seed, model, purpose, step) alone.

A model is therefore the same whichever others it was stacked with, whichever worker ran it, and after a resume.
Inside a TensorFlow program the numbers come from Threefry-2x32 with 20 rounds, a counter-based generator
(`Salmon et al. (2011) <https://doi.org/10.1145/2063384.2063405>`_), outside it from numpy's Philox.
Normals are the inverse distribution function of 23-bit uniforms: |z| stays below 5.4, which is good for audits and
research and not for a model whose noise protects someone.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dpaudit._tensorflow import tf

_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_PARITY = 0x1BD11BDA
_NAMED = 0x6E616D65


def generator(seed: int, model: int, purpose: str, *counters: int) -> np.random.Generator:
    """numpy's Philox for one purpose of one model; ``counters`` tell steps apart.

    >>> int(generator(1, 0, "batches", 3).integers(100)) == int(generator(1, 0, "batches", 3).integers(100))
    True
    """
    return np.random.Generator(np.random.Philox(key=_key(seed, model, purpose, *counters)))


@dataclass(frozen=True)
class Stream:
    """Counter-based random numbers for a stack of models.

    Args:
        keys: two words per model, uint32, shape (models, 2).
        step: the training step, an int32 scalar.
    """

    keys: Any
    step: Any

    @classmethod
    def start(cls, seed: int, models: Sequence[int], purpose: str) -> "Stream":
        """Of some models of a family, at step 0."""
        keys = np.array([_key(seed, model, purpose)[0] for model in models], np.uint64)
        words = np.stack([keys & 0xFFFFFFFF, keys >> np.uint64(32)], axis=1).astype(np.uint32)
        return cls(tf.constant(words), tf.constant(0, tf.int32))

    def at(self, step: Any) -> "Stream":
        """The same stream at another step."""
        return Stream(self.keys, step)

    def named(self, name: str) -> "Stream":
        """A stream of its own for one layer or variable."""
        word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
        first, second = threefry(self.keys[:, :1], self.keys[:, 1:], _word(word), _word(_NAMED))
        return Stream(tf.concat([first, second], axis=1), self.step)


def threefry(key0: Any, key1: Any, x0: Any, x1: Any) -> tuple[Any, Any]:
    """Threefry-2x32-20: two keyed pseudo-random words for each counter (x0, x1); all uint32, broadcast together."""
    keys = (key0, key1, tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(key0, key1), _word(_PARITY)))
    x0, x1 = x0 + keys[0], x1 + keys[1]
    for turn in range(20):
        x0 = x0 + x1
        x1 = tf.bitwise.bitwise_xor(_rotated(x1, _ROTATIONS[turn % 8]), x0)
        if turn % 4 == 3:
            injection = turn // 4 + 1
            x0 = x0 + keys[injection % 3]
            x1 = x1 + keys[(injection + 1) % 3] + _word(injection)
    return x0, x1


def words(stream: Stream, count: Any) -> Any:
    """Random uint32 words, shape (models, count)."""
    half = (count + 1) // 2
    index = tf.bitcast(tf.range(half), tf.uint32)[None, :]
    step = tf.bitcast(stream.step, tf.uint32)
    first, second = threefry(stream.keys[:, :1], stream.keys[:, 1:], index, step)
    return tf.concat([first, second], axis=1)[:, :count]


def uniform(stream: Stream, count: Any) -> Any:
    """Uniform float32 in (0, 1), symmetric about 1/2, shape (models, count)."""
    mantissa = tf.bitwise.right_shift(words(stream, count), _word(9))
    return tf.cast(tf.bitcast(mantissa, tf.int32), tf.float32) * 2.0**-23 + 2.0**-24


def normal(stream: Stream, count: Any) -> Any:
    """Standard normal float32, shape (models, count)."""
    return math.sqrt(2) * tf.math.erfinv(2 * uniform(stream, count) - 1)


def _key(seed: int, model: int, purpose: str, *counters: int) -> Any:
    text = ":".join([str(int(seed)), str(int(model)), purpose, *(str(int(counter)) for counter in counters)])
    return np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], np.uint64)


def _word(value: int) -> Any:
    return tf.constant(value, tf.uint32)


def _rotated(x: Any, bits: int) -> Any:
    return tf.bitwise.bitwise_or(tf.bitwise.left_shift(x, _word(bits)), tf.bitwise.right_shift(x, _word(32 - bits)))
