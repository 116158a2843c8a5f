"""A step of Adam inside a compiled loop, whose state are plain tensors; no Keras optimizer lives in one."""

from typing import Any

from dpaudit.runtime.tensorflow import tf

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # Kingma and Ba (2015)


def step_of(slope: Any, mean: Any, square: Any, done: Any) -> tuple[Any, Any, Any]:
    """The move against a slope, to be multiplied by the rate, and the two moving averages after it.

    Args:
        slope: of what is minimised.
        mean: moving average of the slopes before.
        square: of their squares.
        done: steps before this one.
    """
    mean = BETA1 * mean + (1 - BETA1) * slope
    square = BETA2 * square + (1 - BETA2) * slope**2
    t = tf.cast(done + 1, tf.float64)
    return mean / (1 - BETA1**t) / (tf.sqrt(square / (1 - BETA2**t)) + EPSILON), mean, square
