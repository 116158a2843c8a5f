"""Whether reference models are like the target: how each was trained, and what each answers rightly."""

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t

from dpaudit.results.membership import Likeness, Trained
from dpaudit.results.result import Utility
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.scores.signals import PoolSignals

if TYPE_CHECKING:
    from dpaudit.training.load_model import LoadedModel

LEVEL = 0.01  # of both comparisons together
LEAST = 0.01  # a difference of accuracy that matters


def likeness(
    pool: PoolSignals, utility: Utility | None, recipe: object, loaded: "LoadedModel | None"
) -> Likeness | None:
    """Target and references side by side; None where accuracies say nothing, as for a regression.

    Args:
        pool: signals of the references.
        utility: of the target.
        recipe: what trained the references.
        loaded: the file of the target; None for a function.
    """
    if utility is None or utility.metric != "accuracy":
        return None
    right = _right(pool)
    inside = np.array([row[kept].mean() for row, kept in zip(right, pool.included, strict=True)])
    outside = np.array([row[~kept].mean() for row, kept in zip(right, pool.included, strict=True)])
    references = Trained(
        optimizer=_said(getattr(recipe, "optimizer", None)),
        learning_rate=_said(getattr(recipe, "learning_rate", None)),
        steps=_steps(recipe, int(pool.included.sum(axis=1).mean())),
        train=float(inside.mean()),
        test=float(outside.mean()),
    )
    target = Trained(optimizer="", learning_rate="", steps=None, train=utility.train, test=utility.test)
    if loaded is not None:
        compiled = loaded.compiled
        own = Trained(
            optimizer=compiled.optimizer,
            learning_rate=compiled.schedule or _said(compiled.learning_rate),
            steps=loaded.steps,
            train=utility.train,
            test=utility.test,
        )
        target = own
        # What the recipe leaves open is the file's.
        references = references.model_copy(
            update={
                "optimizer": references.optimizer or own.optimizer,
                "learning_rate": references.learning_rate or own.learning_rate,
            }
        )
    return Likeness(
        target=target,
        references=references,
        train_sd=float(inside.std(ddof=1)),
        test_sd=float(outside.std(ddof=1)),
        models=len(inside),
        unlike=unlike(utility, inside, outside, target.steps, references.steps),
    )


def unlike(
    utility: Utility,
    inside: FloatArray,
    outside: FloatArray,
    steps: int | None = None,
    reference_steps: int | None = None,
) -> list[str]:
    """In which ways references are not like the target, a sentence each.

    An accuracy is unlike where it lies outside the prediction interval of the references' (Student's t, level `LEVEL`
    over training and held-out records together) and is more than `LEAST` from their mean. Numbers of steps are unlike
    where they differ by more than a tenth.

    >>> few, many = np.array([0.5, 0.51, 0.5, 0.49]), np.array([0.6, 0.61, 0.6, 0.59])
    >>> unlike(Utility(metric="accuracy", train=0.9, test=0.6), few, many)
    ['Accuracy on training records is 0.900 for the model and 0.500 ± 0.008 for its references (mean and standard \
deviation of 4): they were not trained like it, and attacks that use them say less than they could.']
    """
    found = []
    for what, own, values in (("training", utility.train, inside), ("held-out", utility.test, outside)):
        mean, deviation, count = float(values.mean()), float(values.std(ddof=1)), len(values)
        reach = float(t.isf(LEVEL / 4, count - 1)) * deviation * np.sqrt(1 + 1 / count)
        if abs(own - mean) > max(reach, LEAST):
            found.append(
                f"Accuracy on {what} records is {own:.3f} for the model and {mean:.3f} ± {deviation:.3f} for its "
                f"references (mean and standard deviation of {count}): they were not trained like it, and attacks that "
                "use them say less than they could."
            )
    if steps and reference_steps and abs(steps - reference_steps) > 0.1 * steps:
        found.append(
            f"The model's optimizer made {steps} steps and that of its references {reference_steps}: epochs, "
            "batch_size or records of the recipe are not those of the model."
        )
    return found


def _right(pool: PoolSignals) -> BoolArray:
    """Which records each model answers rightly, shape (models, records)."""
    if pool.log_probabilities is None or pool.labels is None:
        return np.asarray(pool.phi > 0)  # of two classes
    return np.stack([row.argmax(axis=1) == pool.labels for row in pool.log_probabilities])


def _steps(recipe: object, records: int) -> int | None:
    epochs, size = getattr(recipe, "epochs", None), getattr(recipe, "batch_size", None)
    if getattr(recipe, "until_accuracy", None) is not None or epochs is None or not size:
        return None
    return int(epochs * -(-records // size))


def _said(value: object) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
