"""The arrays of a decoder by what they are, and its forward pass in NumPy, position by position."""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from dpaudit.attacks.gradient.view import Arrays
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError

EPSILON = 1e-5  # of the layer normalisations of `dpaudit.training.decoder.Decoder`
OF_A_BLOCK = 16


class Block(NamedTuple):
    """One block of a transformer: the arrays in the order of Keras; a head has its own axis.

    Kernels of query, key and value are (width, heads, size), biases (heads, size); ``mixed`` is (heads, size, width).
    """

    first_scale: FloatArray
    first_shift: FloatArray
    query: FloatArray
    query_bias: FloatArray
    key: FloatArray
    key_bias: FloatArray
    value: FloatArray
    value_bias: FloatArray
    mixed: FloatArray
    mixed_bias: FloatArray
    second_scale: FloatArray
    second_shift: FloatArray
    wide: FloatArray
    wide_bias: FloatArray
    narrow: FloatArray
    narrow_bias: FloatArray

    def attention_input(self, x: FloatArray) -> FloatArray:
        """What queries, keys and values are made of, same shape as the channels (..., width)."""
        return normalised(x, self.first_scale, self.first_shift)

    def projected(self, seen: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Queries (scaled), keys and values, (..., heads, size), of what `attention_input` gave."""
        kernels, biases = (self.query, self.key, self.value), (self.query_bias, self.key_bias, self.value_bias)
        query, key, value = (np.tensordot(seen, kernel, 1) + bias for kernel, bias in zip(kernels, biases, strict=True))
        return query / np.sqrt(self.query.shape[2]), key, value

    def dense_input(self, x: FloatArray, mixed: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Channels after attention, and what the first dense layer meets; ``mixed`` is (..., heads, size)."""
        after = x + np.tensordot(mixed, self.mixed, axes=2) + self.mixed_bias
        return after, normalised(after, self.second_scale, self.second_shift)

    def __call__(self, x: FloatArray) -> FloatArray:
        """Channels behind the block, of texts (texts, positions, width)."""
        query, key, value = self.projected(self.attention_input(x))
        scores = np.einsum("nihs,njhs->nhij", query, key)
        scores[..., ~np.tri(x.shape[1], dtype=bool)] = -np.inf
        after, met = self.dense_input(x, np.einsum("nhij,njhs->nihs", softmax(scores), value))
        hidden = met @ self.wide + self.wide_bias
        return np.asarray(after + hidden * ndtr(hidden) @ self.narrow + self.narrow_bias)


class DecoderArrays(NamedTuple):
    """Weights, or a gradient, of a `dpaudit.training.decoder.Decoder`."""

    tokens: FloatArray
    positions: FloatArray
    blocks: tuple[Block, ...]
    scale: FloatArray
    shift: FloatArray
    head: FloatArray
    head_bias: FloatArray

    @classmethod
    def of(cls, arrays: Arrays) -> "DecoderArrays":
        """From arrays in the order of the Keras model.

        Raises:
            InputError: they are no decoder's.
        """
        blocks, rest = divmod(len(arrays) - 6, OF_A_BLOCK)
        if blocks < 1 or rest or _shapes(arrays, blocks) != [array.shape for array in arrays]:
            raise InputError(
                'texts are read off gradients of the architecture "decoder" of dpaudit; the '
                f"{len(arrays)} arrays of this model are in another order or of other shapes."
            )
        each = [Block(*arrays[2 + OF_A_BLOCK * b : 2 + OF_A_BLOCK * (b + 1)]) for b in range(blocks)]
        return cls(arrays[0], arrays[1], tuple(each), *arrays[-4:])

    def embedded(self, tokens: FloatArray) -> FloatArray:
        """Channels (texts, positions, width) of tokens (texts, positions) that begin at the first position."""
        return np.asarray(self.tokens[tokens.astype(int)] + self.positions[: tokens.shape[-1]])

    def head_input(self, tokens: FloatArray) -> FloatArray:
        """What the head meets, (texts, positions, width)."""
        x = self.embedded(tokens)
        for block in self.blocks:
            x = block(x)
        return normalised(x, self.scale, self.shift)


def normalised(x: FloatArray, scale: FloatArray, shift: FloatArray) -> FloatArray:
    """Layer normalisation over the last axis."""
    centred = x - x.mean(-1, keepdims=True)
    return np.asarray(centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + EPSILON) * scale + shift)


def softmax(scores: FloatArray) -> FloatArray:
    """Over the last axis."""
    raised = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(raised / raised.sum(-1, keepdims=True))


def _shapes(arrays: Arrays, blocks: int) -> list[tuple[int, ...]]:
    """Shapes that the arrays have if they are a decoder's."""
    vocabulary, width = arrays[0].shape if arrays[0].ndim == 2 else (0, 0)
    heads, size = arrays[4].shape[1:] if arrays[4].ndim == 3 else (0, 0)
    apart, one = (width, heads, size), (heads, size)
    norm = [(width,), (width,)]
    attention = [apart, one, apart, one, apart, one, (heads, size, width), (width,)]
    block = [*norm, *attention, *norm, (width, 4 * width), (4 * width,), (4 * width, width), (width,)]
    table = [(vocabulary, width), (len(arrays[1]), width)]
    return [*table, *(block * blocks), *norm, (width, vocabulary), (vocabulary,)]
