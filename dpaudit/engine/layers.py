"""Layers with weights, applied to M models at once, and what each adds to a per-example gradient.

A layer is read off a Keras layer. ``prepare`` turns its input (models, examples, ...) into what its weights meet,
``apply`` maps the weights, each (models, ...), and that to the output before the activation, and ``contribution`` maps
that and the output's gradient to norms and weighted sums. An input that all models share may have a leading axis of 1.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from dpaudit.engine.conv_windows import Window
from dpaudit.engine.per_example_clipping import Contribution, kernel, materialised
from dpaudit.engine.sequence_layers import EinsumDense, Embedding, PositionTable
from dpaudit.engine.shapes import affine, dynamic_shape, for_models, positions, require_settings
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import tf


class WeightedLayer(Protocol):
    """A layer whose weights get per-example gradients."""

    def prepare(self, x: Any) -> Any:
        """What the weights meet: the input, its patches, its normalised form, or its ids."""
        ...

    def apply(self, weights: list[Any], a: Any) -> Any:
        """Output before the activation."""
        ...

    def contribution(self, a: Any, d: Any) -> Contribution:
        """Per-example gradients of the weights, given what they met and the gradient of the output."""
        ...


@dataclass(frozen=True)
class Dense:
    """Dense on the last axis; axes between the examples and it are positions that share the kernel."""

    bias: bool

    @classmethod
    def read(cls, layer: Any) -> "Dense":
        """From ``keras.layers.Dense``."""
        return cls(layer.use_bias)

    def prepare(self, x: Any) -> Any:
        """The input."""
        return x

    def apply(self, weights: list[Any], a: Any) -> Any:
        """Input times kernel, plus bias."""
        return affine(a, weights[0], weights[1] if self.bias else None)

    def contribution(self, a: Any, d: Any) -> Contribution:
        """One position for each entry of the middle axes."""
        return kernel(positions(a), positions(d), bias=self.bias)


@dataclass(frozen=True)
class Conv2D:
    """Two-dimensional convolution, channels last: the patches of the input times the kernel."""

    window: Window
    bias: bool

    @classmethod
    def read(cls, layer: Any) -> "Conv2D":
        """From ``keras.layers.Conv2D``."""
        require_settings(layer, data_format="channels_last", groups=1)
        return cls(Window(layer.kernel_size, layer.strides, layer.padding, layer.dilation_rate), layer.use_bias)

    def prepare(self, x: Any) -> Any:
        """The patches, (models, examples, rows, columns, inputs)."""
        return self.window.patches(x)

    def apply(self, weights: list[Any], a: Any) -> Any:
        """Patches times kernel, plus bias."""
        return affine(a, self.window.arranged(weights[0]), weights[1] if self.bias else None)

    def contribution(self, a: Any, d: Any) -> Contribution:
        """One position for each patch."""
        sums = kernel(positions(a), positions(d), bias=self.bias)
        channels = a.shape[-1] // (self.window.size[0] * self.window.size[1])

        def weighted_sum(weights: Any) -> list[Any]:
            first, *rest = sums.weighted_sum(weights)
            return [self.window.restored(first, channels), *rest]

        return Contribution(sums.squared_norms, weighted_sum)


@dataclass(frozen=True)
class DepthwiseConv2D:
    """One kernel per input channel, channels last."""

    window: Window
    bias: bool

    @classmethod
    def read(cls, layer: Any) -> "DepthwiseConv2D":
        """From ``keras.layers.DepthwiseConv2D``."""
        require_settings(layer, data_format="channels_last")
        return cls(Window(layer.kernel_size, layer.strides, layer.padding, layer.dilation_rate), layer.use_bias)

    def prepare(self, x: Any) -> Any:
        """The patches by channel, (models, examples, rows, columns, taps, channels)."""
        patches = self.window.patches(x)
        return tf.reshape(patches, [*dynamic_shape(patches)[:-1], -1, x.shape[-1]])

    def apply(self, weights: list[Any], a: Any) -> Any:
        """Sum over the taps of each channel, plus bias."""
        arranged = self.window.arranged(weights[0])
        taps = tf.reshape(arranged, [weights[0].shape[0], a.shape[-2], a.shape[-1], arranged.shape[-1]])
        z = tf.reduce_sum(a[..., None] * taps[:, None, None, None], axis=4)
        z = tf.reshape(z, [*dynamic_shape(z)[:-2], z.shape[-2] * z.shape[-1]])
        return z + weights[1][:, None, None, None, :] if self.bias else z

    def contribution(self, a: Any, d: Any) -> Contribution:
        """Per-example gradients are as small as the kernel, so they are held."""
        taps, channels = a.shape[-2:]
        columns = positions(d)
        split = tf.reshape(columns, [*dynamic_shape(columns)[:3], channels, -1])
        rows = tf.reshape(a, [a.shape[0], tf.shape(a)[1], -1, taps, channels])
        gradient = tf.einsum("mbpkc,mbpcq->mbkcq", for_models(rows, d.shape[0]), split)
        per_example = [gradient]
        if self.bias:
            per_example.append(tf.reduce_sum(columns, axis=2))
        sums = materialised(per_example)

        def weighted_sum(weights: Any) -> list[Any]:
            first, *rest = sums.weighted_sum(weights)
            kernel_rows = tf.reshape(first, [d.shape[0], taps * channels, split.shape[-1]])
            return [self.window.restored(kernel_rows, channels), *rest]

        return Contribution(sums.squared_norms, weighted_sum)


@dataclass(frozen=True)
class Normalization:
    """Layer or group normalisation: per example, so it keeps DP-SGD's clipping meaningful.

    Args:
        groups: groups of channels; 0 normalises the last ``axes`` axes together (LayerNormalization).
        axes: number of normalised trailing axes of a layer normalisation; 1 for groups.
        epsilon: added to the variance.
        scale: there is a γ.
        center: there is a β.
    """

    groups: int
    axes: int
    epsilon: float
    scale: bool
    center: bool

    @classmethod
    def read_layer(cls, layer: Any) -> "Normalization":
        """From ``keras.layers.LayerNormalization``."""
        rank = len(layer.input_shape)
        given = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
        axes = sorted(axis % rank for axis in given)
        if axes != list(range(rank - len(axes), rank)) or axes[0] == 0:
            raise InputError(f"layer {layer.name!r} normalises axes {axes}; the stacked engine needs the last ones.")
        return cls(0, len(axes), layer.epsilon, layer.scale, layer.center)

    @classmethod
    def read_group(cls, layer: Any) -> "Normalization":
        """From ``keras.layers.GroupNormalization``."""
        rank = len(layer.input_shape)
        if layer.axis % rank != rank - 1:
            raise InputError(f"layer {layer.name!r} groups axis {layer.axis}; the stacked engine needs the last one.")
        groups = layer.input_shape[-1] if layer.groups == -1 else layer.groups
        return cls(groups, 1, layer.epsilon, layer.scale, layer.center)

    def prepare(self, x: Any) -> Any:
        """The input with mean 0 and variance 1 over the normalised axes."""
        if self.groups:
            shape = dynamic_shape(x)
            grouped = tf.reshape(x, [*shape[:-1], self.groups, x.shape[-1] // self.groups])
            axes = [*range(2, grouped.shape.rank - 2), grouped.shape.rank - 1]
            return tf.reshape(_standardised(grouped, axes, self.epsilon), shape)
        return _standardised(x, list(range(x.shape.rank - self.axes, x.shape.rank)), self.epsilon)

    def apply(self, weights: list[Any], a: Any) -> Any:
        """Normalised, times γ, plus β."""
        remaining = list(weights)
        if self.scale:
            a *= self._aligned(remaining.pop(0), a)
        if self.center:
            a += self._aligned(remaining.pop(0), a)
        return a

    def contribution(self, a: Any, d: Any) -> Contribution:
        """Per-example gradients are as small as γ and β, so they are held."""
        between = list(range(2, a.shape.rank - self.axes))
        per_example = []
        if self.scale:
            per_example.append(tf.reduce_sum(d * a, axis=between))
        if self.center:
            per_example.append(tf.reduce_sum(d, axis=between))
        return materialised(per_example)

    def _aligned(self, weight: Any, x: Any) -> Any:
        ones = [1] * (x.shape.rank - 1 - self.axes)
        return tf.reshape(weight, [weight.shape[0], *ones, *weight.shape[1:]])


READERS: Mapping[str, Callable[[Any], WeightedLayer]] = MappingProxyType(
    {
        "Conv2D": Conv2D.read,
        "Dense": Dense.read,
        "DepthwiseConv2D": DepthwiseConv2D.read,
        "EinsumDense": EinsumDense.read,
        "Embedding": Embedding.read,
        "GroupNormalization": Normalization.read_group,
        "LayerNormalization": Normalization.read_layer,
        "PositionEmbedding": PositionTable.read,
    }
)


def _standardised(x: Any, axes: list[int], epsilon: float) -> Any:
    mean = tf.reduce_mean(x, axis=axes, keepdims=True)
    centred = x - mean
    return centred * tf.math.rsqrt(tf.reduce_mean(centred * centred, axis=axes, keepdims=True) + epsilon)
