"""From a model's outputs to φ, for every task, for logits and for probabilities, for one model or a whole stack.

Logits keep everything. Probabilities have lost what their float type rounded away: a probability of exactly 0 or 1
is cut off at 1e-300 and counted, so that a result can say how many records it could no longer tell apart.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from scipy.special import log_expit, log_softmax

from dpaudit.data.dataset import Task
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.logit_scaled import (
    FLOOR,
    confidence_from_probabilities,
    in_unit_interval,
    log_odds,
    logit_scaled_confidence,
)
from dpaudit.scores.signals import Signals

OutputKind = Literal["logits", "probabilities"]


class Phi(NamedTuple):
    """φ, and how many of its values were cut off at the floor."""

    values: FloatArray
    floored: int


def observe(outputs: object, labels: object, *, task: Task = "multiclass", kind: OutputKind = "logits") -> Signals:
    """Signals of one model.

    Args:
        outputs: what the model returns, shape (records, outputs); ``binary``: (records,) or (records, 1) of one
            number for class 1.
        labels: the truth, as in `Dataset`.
        task: ``multiclass``, ``binary``, ``multilabel`` or ``regression``.
        kind: what a classifier's outputs are.

    Raises:
        InputError: shapes do not fit the task, probabilities outside [0, 1] or (multiclass) not summing to one.

    >>> observe([[2.0], [-1.0]], [1, 1], task="binary").phi
    array([ 2., -1.])
    >>> observe([[0.25, 0.75]], [1], kind="probabilities").phi.round(4)
    array([1.0986])
    """
    array = check.finite("outputs", outputs)
    values, floored = phi(array, labels, task=task, kind=kind)
    if task == "multiclass":
        clean = check.labels("labels", labels)
        return Signals(values, clean, log_probabilities(array, kind=kind), floored=floored)
    if task == "binary":
        clean = check.labels("labels", labels, classes=2)
        positive = np.where(clean == 1, values, -values)  # the logit of class 1
        both = np.stack([log_expit(-positive), log_expit(positive)], axis=1)
        return Signals(values, clean, both, floored=floored)
    return Signals(values, floored=floored)


def phi(outputs: object, labels: object, *, task: Task, kind: OutputKind = "logits") -> Phi:
    """φ of outputs (..., records, outputs) with any leading axes, for example one of models.

    Several labels per record: φ of the whole vector of labels being predicted right. Regression: the number with
    softplus(-φ) = mean squared error. Texts: outputs are the losses of all tokens but the first, and φ is the number
    with softplus(-φ) = their mean over the tokens that count.
    """
    check.one_of("task", task, get_args(Task))
    check.one_of("kind", kind, get_args(OutputKind))
    array = check.finite("outputs", outputs)
    if task == "multiclass":
        return _multiclass(array, labels, kind)
    if task == "binary":
        classes = check.labels("labels", labels, classes=2)
        column = array[..., 0] if array.ndim > 1 and array.shape[-1] == 1 else array
        _rows(column.shape[-1], classes.size)
        return _signed(column, classes == 1, kind)
    truth = check.finite("labels", labels)
    if truth.ndim == 1:
        truth = truth[:, None]
    _rows(array.shape[-2] if array.ndim > 1 else 0, len(truth))
    if array.shape[-1] != truth.shape[1]:
        raise InputError(f"outputs must have {truth.shape[1]} columns like the labels, got {array.shape[-1]}.")
    if task == "regression":
        return from_loss(np.square(array - truth).mean(axis=-1))
    if task == "next-token":
        return from_loss(mean_token_loss(array, truth))
    wrong = ~np.isin(truth, (0.0, 1.0))
    if wrong.any():
        raise InputError(f"labels of a multilabel task must be 0 or 1, got {truth[wrong][0]:g}.")
    each, floored = _signed(array, truth == 1, kind)
    return Phi(from_loss(np.logaddexp(0.0, -each).sum(axis=-1)).values, floored)


def from_loss(loss: object) -> Phi:
    """φ of which ``loss`` ≥ 0 is the cross-entropy: -log(exp(loss) - 1), exact for tiny and for huge losses.

    >>> from_loss([np.log(2.0), 800.0]).values
    array([   0., -800.])
    """
    clean = check.finite("losses", loss)
    if clean.size and clean.min() < 0:
        raise InputError(f"losses must be at least 0, got {clean.min():g}.")
    zero = clean < FLOOR
    held = np.maximum(clean, FLOOR)
    return Phi(-held - np.log(-np.expm1(-held)), int(zero.sum()))


def mean_token_loss(losses: FloatArray, counted: FloatArray) -> FloatArray:
    """Mean loss of the tokens that count, shape (..., records), of losses and flags (..., records, tokens).

    >>> mean_token_loss(np.array([[2.0, 4.0, 9.0]]), np.array([[1.0, 1.0, 0.0]]))
    array([3.])
    """
    return np.asarray((losses * counted).sum(axis=-1) / counted.sum(axis=-1), np.float64)


def log_probabilities(outputs: FloatArray, *, kind: OutputKind) -> FloatArray:
    """Log-probabilities of a multi-class model's outputs (..., records, classes)."""
    if kind == "logits":
        return np.asarray(log_softmax(outputs, axis=-1), np.float64)
    logarithms: FloatArray = np.log(np.maximum(outputs, FLOOR))
    return logarithms


