"""Leakage while a model trains, epoch by epoch: what the callbacks of all frameworks share."""

import json
from collections.abc import Callable, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from dpaudit.data.dataset import Dataset
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import write_text
from dpaudit.scores.from_outputs import OutputKind, observe
from dpaudit.scores.roc import Roc, auc_standard_error, nonmembers_needed
from dpaudit.scores.scores import Scores
from dpaudit.training.trainer import Predict

AnyRecords = TypeVar("AnyRecords", bound=Sized)


@dataclass
class Leakage(Generic[AnyRecords]):
    """The loss attack at the end of epochs, in a training loop of your own.

    Where training should stop before it starts to memorise is where the AUC leaves one half.

    Args:
        members: records of the training data, or a sample of them.
        nonmembers: records that are not in it.
        fpr: false-positive rate of ``leakage_tpr``.
        every: attack after every so many epochs.
        path: also write the rows as JSON to this file after each of them; None writes nothing.
        rows: what was found so far, with the epoch and the standard error of the AUC.

    Raises:
        InputError: a rate or a number is out of range; there are too few non-members to show the rate.

    >>> import numpy as np
    >>> data = Dataset("line", np.arange(40, dtype=np.float32)[:, None], np.tile([0, 1], 20))
    >>> watch = Leakage(data.take(np.arange(20)), data.take(np.arange(20, 40)), fpr=0.1)
    >>> def model(features):  # sure of its members alone
    ...     return np.where(features < 20, 9.0, 1.0) * np.eye(2)[features[:, 0].astype(int) % 2]
    >>> watch.after(1, beliefs(model))
    {'leakage_auc': 1.0, 'leakage_advantage': 1.0, 'leakage_tpr': 1.0}
    """

    members: AnyRecords
    nonmembers: AnyRecords
    fpr: float = 0.01
    every: int = 1
    path: Path | None = None
    rows: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        check.open_unit("fpr", self.fpr)
        check.integer("every", self.every, at_least=1)
        if not len(self.members):
            raise InputError("members must hold at least one record.")
        if len(self.nonmembers) < (needed := nonmembers_needed(self.fpr)):
            raise InputError(f"fpr = {self.fpr:g} needs {needed} non-members or more, got {len(self.nonmembers)}.")

    def after(self, epoch: int, score: Callable[[AnyRecords], FloatArray]) -> dict[str, float]:
        """What leaks after an epoch, by the names a logger shows; empty in epochs that are left out.

        Args:
            epoch: from 1.
            score: of each record, higher for what the model is surer of, such as `beliefs` gives.
        """
        if epoch % self.every:
            return {}
        scores = Scores(score(self.members), score(self.nonmembers))
        roc = Roc.of(scores)
        found = {
            "leakage_auc": roc.auc,
            "leakage_advantage": roc.advantage,
            "leakage_tpr": roc.tpr_at(self.fpr).tpr,
        }
        self.rows.append({"epoch": epoch, **found, "leakage_auc_standard_error": auc_standard_error(scores)})
        if self.path is not None:
            write_text(self.path, json.dumps(self.rows, indent=1) + "\n")
        return found


def beliefs(predict: Predict, kind: OutputKind = "logits") -> Callable[[Dataset], FloatArray]:
    """How sure a model is of each record's own label, φ, as a score (records,): the loss attack."""
    return lambda data: observe(predict(data.features), data.labels, task=data.task, kind=kind).phi
