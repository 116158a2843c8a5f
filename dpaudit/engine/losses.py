"""Losses on logits, one value per model and example."""

from typing import Any

from dpaudit.data.dataset import Task
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import tf


def per_example_loss(task: Task, logits: Any, targets: Any) -> Any:
    """The loss of a task, shape (models, examples), as Keras defines it.

    Args:
        task: ``multiclass``: softmax cross-entropy; ``binary`` and ``multilabel``: mean sigmoid cross-entropy over
            the outputs; ``regression``: mean squared error over the outputs.
        logits: shape (models, examples, outputs).
        targets: ``multiclass``: classes (models, examples); otherwise float32 (models, examples, outputs).

    Raises:
        InputError: the targets do not have one row per example.
    """
    if task == "multiclass":
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)
    if targets.shape.rank != logits.shape.rank:
        raise InputError(
            f"targets of a {task} task must have shape (models, examples, outputs), got rank {targets.shape.rank}."
        )
    check.one_of("task", task, ("binary", "multilabel", "regression"))
    if task == "regression":
        return tf.reduce_mean(tf.math.squared_difference(logits, targets), axis=-1)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits), axis=-1)
