"""Losses on logits, one value per model and example."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from dpaudit.data.dataset import Task
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import tf


@cache
def loss_of(task: Task) -> Callable[[Any, Any], Any]:
    """`per_example_loss` of one task, always the same object, so that programs made from it can be shared.

    >>> loss_of("multiclass") is loss_of("multiclass")
    True
    """
    return partial(per_example_loss, task)


def per_example_loss(task: Task, logits: Any, targets: Any) -> Any:
    """The loss of a task, shape (models, examples), as Keras defines it.

    Args:
        task: ``multiclass``: softmax cross-entropy; ``binary`` and ``multilabel``: mean sigmoid cross-entropy over
            the outputs; ``regression``: mean squared error over the outputs; ``next-token``: softmax cross-entropy,
            its mean over the positions that count.
        logits: shape (models, examples, outputs), of ``next-token`` (models, examples, positions, vocabulary).
        targets: ``multiclass``: classes (models, examples); ``next-token``: tokens (models, examples, positions), -1
            where the loss does not count; otherwise float32 (models, examples, outputs).

    Raises:
        InputError: the targets do not have one row per example.
    """
    if task == "multiclass":
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)
    if task == "next-token":
        counts = tf.cast(targets >= 0, logits.dtype)
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.maximum(targets, 0), logits=logits)
        return tf.reduce_sum(each * counts, axis=-1) / tf.maximum(tf.reduce_sum(counts, axis=-1), 1.0)
    if targets.shape.rank != logits.shape.rank:
        raise InputError(
            f"targets of a {task} task must have shape (models, examples, outputs), got rank {targets.shape.rank}."
        )
    check.one_of("task", task, ("binary", "multilabel", "regression"))
    if task == "regression":
        return tf.reduce_mean(tf.math.squared_difference(logits, targets), axis=-1)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits), axis=-1)


def token_losses(logits: Any, tokens: Any) -> Any:
    """Cross-entropy of each token but the first, shape (..., positions).

    Args:
        logits: after each token but the last, shape (..., positions, vocabulary).
        tokens: shape (..., 1 + positions).
    """
    following = tf.cast(tokens[..., 1:], tf.int32)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=following, logits=logits)
