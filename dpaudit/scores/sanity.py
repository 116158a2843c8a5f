"""What is looked at before predictions are attacked: are they what they are said to be, and did the model learn?"""

import numpy as np

from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.signals import Signals

LEVEL = 0.01  # of the tests whether a model does better than its most common class
SHARED = 0.1  # of the non-members, from which rows that members have too are worth a word


def refuse_probabilities(outputs: object) -> None:
    """Refuse probabilities that are said to be logits: as such they would hide most of a leak.

    Args:
        outputs: of a multi-class model, shape (records, classes).

    >>> refuse_probabilities([[0.25, 0.75], [0.5, 0.5]])
    Traceback (most recent call last):
    ...
    dpaudit.runtime.errors.InputError: outputs lie in [0, 1] and every row sums to 1: these are probabilities, not \
logits; say so with kind 'probabilities' (--outputs probabilities).
    """
    array = check.finite("outputs", outputs)
    if array.ndim == 2 and array.shape[1] > 1 and array.min() >= 0 and np.abs(array.sum(axis=1) - 1).max() < 1e-3:
        raise InputError(
            "outputs lie in [0, 1] and every row sums to 1: these are probabilities, not logits; say so with kind "
            "'probabilities' (--outputs probabilities)."
        )


def shared_rows(outputs: object, labels: object, member: BoolArray) -> str:
    """How many non-members have the very outputs and label of a member, in a sentence; empty when that is common.

    A few equal rows are two records that look alike to the model. Where rows repeat on one side as well, as those of a
    decision tree do, nothing is said.

    Args:
        outputs: shape (records, ...).
        labels: shape (records, ...).
        member: who is a member, shape (records,).

    Raises:
        InputError: both sides hold the same rows, though not all rows are equal.

    >>> shared_rows([1.0, 2.0, 3.0, 2.0], [0, 0, 0, 0], np.array([True, True, False, False]))
    '1 of 2 non-members have exactly the outputs and the label of a member: if they are the same records, they are on \
both sides, and the audit is wrong.'
    """
    parts = [np.asarray(part, np.float64).reshape(member.size, -1) for part in (outputs, labels)]
    keys = np.fromiter((hash(row.tobytes()) for row in np.concatenate(parts, axis=1)), np.int64, member.size)
    _, kind = np.unique(keys, return_inverse=True)
    inside, outside = np.bincount(kind, member), np.bincount(kind, ~member)
    if kind.max() > 0 and (inside == outside).all():
        raise InputError(
            f"members and non-members have the same outputs and labels in all {int(outside.sum())} rows: the same "
            "records were given twice."
        )
    both = int(outside[inside > 0].sum())
    share, repeated = both / outside.sum(), inside[inside > 1].sum() / inside.sum()
    if share <= SHARED or share <= 2 * repeated:
        return ""
    return (
        f"{both} of {int(outside.sum())} non-members have exactly the outputs and the label of a member: if they are "
        "the same records, they are on both sides, and the audit is wrong."
    )


def learned_nothing(signals: Signals, member: BoolArray, name: str) -> str:
    """That a classifier does no better than its most common class on its own training records; empty when it does.

    Right answers are compared with those of always answering the most common class by an exact sign test on the records
    where the two differ, at level `LEVEL`. With few records of a class a good model may never answer it. So it is also
    tested whether the model ranks the records of any class above the others (Mann and Whitney 1947, Bonferroni over
    classes), and the sentence says which of both it is.

    Args:
        signals: what was observed; without classes nothing is said.
        member: who was trained on, shape (records,).
        name: of the model.

    >>> log_p = np.log([[0.9, 0.1]] * 10)
    >>> usual = Signals(np.zeros(10), np.array([0] * 8 + [1] * 2), log_p)
    >>> learned_nothing(usual, np.ones(10, bool), "model")
    'model answers 0.8 of its training records rightly, no better than always giving the most common class (0.8; sign \
test, level 0.01): it learned nothing that an attack could find.'
    """
    from scipy.stats import binomtest, mannwhitneyu

    if signals.log_probabilities is None or signals.labels is None:
        return ""
    labels, log_p = signals.labels[member], signals.log_probabilities[member]
    classes, counts = np.unique(labels, return_counts=True)
    if classes.size < 2:
        return ""
    right, usual = log_p.argmax(axis=1) == labels, labels == classes[counts.argmax()]
    better, worse = int((right & ~usual).sum()), int((usual & ~right).sum())
    if better > worse and binomtest(better, better + worse, 0.5, alternative="greater").pvalue <= LEVEL:
        return ""
    said = (
        f"{name} answers {right.mean():.3g} of its training records rightly, no better than always giving the most "
        f"common class ({usual.mean():.3g}; sign test, level {LEVEL:g})"
    )
    for label in classes:
        own = labels == label
        if mannwhitneyu(log_p[own, label], log_p[~own, label], alternative="greater").pvalue <= LEVEL / classes.size:
            return f"{said}. Its outputs do rank the classes, so accuracy says little about how much it learned."
    return f"{said}: it learned nothing that an attack could find."
