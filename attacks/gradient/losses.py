"""Losses of victims: what their gradients are of."""

from collections.abc import Callable
from typing import Any

from dpaudit.runtime.tensorflow import tf

# Logits (victims, records, classes) and class probabilities of the same shape -> loss (victims, records).
SoftLabelLoss = Callable[[Any, Any], Any]


def cross_entropy(logits: Any, targets: Any) -> Any:
    """Softmax cross-entropy with soft targets."""
    return -tf.reduce_sum(targets * tf.nn.log_softmax(logits), axis=-1)
