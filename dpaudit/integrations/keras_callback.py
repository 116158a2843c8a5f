"""Leakage while a model trains, epoch by epoch, from inside Keras ``fit``."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from dpaudit.data.dataset import Dataset
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import write_text
from dpaudit.runtime.tensorflow import keras
from dpaudit.scores.from_outputs import OutputKind, observe
from dpaudit.scores.roc import Roc, auc_standard_error, nonmembers_needed
from dpaudit.scores.scores import Scores


class LeakagePerEpoch(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Runs the loss attack at the end of epochs and adds what it finds to the history of ``fit``.

    The history gains ``leakage_auc``, ``leakage_advantage`` and ``leakage_tpr`` (the TPR at ``fpr``), and ``rows``
    holds them with the standard error and the epoch. It costs one prediction of the given records; where training
    should stop before it starts to memorise is where the AUC leaves one half.

    Args:
        members: records of the training data, or a sample of them.
        nonmembers: records that are not in it.
        kind: what the model returns, ``logits`` or ``probabilities``.
        fpr: false-positive rate of ``leakage_tpr``.
        every: attack after every so many epochs.
        path: also write the rows as JSON to this file after each of them; None writes nothing.

    Raises:
        InputError: a rate or a number is out of range; there are too few non-members to show the rate; the model's
            outputs do not fit the data.
    """

    def __init__(
        self,
        members: Dataset,
        nonmembers: Dataset,
        *,
        kind: OutputKind = "logits",
        fpr: float = 0.01,
        every: int = 1,
        path: Path | None = None,
    ) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []
        self._members, self._nonmembers = members, nonmembers
        self._kind: OutputKind = kind
        self._fpr = check.open_unit("fpr", fpr)
        if len(nonmembers) < (needed := nonmembers_needed(self._fpr)):
            raise InputError(f"fpr = {fpr:g} needs {needed} non-members or more, got {len(nonmembers)}.")
        self._every = check.integer("every", every, at_least=1)
        self._path = path

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Attack the model as it is now."""
        if (epoch + 1) % self._every:
            return
        scores = Scores(self._phi(self._members), self._phi(self._nonmembers))
        roc = Roc.of(scores)
        found = {
            "leakage_auc": roc.auc,
            "leakage_advantage": roc.advantage,
            "leakage_tpr": roc.tpr_at(self._fpr).tpr,
        }
        self.rows.append({"epoch": epoch + 1, **found, "leakage_auc_standard_error": auc_standard_error(scores)})
        if logs is not None:
            logs.update(found)
        if self._path is not None:
            write_text(self._path, json.dumps(self.rows, indent=1) + "\n")

    def _phi(self, data: Dataset) -> Any:
        outputs = np.concatenate(
            [
                np.asarray(self.model(data.features[i : i + 2048], training=False), np.float64)
                for i in range(0, len(data), 2048)
            ]
        )
        return observe(outputs, data.labels, task=data.task, kind=self._kind).phi
