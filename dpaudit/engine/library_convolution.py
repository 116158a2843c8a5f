"""Convolutions and pooling by TensorFlow's own kernels, which on a CPU are faster than what XLA makes of these shapes.

A convolution meets its input and not its patches: those are cut when the gradients of its kernel are put together.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from dpaudit.engine.conv_windows import Window
from dpaudit.engine.layers import Conv2D
from dpaudit.engine.network import Network
from dpaudit.engine.per_example_clipping import Contribution
from dpaudit.engine.read_keras import Node
from dpaudit.runtime.tensorflow import tf


@dataclass(frozen=True)
class LibraryConv2D:
    """Two-dimensional convolution, channels last, for each copy by itself."""

    window: Window
    bias: bool

    def prepare(self, x: Any) -> Any:
        """The input."""
        return x

    def apply(self, weights: list[Any], a: Any) -> Any:
        """The convolution, plus bias."""
        copies = weights[0].shape[0]
        padding = self.window.padding.upper()
        z = tf.stack(
            [
                tf.nn.conv2d(a[min(copy, a.shape[0] - 1)], weights[0][copy], self.window.strides, padding,
                             dilations=self.window.dilation)
                for copy in range(copies)
            ]
        )  # fmt: skip
        return z + weights[1][:, None, None, None, :] if self.bias else z

    def contribution(self, a: Any, d: Any) -> Contribution:
        """From the patches, which are cut here."""
        return Conv2D(self.window, self.bias).contribution(self.window.patches(a), d)


def has_convolutions(network: Network) -> bool:
    """Whether a convolution of the network is by patches."""
    return any(isinstance(node.weighted, Conv2D) for node in network.nodes)


def with_library_kernels(network: Network, *, is_prepared: bool) -> Network:
    """The network with TensorFlow's convolutions and pooling; a first layer that meets prepared patches stays."""
    head = network.head if is_prepared else None
    nodes = tuple(node if at == head else _by_library(node) for at, node in enumerate(network.nodes))
    return replace(network, nodes=nodes)


def _by_library(node: Node) -> Node:
    if isinstance(node.weighted, Conv2D):
        return replace(node, weighted=LibraryConv2D(node.weighted.window, node.weighted.bias))
    if node.pooling is not None:
        window = node.pooling
        pool = partial(tf.nn.max_pool2d, ksize=window.size, strides=window.strides, padding=window.padding.upper())
        return replace(node, pooling=None, plain=pool)
    return node
