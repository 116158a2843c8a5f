"""Gradients of many victims from one pass of the stacked engine: fast, for models whose layers it reads.

While the victims share the model's weights the forward pass is one pass over all their records, and each victim's
gradient follows from its layers' inputs and output gradients; after a local step the weights differ and run stacked.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dpaudit.attacks.gradient.losses import SoftLabelLoss
from dpaudit.engine.conv_windows import Window
from dpaudit.engine.network import Network, Parameters
from dpaudit.engine.read_keras import Node
from dpaudit.runtime.check import IntArray
from dpaudit.runtime.tensorflow import tf


@dataclass(frozen=True)
class ByLayer:
    """A network in double precision; see `Victims` for what the methods give."""

    network: Network
    loss: SoftLabelLoss

    @classmethod
    def of(cls, model: Any, loss: SoftLabelLoss) -> "ByLayer":
        """From a float64 Keras model.

        Raises:
            InputError: the stacked engine does not read a layer; it is named.
        """
        network = Network.from_keras(model)
        return cls(replace(network, nodes=tuple(_with_lookup(node) for node in network.nodes)), loss)

    @property
    def model(self) -> Any:
        """The Keras model."""
        return self.network.model

    def logits(self, parameters: Parameters, x: Any) -> Any:
        """Logits (victims, records, classes)."""
        return self.network.traced(parameters, x, None, lambda _: None).outputs

    def gradients(self, parameters: Parameters, x: Any, targets: Any, clip: float | None) -> list[Any]:
        """Gradients of the victims' mean losses."""
        victims, records = x.shape[0], x.shape[1]
        shared = parameters[0].shape[0] == 1
        inputs = tf.reshape(x, [1, victims * records, *x.shape[2:]]) if shared else x
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            logits, taps, _ = self.network.traced(parameters, inputs, None, tape.watch)
            total = tf.reduce_sum(self.loss(tf.reshape(logits, targets.shape), targets))
        slopes = tape.gradient(total, [tap.z for tap in taps], unconnected_gradients=tf.UnconnectedGradients.ZERO)
        layers = []
        for tap, slope in zip(taps, slopes, strict=True):
            weighted = tap.node.weighted
            assert weighted is not None  # only weighted layers are tapped
            a = tf.reshape(tap.a, [victims, records, *tap.a.shape[2:]])
            d = tf.reshape(slope, [victims, records, *slope.shape[2:]])
            layers.append((tap.node.variables, weighted.contribution(a, d)))
        share = tf.fill([victims, records], tf.constant(1 / records, tf.float64))
        if clip is not None:
            norms = tf.sqrt(tf.maximum(tf.add_n([layer.squared_norms for _, layer in layers]), 1e-300))
            share *= clip / tf.maximum(norms, clip)
        found: dict[int, Any] = {}
        for variables, layer in layers:
            found.update(zip(variables, layer.weighted_sum(share), strict=True))
        return [
            found[i] if i in found else tf.zeros([victims, *variable.shape], tf.float64)
            for i, variable in enumerate(self.network.variables)
        ]


@dataclass(frozen=True)
class LookupWindow(Window):
    """Patches by looking up a table of pixels, forwards and backwards.

    An attack is over before a program of slices is compiled, and the library's own patch extraction has a gradient
    made of transposes and scatters. The two look-ups are each other's gradient, so all derivatives exist.
    """

    def patches(self, x: Any) -> Any:
        """Every window's values, (models, examples, rows, columns, size * channels)."""
        models, _, height, width, channels = x.shape
        rows, columns = self.outputs((height, width))
        taken, given = _tables(self, height, width)

        @tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
        def spread(pixels: Any) -> Any:
            return tf.gather(_with_blank(pixels), taken, axis=1), collected

        @tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
        def collected(values: Any) -> Any:
            return tf.reduce_sum(tf.gather(_with_blank(values), given, axis=1), axis=2), spread

        patches = spread(tf.reshape(x, [-1, height * width, channels]))
        return tf.reshape(patches, [models, -1, rows, columns, self.size[0] * self.size[1] * channels])

    @property
    def _in_blocks(self) -> bool:
        return False


def _with_blank(values: Any) -> Any:
    return tf.pad(values, [(0, 0), (0, 1), (0, 0)])


def _tables(window: Window, height: int, width: int) -> tuple[IntArray, IntArray]:
    """The pixel of each window's entry (entries,), and the entries of each pixel (pixels, most); one more is blank."""
    rows, columns = window.outputs((height, width))
    at = []
    for axis, count, side in ((0, rows, height), (1, columns, width)):
        size, stride, dilation = window.size[axis], window.strides[axis], window.dilation[axis]
        missing = max((count - 1) * stride + (size - 1) * dilation + 1 - side, 0)
        before = missing // 2 if window.padding == "same" else 0
        at.append(np.arange(count)[:, None] * stride + np.arange(size) * dilation - before)
    down, across = at[0][:, None, :, None], at[1][None, :, None, :]
    inside = (down >= 0) & (down < height) & (across >= 0) & (across < width)
    taken = np.where(inside, down * width + across, height * width).ravel()
    entries: list[list[int]] = [[] for _ in range(height * width)]
    for entry, pixel in enumerate(taken):
        if pixel < height * width:
            entries[pixel].append(entry)
    given = np.full((height * width, max(len(e) for e in entries)), taken.size)
    for pixel, found in enumerate(entries):
        given[pixel, : len(found)] = found
    return taken, given


def _with_lookup(node: Node) -> Node:
    window = getattr(node.weighted, "window", None)
    if not isinstance(window, Window):
        return node
    lookup = LookupWindow(window.size, window.strides, window.padding, window.dilation)
    return replace(node, weighted=replace(node.weighted, window=lookup))  # type: ignore[type-var]  # a frozen dataclass
