"""Randomness as a function of (seed, model, purpose, step) alone.

A model is therefore the same whichever others it was stacked with, whichever worker ran it, and after a resume.
Inside a TensorFlow program the numbers come from Threefry-2x32 with 20 rounds, a counter-based generator
(`Salmon et al. (2011) <https://doi.org/10.1145/2063384.2063405>`_), outside it from numpy's Philox.
The noise is float32 from a seed that the audit knows: good for audits and research, not for a model whose noise
protects someone.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dpaudit.engine.keys import key
from dpaudit.runtime.tensorflow import tf

_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_PARITY = 0x1BD11BDA
_NAMED = 0x6E616D65
_LANES = 16
_LOG = (
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)


@dataclass(frozen=True)
class Stream:
    """Counter-based random numbers for a stack of models.

    Args:
        keys: two words per model, uint32, shape (models, 2).
        step: the training step, an int32 scalar.
        example: place in the batch of the first example that draws, an int32 scalar.
    """

    keys: Any
    step: Any
    example: Any = 0

    @classmethod
    def start(cls, seed: int, models: Sequence[int], purpose: str) -> "Stream":
        """Of some models of a family, at step 0."""
        keys = np.array([key(seed, model, purpose)[0] for model in models], np.uint64)
        words = np.stack([keys & 0xFFFFFFFF, keys >> np.uint64(32)], axis=1).astype(np.uint32)
        return cls(tf.constant(words), tf.constant(0, tf.int32))

    def named(self, name: str) -> "Stream":
        """A stream of its own for one layer or variable."""
        first, second = threefry(self.keys[:, :1], self.keys[:, 1:], _word(_hashed(name)), _word(_NAMED))
        return Stream(tf.concat([first, second], axis=1), self.step, self.example)


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


def uniform(stream: Stream, examples: Any, width: int = 1) -> Any:
    """Uniform float32 in (0, 1), symmetric about 1/2, ``width`` per example, shape (models, examples * width).

    An example's numbers depend on its place in the batch alone.
    """
    index = tf.bitcast(stream.example * width + tf.range(examples * width), tf.uint32)[None, :]
    words, _ = threefry(stream.keys[:, :1], stream.keys[:, 1:], index, tf.bitcast(stream.step, tf.uint32))
    mantissa = tf.bitwise.right_shift(words, _word(9))
    return tf.cast(tf.bitcast(mantissa, tf.int32), tf.float32) * 2.0**-23 + 2.0**-24


def normal(stream: Stream, count: int) -> Any:
    """Standard normal float32, shape (models, count).

    Box and Muller's transform of a 31-bit radius and a 32-bit angle, so |z| < 6.7.
    """
    if stream.keys.shape[0] == 1:
        return _normal(stream.keys[0], stream.step, count)[None]
    return tf.map_fn(lambda key: _normal(key, stream.step, count), stream.keys, fn_output_signature=tf.float32)


def _normal(key: Any, step: Any, count: int) -> Any:
    # What is odd here makes XLA emit vector code on CPUs (measured: 2.6 against 20 to 70 ns a number): one axis, a
    # length that splits evenly, and both results as one complex number behind a branch that is always taken, so that
    # the words are not computed once more for each half.
    half = _half(count)

    def pairs() -> Any:
        index = tf.bitcast(tf.range(half), tf.uint32)
        return _box_muller(*threefry(key[:1], key[1:], index, tf.bitcast(step, tf.uint32)[None]))

    both = tf.cond(step >= 0, pairs, lambda: tf.zeros([half], tf.complex64))
    return tf.concat([tf.math.real(both), tf.math.imag(both)], axis=0)[:count]


def normals(stream: Stream, counts: Sequence[int]) -> list[Any]:
    """What `normal` gives for the streams named "0", "1", ..., shapes (models, count): one program for all of them,
    which is traced in the time of one.
    """
    halves = [_half(count) for count in counts]
    words = tf.constant([_hashed(f"{place}") for place in range(len(counts))], tf.uint32)
    named = threefry(stream.keys[:, :1], stream.keys[:, 1:], words, _word(_NAMED))
    key0, key1 = (tf.repeat(word, halves, axis=1) for word in named)
    index = tf.constant(np.concatenate([np.arange(half, dtype=np.uint32) for half in halves]))
    both = _box_muller(*threefry(key0, key1, index, tf.bitcast(stream.step, tf.uint32)[None]))
    parts = tf.split(both, halves, axis=1)
    return [
        tf.concat([tf.math.real(part), tf.math.imag(part)], axis=1)[:, :count]
        for part, count in zip(parts, counts, strict=True)
    ]


def _box_muller(radius: Any, angle: Any) -> Any:
    """Two independent standard normals as one complex number, from two random words."""
    u = tf.cast(tf.bitcast(tf.bitwise.right_shift(radius, _word(1)), tf.int32), tf.float32) * 2.0**-31 + 2.0**-32
    length = tf.sqrt(-2 * _log(u))
    bits = tf.bitcast(angle, tf.int32)
    # 30 bits are an angle within an eighth of a turn to either side; one bit swaps the axes, one is a sign.
    x = tf.cast(tf.bitwise.right_shift(tf.bitwise.left_shift(bits, 2), 2), tf.float32) * (math.pi * 2.0**-31)
    sine, cosine = _sine_cosine(x)
    sign = tf.bitwise.bitwise_and(bits, tf.constant(-(2**31), tf.int32))
    cosine = tf.bitcast(tf.bitwise.bitwise_xor(tf.bitcast(cosine, tf.int32), sign), tf.float32)
    swap = tf.bitwise.bitwise_and(bits, 2**30) > 0
    return tf.complex(length * tf.where(swap, sine, cosine), length * tf.where(swap, cosine, sine))


def _log(x: Any) -> Any:
    """Natural logarithm of normal float32 above 0, to float32 rounding: exponent plus the series of log1p.

    The polynomial is the classic minimax one of the Cephes library (Moshier 1992) on [√½, √2); written out, it
    compiles to a few vector instructions.
    """
    bits = tf.bitcast(x, tf.int32)
    exponent = tf.bitwise.right_shift(bits - 0x3F3504F3, 23)
    m = tf.bitcast(bits - tf.bitwise.left_shift(exponent, 23), tf.float32) - 1.0
    square = m * m
    series = 7.0376836292e-2
    for coefficient in _LOG:
        series = series * m + coefficient
    return tf.cast(exponent, tf.float32) * math.log(2) + (m - 0.5 * square + series * m * square)


def _sine_cosine(x: Any) -> tuple[Any, Any]:
    """Sine and cosine on [-π/4, π/4] to float32 rounding (the same library's polynomials)."""
    square = x * x
    sine = x + x * square * (-1.6666654611e-1 + square * (8.3321608736e-3 + square * -1.9515295891e-4))
    tail = 4.166664568298827e-2 + square * (-1.388731625493765e-3 + square * 2.443315711809948e-5)
    return sine, 1 - 0.5 * square + square * square * tail


def _half(count: int) -> int:
    """How many pairs of normal numbers are drawn for so many."""
    return -(-count // (2 * _LANES)) * _LANES


def _hashed(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")


def _word(value: int) -> Any:
    return tf.constant(value, tf.uint32)


def _rotated(x: Any, bits: int) -> Any:
    return tf.bitwise.bitwise_or(tf.bitwise.left_shift(x, _word(bits)), tf.bitwise.right_shift(x, _word(32 - bits)))
