"""Attribute inference by asking the model, `Fredrikson et al. (2014) <https://www.usenix.org/conference/usenixsecurity14/technical-sessions/presentation/fredrikson_privacy>`_.

The attacker knows everything of a record but one attribute, and its label.
"""  # the address is one word

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from dpaudit.data.dataset import Task
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.from_outputs import OutputKind, phi


@dataclass(frozen=True)
class AttributeInference:
    """What the model adds to guessing the attribute from how common its values are.

    Args:
        guesses: index of the guessed value, shape (records,).
        accuracy: share of right guesses with the model.
        baseline: share of right guesses from the prior alone.
        p_value: exact McNemar test that the model adds nothing.
    """

    guesses: IntArray
    accuracy: float
    baseline: float
    p_value: float


def infer_attribute(
    predict: Callable[[FloatArray], object],
    features: object,
    labels: object,
    *,
    column: int,
    values: object,
    prior: object,
    task: Task = "multiclass",
    kind: OutputKind = "logits",
) -> AttributeInference:
    """Guess a column of the features: the value with the largest prior x p(label | record with that value).

    The true column is read only afterwards, to count right guesses.

    Args:
        predict: features (records, columns) -> outputs.
        features: the records, shape (records, columns), with the true attribute.
        labels: their labels.
        column: the attribute.
        values: the values it can take.
        prior: how common each value is, known to the attacker from elsewhere; same length, sums to 1.
        task: of the model.
        kind: of its outputs.

    Raises:
        InputError: the true column holds a value that is not listed, or shapes do not fit.
    """
    table = check.finite("features", features, ndim=2)
    index = check.integer("column", column, at_least=0, at_most=table.shape[1] - 1)
    options = check.vector("values", values)
    common = check.vector("prior", prior, length=options.size)
    if common.min() <= 0 or abs(common.sum() - 1) > 1e-6:
        raise InputError(f"prior must be above 0 and sum to 1, got {common.tolist()}.")
    truth = table[:, index]
    unknown = ~np.isin(truth, options)
    if unknown.any():
        raise InputError(f"column {index} holds {truth[unknown][0]:g}, which is not among the values.")
    evidence = np.empty((options.size, len(table)))
    for row, value in enumerate(options):
        asked = table.copy()
        asked[:, index] = value
        evidence[row] = -np.logaddexp(0.0, -phi(predict(asked), labels, task=task, kind=kind).values)
    guesses = np.argmax(evidence + np.log(common)[:, None], axis=0)
    right = options[guesses] == truth
    by_prior = options[int(np.argmax(common))] == truth
    gained, lost = int((right & ~by_prior).sum()), int((~right & by_prior).sum())
    p_value = float(binomtest(gained, gained + lost, alternative="greater").pvalue) if gained + lost else 1.0
    return AttributeInference(guesses, float(right.mean()), float(by_prior.mean()), p_value)
