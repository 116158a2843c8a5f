"""Which classes were in the batch, read off the last layer's gradient.

For softmax cross-entropy over a mean of B records the gradient of the last bias is p̄ - n/B exactly: mean predicted
probabilities minus class counts over B. `Zhao et al. (2020) <https://arxiv.org/abs/2001.02610>`_ (one record),
`Geng et al. (2021) <https://arxiv.org/abs/2110.09074>`_ and `Dimitrov et al. (2022)
<https://arxiv.org/abs/2206.12395>`_ (counts, no bias, several local steps).
"""

from dataclasses import dataclass

import numpy as np

from dpaudit.attacks.gradient.view import BatchGradient, ClientUpdate, GradientView, gradient_of, require_known
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import InputError


@dataclass(frozen=True)
class SingleLabel:
    """The class of one record: the only one whose logit's gradient is negative (iDLG).

    Without a bias on the last layer its kernel's column sums are used, which needs features that are not negative.

    >>> view = BatchGradient((np.zeros((1, 3)), np.zeros(3)), (np.zeros((1, 3)), np.array([0.3, -0.7, 0.4])), 1)
    >>> SingleLabel()(view)
    array([1])
    """

    def __call__(self, view: GradientView) -> IntArray:
        """The label, shape (1,)."""
        gradient = gradient_of(view, "label restoration")
        size = require_known("batch_size", gradient.batch_size, "the sign rule for labels")
        if size != 1:
            raise InputError(f"the sign rule gives the label of one record; the batch has {size}: use LabelCounts.")
        signal = _head(gradient)[0] if _has_bias(gradient) else gradient.gradient[-1].sum(0)
        return np.array([int(np.argmin(signal))])


@dataclass(frozen=True)
class LabelCounts:
    """The classes of a batch, from n = B(p̄ - ∂L/∂b) rounded to whole counts that add up to B.

    For an update over several local steps p̄ is the average of what the model predicts before and after; give it as
    such. On trained models p̄ depends on the very records attacked: compare with chance (`metrics.label_accuracy`).

    Args:
        mean_probability: what the model predicts on average on auxiliary or noise records, shape (classes,); or on
            auxiliary records of each class, a row each, shape (classes, classes), which follows the batch's own
            composition and errs less; None takes 1 / classes.
        mean_feature_sum: average, over auxiliary records, of the summed inputs of the last layer; needed when that
            layer has no bias.
        smoothing: label smoothing the model was trained with, in [0, 1).

    >>> view = BatchGradient((np.zeros((1, 2)), np.zeros(2)), (np.zeros((1, 2)), np.array([0.5, -0.5])), batch_size=4)
    >>> LabelCounts()(view)
    array([1, 1, 1, 1])
    """

    mean_probability: FloatArray | None = None
    mean_feature_sum: float | None = None
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= check.number("smoothing", self.smoothing) < 1:
            raise InputError(f"smoothing must be in [0, 1), got {self.smoothing!r}.")

    def __call__(self, view: GradientView) -> IntArray:
        """The labels as a multiset in increasing order, shape (batch,)."""
        gradient = gradient_of(view, "label restoration")
        size = require_known(
            "records" if isinstance(view, ClientUpdate) else "batch_size", gradient.batch_size, "label counts"
        )
        signal, classes = self._signal(gradient)
        uniform = np.full(classes, 1 / classes)
        predicted = (
            uniform if self.mean_probability is None else check.finite("mean_probability", self.mean_probability)
        )
        if predicted.shape == (classes, classes):
            # signal = Σ over classes of share · (prediction - smoothed label); the shares add up to 1.
            labels = (1 - self.smoothing) * np.eye(classes) + self.smoothing / classes
            system, right = np.vstack([(predicted - labels).T, np.ones(classes)]), np.append(signal, 1.0)
            share = np.linalg.lstsq(system, right, rcond=None)[0]
        else:
            predicted = check.vector("mean_probability", predicted, length=classes)
            share = (predicted - signal - self.smoothing / classes) / (1 - self.smoothing)
        return np.repeat(np.arange(classes), whole_counts(size * share, size))

    def _signal(self, gradient: BatchGradient) -> tuple[FloatArray, int]:
        if _has_bias(gradient):
            bias = _head(gradient)[0]
            return bias, bias.size
        kernel = gradient.gradient[-1]
        if kernel.ndim != 2:
            raise InputError(f"the last array must be a dense kernel or bias, got shape {kernel.shape}.")
        total = require_known("mean_feature_sum", self.mean_feature_sum, "label counts on a last layer without a bias")
        return kernel.sum(0) / check.positive("mean_feature_sum", total), kernel.shape[1]


def whole_counts(real: FloatArray, total: int) -> IntArray:
    """Whole counts of at least 0 that add up to ``total``, nearest to ``real`` by largest remainders.

    >>> whole_counts(np.array([1.6, 0.7, -0.3]), 2)
    array([1, 1, 0])
    """
    positive = np.maximum(check.vector("counts", real), 0.0)
    if positive.sum() == 0:
        positive = np.ones_like(positive)
    scaled = positive * (total / positive.sum())
    counts: IntArray = np.floor(scaled + 1e-9).astype(np.int64)
    remainder = scaled - counts
    for c in np.argsort(-remainder, kind="stable")[: total - int(counts.sum())]:
        counts[c] += 1
    return counts


def _has_bias(gradient: BatchGradient) -> bool:
    return gradient.gradient[-1].ndim == 1


def _head(gradient: BatchGradient) -> tuple[FloatArray, FloatArray]:
    """Bias and kernel gradient of the last layer."""
    bias, kernel = gradient.gradient[-1], gradient.gradient[-2]
    if kernel.ndim != 2 or kernel.shape[1] != bias.size:
        raise InputError(
            f"label restoration needs a dense last layer; the last arrays have shapes {kernel.shape} and {bias.shape}."
        )
    return bias, kernel
