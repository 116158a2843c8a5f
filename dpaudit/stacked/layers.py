"""Layers with weights, applied to M models at once, and what each adds to a per-example gradient.

A layer is read off a Keras layer. ``apply`` maps its weights, each (models, ...), and its input (models, examples,
...) to its output before the activation; ``contribution`` maps that input and the output's gradient to norms and
weighted sums. An input that all models share may have a leading axis of 1.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from dpaudit._tensorflow import tf
from dpaudit.errors import InputError
from dpaudit.stacked.contributions import Contribution, kernel, lookup, materialised


class WeightedLayer(Protocol):
    """A layer whose weights get per-example gradients."""

    def apply(self, weights: list[Any], x: Any) -> Any:
        """Output before the activation."""
        ...

    def contribution(self, x: Any, d: Any) -> Contribution:
        """Per-example gradients of the weights, given the input and the gradient of the output."""
        ...


@dataclass(frozen=True)
class Dense:
    """Dense on the last axis; axes between the examples and it are positions that share the kernel."""

    bias: bool

    @classmethod
    def read(cls, layer: Any) -> "Dense":
        """From ``keras.layers.Dense``."""
        return cls(layer.use_bias)

    def apply(self, weights: list[Any], x: Any) -> Any:
        """Z = x W + b."""
        flat = x if x.shape.rank == 3 else tf.reshape(x, [x.shape[0], -1, x.shape[-1]])
        z = tf.matmul(flat, weights[0])
        if self.bias:
            z += weights[1][:, None, :]
        return z if x.shape.rank == 3 else tf.reshape(z, [z.shape[0], *_dynamic(x)[1:-1], z.shape[-1]])

    def contribution(self, x: Any, d: Any) -> Contribution:
        """One position for each entry of the middle axes."""
        return kernel(_positions(x), _positions(d), bias=self.bias)


@dataclass(frozen=True)
class Conv2D:
    """Two-dimensional convolution, channels last."""

    size: tuple[int, int]
    strides: tuple[int, int]
    padding: str
    dilation: tuple[int, int]
    bias: bool

    @classmethod
    def read(cls, layer: Any) -> "Conv2D":
        """From ``keras.layers.Conv2D``."""
        _require(layer, data_format="channels_last", groups=1)
        return cls(layer.kernel_size, layer.strides, layer.padding.upper(), layer.dilation_rate, layer.use_bias)

    def apply(self, weights: list[Any], x: Any) -> Any:
        """One convolution per model."""
        z = tf.stack(
            [
                tf.nn.conv2d(_model(x, m), weights[0][m], self.strides, self.padding, dilations=self.dilation)
                for m in range(weights[0].shape[0])
            ]
        )
        return z + weights[1][:, None, None, None, :] if self.bias else z

    def contribution(self, x: Any, d: Any) -> Contribution:
        """The kernel's product with every patch."""
        patches = _patches(x, self.size, self.strides, self.padding, self.dilation)
        sums = kernel(_positions(patches), _positions(d), bias=self.bias)
        shape = [d.shape[0], *self.size, x.shape[-1], d.shape[-1]]

        def weighted_sum(weights: Any) -> list[Any]:
            first, *rest = sums.weighted_sum(weights)
            return [tf.reshape(first, shape), *rest]

        return Contribution(sums.squared_norms, weighted_sum)


