"""What a model's quality is measured by."""

from typing import Literal

from dpaudit.data.dataset import Task

Metric = Literal["accuracy", "mean squared error", "loss per token"]


def metric_of(task: Task) -> Metric:
    """Accuracy of a classifier, mean squared error of a regression, mean loss of a token of texts.

    >>> metric_of("next-token")
    'loss per token'
    """
    return "loss per token" if task == "next-token" else "mean squared error" if task == "regression" else "accuracy"
