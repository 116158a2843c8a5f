"""Windows that slide over images: patches for convolutions, and max pooling, from slices alone.

Slices, concatenations and maxima compile to copies and have gradients that do too; the library's own patch extraction
has a gradient by sparse matrix, and the compiled gradient of its max pooling is a scatter.
"""

from dataclasses import dataclass
from typing import Any

from dpaudit.runtime.tensorflow import tf


@dataclass(frozen=True)
class Window:
    """Size, strides, padding (``same`` or ``valid``) and dilation of a sliding window."""

    size: tuple[int, int]
    strides: tuple[int, int]
    padding: str
    dilation: tuple[int, int] = (1, 1)

    def patches(self, x: Any) -> Any:
        """Every window's values, (models, examples, rows, columns, size * channels), in the order of `arranged`."""
        models, merged = _merged(x)
        rows, columns = self.outputs(merged.shape[1:3])
        padded = self._padded(merged, 0.0)
        if self._in_blocks:
            blocks = _blocks(padded, self.strides)
            count = (self.size[0] // self.strides[0], self.size[1] // self.strides[1])
            unit = Window(count, (1, 1), "valid")
            patches = unit._gathered(blocks, rows, columns)
        else:
            patches = self._gathered(padded, rows, columns)
        return tf.reshape(patches, [models, -1, rows, columns, patches.shape[-1]])

    def arranged(self, weight: Any) -> Any:
        """A kernel (models, height, width, channels, outputs) as (models, inputs, outputs), inputs as in a patch."""
        models, height, width, channels, outputs = weight.shape
        if self._in_blocks:
            (down, across) = self.strides
            split = tf.reshape(weight, [models, height // down, down, width // across, across, channels, outputs])
            weight = tf.transpose(split, [0, 1, 3, 2, 4, 5, 6])
        return tf.reshape(weight, [models, height * width * channels, outputs])

    def restored(self, weight: Any, channels: int) -> Any:
        """The inverse of `arranged`."""
        models, outputs = weight.shape[0], weight.shape[-1]
        height, width = self.size
        if self._in_blocks:
            (down, across) = self.strides
            split = tf.reshape(weight, [models, height // down, width // across, down, across, channels, outputs])
            weight = tf.transpose(split, [0, 1, 3, 2, 4, 5, 6])
        return tf.reshape(weight, [models, height, width, channels, outputs])

    def largest(self, x: Any) -> Any:
        """Max pooling; where values tie, the first gets the gradient, as in Keras."""
        models, merged = _merged(x)
        rows, columns = self.outputs(merged.shape[1:3])
        padded = self._padded(merged, merged.dtype.min)
        value = None
        for row in self._shifts(padded, 1, rows):
            for part in self._shifts(row, 2, columns):
                value = part if value is None else tf.maximum(value, part)
        return tf.reshape(value, [models, -1, rows, columns, merged.shape[-1]])

    def outputs(self, shape: Any) -> tuple[int, int]:
        """Rows and columns of windows on an image of that height and width."""
        spans = [(size - 1) * dilation + 1 for size, dilation in zip(self.size, self.dilation, strict=True)]
        if self.padding == "same":
            return -(-shape[0] // self.strides[0]), -(-shape[1] // self.strides[1])
        return (shape[0] - spans[0]) // self.strides[0] + 1, (shape[1] - spans[1]) // self.strides[1] + 1

    @property
    def _in_blocks(self) -> bool:
        """Strided windows of whole strides are windows of stride 1 over blocks of one stride."""
        whole = all(size % stride == 0 for size, stride in zip(self.size, self.strides, strict=True))
        return whole and self.strides != (1, 1) and self.dilation == (1, 1)

    def _padded(self, x: Any, value: float) -> Any:
        pads = [(0, 0)]
        counts = self.outputs(x.shape[1:3])
        for axis in range(2):
            used = (counts[axis] - 1) * self.strides[axis] + (self.size[axis] - 1) * self.dilation[axis] + 1
            missing = used - x.shape[axis + 1]
            before = max(missing, 0) // 2 if self.padding == "same" else 0
            pads.append((before, missing - before))
        kept = x[:, : x.shape[1] + min(pads[1][1], 0), : x.shape[2] + min(pads[2][1], 0)]
        positive = [(low, max(high, 0)) for low, high in pads]
        if not any(low or high for low, high in positive):
            return kept
        return tf.pad(kept, [*positive, (0, 0)], constant_values=value)

    def _gathered(self, x: Any, rows: int, columns: int) -> Any:
        wide = tf.concat(self._shifts(x, 2, columns), axis=-1)
        return tf.concat(self._shifts(wide, 1, rows), axis=-1)

    def _shifts(self, x: Any, axis: int, count: int) -> list[Any]:
        """The windows' entries along one axis, each for all ``count`` windows."""
        size, stride, dilation = self.size[axis - 1], self.strides[axis - 1], self.dilation[axis - 1]
        cuts = [slice(tap * dilation, tap * dilation + (count - 1) * stride + 1, stride) for tap in range(size)]
        return [x[:, cut] if axis == 1 else x[:, :, cut] for cut in cuts]


def _merged(x: Any) -> tuple[int, Any]:
    return x.shape[0], tf.reshape(x, [-1, *x.shape[2:]])


def _blocks(x: Any, strides: tuple[int, int]) -> Any:
    """Blocks of one stride as channels: (n, h, w, c) -> (n, h / down, w / across, down * across * c)."""
    down, across = strides
    height, width, channels = x.shape[1:]
    split = tf.reshape(x, [-1, height // down, down, width // across, across, channels])
    moved = tf.transpose(split, [0, 1, 3, 2, 4, 5])
    return tf.reshape(moved, [-1, height // down, width // across, down * across * channels])