def losses_of_outputs(outputs: FloatArray, labels: npt.NDArray[np.generic], *, task: Task) -> FloatArray:
    """Loss of each record, shape (records,), from a model's outputs (records, outputs), logits of a classifier.

    Cross-entropy, its mean over several labels or the tokens of a text, or the squared error, its mean over several
    outputs.

    >>> losses_of_outputs(np.array([[0.0], [0.0]]), np.array([0, 1]), task="binary").round(4)
    array([0.6931, 0.6931])
    """
    if task == "multiclass":
        return -np.take_along_axis(log_softmax(outputs, axis=1), labels.astype(np.int64)[:, None], axis=1)[:, 0]
    truth = labels.reshape(len(outputs), -1).astype(np.float64)
    if task == "next-token":
        return mean_token_loss(outputs, truth)
    each = np.square(outputs - truth) if task == "regression" else -log_expit(np.where(truth == 1, outputs, -outputs))
    return np.asarray(each.mean(axis=1), np.float64)


def quality(outputs: FloatArray, labels: npt.NDArray[np.generic], *, task: Task) -> FloatArray:
    """Whether each record is predicted right (the share of its labels), or its squared error, shape (records,).

    Of a text the mean loss of its tokens.

    >>> quality(np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([0, 0]), task="multiclass")
    array([1., 0.])
    """
    if task in ("regression", "next-token"):
        return losses_of_outputs(outputs, labels, task=task)
    if task == "multiclass":
        return np.asarray(outputs.argmax(axis=1) == labels, np.float64)
    return np.asarray(((outputs > 0) == (labels.reshape(len(outputs), -1) == 1)).mean(axis=1), np.float64)


def _multiclass(outputs: FloatArray, labels: object, kind: OutputKind) -> Phi:
    if outputs.ndim < 2 or outputs.shape[-1] < 2:
        one = outputs.ndim == 1 or outputs.shape[-1] == 1
        raise InputError(
            f"outputs of a multi-class model must be (records, classes), got shape {outputs.shape}"
            + ("; one number for each record is of task 'binary' or 'regression'." if one else ".")
        )
    truth = check.labels("labels", labels, classes=outputs.shape[-1])
    _rows(outputs.shape[-2], truth.size)
    if kind == "logits":
        return Phi(logit_scaled_confidence(outputs, truth), 0)
    return Phi(*confidence_from_probabilities(outputs, truth))


def _signed(outputs: FloatArray, positive: BoolArray, kind: OutputKind) -> Phi:
    """φ of one number for "yes", where ``positive`` says whether yes is true."""
    if kind == "logits":
        return Phi(np.where(positive, outputs, -outputs), 0)
    in_unit_interval(outputs)
    return Phi(*log_odds(np.where(positive, outputs, 1 - outputs), np.where(positive, 1 - outputs, outputs)))


def _rows(outputs: int, labels: int) -> None:
    if outputs != labels:
        raise InputError(f"outputs and labels must have one row per record, got {outputs} and {labels} rows.")