@dataclass(frozen=True)
class DepthwiseConv2D:
    """One kernel per input channel, channels last."""

    size: tuple[int, int]
    strides: tuple[int, int]
    padding: str
    dilation: tuple[int, int]
    bias: bool

    @classmethod
    def read(cls, layer: Any) -> "DepthwiseConv2D":
        """From ``keras.layers.DepthwiseConv2D``."""
        _require(layer, data_format="channels_last")
        return cls(layer.kernel_size, layer.strides, layer.padding.upper(), layer.dilation_rate, layer.use_bias)

    def apply(self, weights: list[Any], x: Any) -> Any:
        """One depthwise convolution per model."""
        strides = [1, *self.strides, 1]
        z = tf.stack(
            [
                tf.nn.depthwise_conv2d(_model(x, m), weights[0][m], strides, self.padding, dilations=self.dilation)
                for m in range(weights[0].shape[0])
            ]
        )
        return z + weights[1][:, None, None, None, :] if self.bias else z

    def contribution(self, x: Any, d: Any) -> Contribution:
        """Per-example gradients are as small as the kernel, so they are held."""
        channels = x.shape[-1]
        taps = self.size[0] * self.size[1]
        patches = _positions(_patches(x, self.size, self.strides, self.padding, self.dilation))
        a = tf.reshape(patches, [*_dynamic(patches)[:3], taps, channels])
        columns = _positions(d)
        split = tf.reshape(columns, [*_dynamic(columns)[:3], channels, columns.shape[-1] // channels])
        gradient = tf.einsum("mbpkc,mbpcq->mbkcq", _for_models(a, d.shape[0]), split)
        shape = [d.shape[0], tf.shape(d)[1], *self.size, channels, split.shape[-1]]
        per_example = [tf.reshape(gradient, shape)]
        if self.bias:
            per_example.append(tf.reduce_sum(columns, axis=2))
        return materialised(per_example)


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

    def apply(self, weights: list[Any], x: Any) -> Any:
        """Normalised, times γ, plus β."""
        z = self._normalised(x)
        remaining = list(weights)
        if self.scale:
            z *= self._aligned(remaining.pop(0), x)
        if self.center:
            z += self._aligned(remaining.pop(0), x)
        return z

    def contribution(self, x: Any, d: Any) -> Contribution:
        """Per-example gradients are as small as γ and β, so they are held."""
        between = list(range(2, x.shape.rank - self.axes))
        per_example = []
        if self.scale:
            per_example.append(tf.reduce_sum(d * self._normalised(x), axis=between))
        if self.center:
            per_example.append(tf.reduce_sum(d, axis=between))
        return materialised(per_example)

    def _normalised(self, x: Any) -> Any:
        if self.groups:
            shape = _dynamic(x)
            grouped = tf.reshape(x, [*shape[:-1], self.groups, x.shape[-1] // self.groups])
            axes = [*range(2, grouped.shape.rank - 2), grouped.shape.rank - 1]
            return tf.reshape(_standardised(grouped, axes, self.epsilon), shape)
        return _standardised(x, list(range(x.shape.rank - self.axes, x.shape.rank)), self.epsilon)

    def _aligned(self, weight: Any, x: Any) -> Any:
        ones = [1] * (x.shape.rank - 1 - self.axes)
        return tf.reshape(weight, [weight.shape[0], *ones, *weight.shape[1:]])


@dataclass(frozen=True)
class Embedding:
    """A table looked up by whole numbers."""

    rows: int

    @classmethod
    def read(cls, layer: Any) -> "Embedding":
        """From ``keras.layers.Embedding``."""
        _require(layer, mask_zero=False)
        return cls(layer.input_dim)

    def apply(self, weights: list[Any], x: Any) -> Any:
        """Rows of the table."""
        ids = _for_models(tf.cast(x, tf.int32), weights[0].shape[0])
        return tf.gather(weights[0], ids, batch_dims=1)

    def contribution(self, x: Any, d: Any) -> Contribution:
        """A sum over equal ids."""
        ids = _for_models(tf.cast(x, tf.int32), d.shape[0])
        return lookup(tf.reshape(ids, [*_dynamic(ids)[:2], _count(ids.shape[2:])]), _positions(d), rows=self.rows)


READERS: Mapping[str, Callable[[Any], WeightedLayer]] = MappingProxyType(
    {
        "Conv2D": Conv2D.read,
        "Dense": Dense.read,
        "DepthwiseConv2D": DepthwiseConv2D.read,
        "Embedding": Embedding.read,
        "GroupNormalization": Normalization.read_group,
        "LayerNormalization": Normalization.read_layer,
    }
)


def _require(layer: Any, **settings: object) -> None:
    for name, wanted in settings.items():
        if getattr(layer, name) != wanted:
            raise InputError(
                f"layer {layer.name!r} has {name}={getattr(layer, name)!r}; "
                f"the stacked engine supports {wanted!r} only."
            )


def _standardised(x: Any, axes: list[int], epsilon: float) -> Any:
    mean = tf.reduce_mean(x, axis=axes, keepdims=True)
    centred = x - mean
    return centred * tf.math.rsqrt(tf.reduce_mean(centred * centred, axis=axes, keepdims=True) + epsilon)


def _model(x: Any, index: int) -> Any:
    return x[0] if x.shape[0] == 1 else x[index]


def _for_models(x: Any, models: int) -> Any:
    return x if x.shape[0] == models else tf.broadcast_to(x, [models, *_dynamic(x)[1:]])


def _dynamic(x: Any) -> list[Any]:
    sizes = tf.shape(x)
    return [size if size is not None else sizes[i] for i, size in enumerate(x.shape)]


def _count(shape: Any) -> int:
    return int(shape.num_elements())


def _positions(x: Any) -> Any:
    return tf.reshape(x, [x.shape[0], tf.shape(x)[1], _count(x.shape[2:-1]), x.shape[-1]])


def _patches(x: Any, size: tuple[int, int], strides: tuple[int, int], padding: str, dilation: tuple[int, int]) -> Any:
    merged = tf.reshape(x, [-1, *x.shape[2:]])
    patches = tf.image.extract_patches(merged, [1, *size, 1], [1, *strides, 1], [1, *dilation, 1], padding)
    return tf.reshape(patches, [x.shape[0], -1, *patches.shape[1:]])
