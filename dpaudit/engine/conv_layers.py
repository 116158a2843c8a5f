"""Convolutions with weights, as in `dpaudit.engine.layers`: over images, over steps, and separable into two."""

from dataclasses import dataclass
from typing import Any

from dpaudit.engine.conv_windows import Window
from dpaudit.engine.per_example_clipping import Contribution, kernel, materialised
from dpaudit.engine.shapes import affine, dynamic_shape, for_models, positions, require_settings
from dpaudit.runtime.tensorflow import tf


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
        taps = self.window.size[0] * self.window.size[1]
        return tf.reshape(patches, [*dynamic_shape(patches)[:-1], taps, x.shape[-1]])

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
class ConvOfSteps:
    """A convolution along one axis: that of images with one column.

    Args:
        image: what is done to such images.
        before: steps of zeros put before the first, of causal padding.
    """

    image: Conv2D | DepthwiseConv2D
    before: int

    @classmethod
    def read(cls, layer: Any) -> "ConvOfSteps":
        """From ``keras.layers.Conv1D``."""
        require_settings(layer, groups=1)
        window, before = _window_of_steps(layer)
        return cls(Conv2D(window, layer.use_bias), before)

    @classmethod
    def read_depthwise(cls, layer: Any) -> "ConvOfSteps":
        """From ``keras.layers.DepthwiseConv1D``."""
        window, before = _window_of_steps(layer)
        return cls(DepthwiseConv2D(window, layer.use_bias), before)

    def prepare(self, x: Any) -> Any:
        """The patches, as of an image with one column."""
        padded = tf.pad(x, [(0, 0), (0, 0), (self.before, 0), (0, 0)]) if self.before else x
        return self.image.prepare(padded[:, :, :, None])

    def apply(self, weights: list[Any], a: Any) -> Any:
        """Shape (models, examples, steps, outputs)."""
        first, *rest = weights
        return self.image.apply([first[:, :, None], *rest], a)[:, :, :, 0]

    def contribution(self, a: Any, d: Any) -> Contribution:
        """One position for each step."""
        sums = self.image.contribution(a, d[:, :, :, None])

        def weighted_sum(weights: Any) -> list[Any]:
            first, *rest = sums.weighted_sum(weights)
            return [first[:, :, 0], *rest]

        return Contribution(sums.squared_norms, weighted_sum)


def _window_of_steps(layer: Any) -> tuple[Window, int]:
    """The window of a layer along one axis, and the zeros before it."""
    require_settings(layer, data_format="channels_last")
    (size,), (stride,), (dilation,) = layer.kernel_size[:1], layer.strides[:1], layer.dilation_rate[:1]
    is_causal = layer.padding == "causal"
    window = Window((size, 1), (stride, 1), "valid" if is_causal else layer.padding, (dilation, 1))
    return window, (size - 1) * dilation if is_causal else 0


def separated(layer: Any) -> tuple[tuple[Conv2D | DepthwiseConv2D | ConvOfSteps, list[Any]], ...]:
    """The two halves of ``keras.layers.SeparableConv1D`` or ``2D``, each with its variables.

    The first convolves every channel by itself, the second is one product for every position.
    """
    pointwise = [layer.pointwise_kernel, *([layer.bias] if layer.use_bias else [])]
    single = Conv2D(Window((1, 1), (1, 1), "valid"), layer.use_bias)
    if layer.rank == 1:
        window, before = _window_of_steps(layer)
        first = ConvOfSteps(DepthwiseConv2D(window, bias=False), before)
        return (first, [layer.depthwise_kernel]), (ConvOfSteps(single, 0), pointwise)
    require_settings(layer, data_format="channels_last")
    window = Window(layer.kernel_size, layer.strides, layer.padding, layer.dilation_rate)
    return (DepthwiseConv2D(window, bias=False), [layer.depthwise_kernel]), (single, pointwise)
