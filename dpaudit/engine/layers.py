"""Layers with weights, applied to M models at once, and what each adds to a per-example gradient.

A layer is read off a Keras layer. ``prepare`` turns its input (models, examples, ...) into what its weights meet,
``apply`` maps the weights, each (models, ...), and that to the output before the activation, and ``contribution`` maps
that and the output's gradient to norms and weighted sums. An input that all models share may have a leading axis of 1.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from dpaudit.engine.conv_layers import Conv2D, ConvOfSteps, DepthwiseConv2D
from dpaudit.engine.per_example_clipping import Contribution, kernel, materialised, position_sum
from dpaudit.engine.recurrent_layers import Gru, Lstm
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
        per_example = []
        if self.scale:
            per_example.append(self._summed(d * a))
        if self.center:
            per_example.append(self._summed(d))
        return materialised(per_example)

    def _summed(self, x: Any) -> Any:
        """Over the axes between the examples and the normalised ones."""
        first = x.shape.rank - self.axes
        if first == 2:
            return x
        leading, own = [x.shape[0], tf.shape(x)[1]], x.shape[first:]
        flat = tf.reshape(x, [*leading, x.shape[2:first].num_elements(), own.num_elements()])
        return tf.reshape(position_sum(flat), [*leading, *own])

    def _aligned(self, weight: Any, x: Any) -> Any:
        ones = [1] * (x.shape.rank - 1 - self.axes)
        return tf.reshape(weight, [weight.shape[0], *ones, *weight.shape[1:]])


@dataclass(frozen=True)
class BatchNormalization:
    """Batch normalisation over the last axis.

    While a copy trains, it mixes the examples of a batch, so that no example has a gradient of its own; its running
    averages change beside the weights. A frozen one normalises by its running averages, each example by itself.

    Args:
        affine: what comes after the normalisation: γ and β.
        momentum: of the running averages.
        moves: whether it trains.
        unbiased: whether the running variance takes n - 1 for n, as Keras 2 does for images and Keras 3 does not.
    """

    affine: Normalization
    momentum: float
    moves: bool
    unbiased: bool

    @classmethod
    def read(cls, layer: Any) -> "BatchNormalization":
        """From ``keras.layers.BatchNormalization``."""
        rank = len(layer.input_shape)
        if [axis % rank for axis in layer.axis] != [rank - 1]:
            raise InputError(f"layer {layer.name!r} normalises axis {layer.axis}; the stacked engine needs the last.")
        require_settings(layer, renorm=False, synchronized=False)
        affine = Normalization(0, 1, layer.epsilon, layer.scale, layer.center)
        return cls(affine, layer.momentum, layer.trainable, bool(layer.fused))

    def prepare(self, x: Any) -> Any:
        """The input; `normalised` makes of it what the weights meet."""
        return x

    def normalised(self, weights: list[Any], x: Any, present: Any) -> tuple[Any, list[Any]]:
        """The normalised input, and the running averages after this batch.

        Args:
            weights: of the layer, the two running averages last.
            x: (models or 1, examples, ..., channels).
            present: 1 for the examples of the batch and 0 for padding, (models, examples); None is inference.
        """
        mean, variance = weights[-2:]
        moved = []
        if present is not None and self.moves:
            before, x = (mean, variance), for_models(x, mean.shape[0])
            axes = list(range(1, x.shape.rank - 1))
            counted = tf.reshape(present, [*dynamic_shape(x)[:2], *[1] * (x.shape.rank - 2)])
            values = tf.reduce_sum(present, axis=1)[:, None] * x.shape[2:-1].num_elements()
            divisor = tf.maximum(values, 1.0)
            mean = tf.reduce_sum(x * counted, axis=axes) / divisor
            centred = x - _spread(mean, x)
            variance = tf.reduce_sum(centred * centred * counted, axis=axes) / divisor
            larger = divisor / tf.maximum(divisor - 1, 1.0) if self.unbiased else 1.0
            rate = tf.where(values > 0, 1 - self.momentum, 0.0)  # a batch without examples moves nothing
            after = (mean, variance * larger)
            moved = [old + (new - old) * rate for old, new in zip(before, after, strict=True)]
        return (x - _spread(mean, x)) * tf.math.rsqrt(_spread(variance, x) + self.affine.epsilon), moved

    def apply(self, weights: list[Any], a: Any) -> Any:
        """Normalised, times γ, plus β."""
        return self.affine.apply(weights, a)

    def contribution(self, a: Any, d: Any) -> Contribution:
        """Of γ and β; while the layer trains, only the sum over the batch has a meaning."""
        return self.affine.contribution(a, d)


READERS: Mapping[str, Callable[[Any], WeightedLayer]] = MappingProxyType(
    {
        "BatchNormalization": BatchNormalization.read,
        "Conv1D": ConvOfSteps.read,
        "Conv2D": Conv2D.read,
        "Dense": Dense.read,
        "DepthwiseConv1D": ConvOfSteps.read_depthwise,
        "DepthwiseConv2D": DepthwiseConv2D.read,
        "EinsumDense": EinsumDense.read,
        "Embedding": Embedding.read,
        "GRU": Gru.read,
        "GroupNormalization": Normalization.read_group,
        "LSTM": Lstm.read,
        "LayerNormalization": Normalization.read_layer,
        "PositionEmbedding": PositionTable.read,
    }
)


def _spread(statistic: Any, x: Any) -> Any:
    """One number for each model and channel, for every example and position."""
    return tf.reshape(statistic, [statistic.shape[0], *[1] * (x.shape.rank - 2), statistic.shape[-1]])


def _standardised(x: Any, axes: list[int], epsilon: float) -> Any:
    mean = tf.reduce_mean(x, axis=axes, keepdims=True)
    centred = x - mean
    return centred * tf.math.rsqrt(tf.reduce_mean(centred * centred, axis=axes, keepdims=True) + epsilon)
