"""Leakage while a model trains, epoch by epoch, from inside Keras ``fit``."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.data.dataset import Dataset
from dpaudit.integrations.leakage import Leakage, beliefs
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.tensorflow import keras
from dpaudit.scores.from_outputs import OutputKind


class LeakagePerEpoch(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Runs the loss attack at the end of epochs and adds what it finds to the history of ``fit``.

    The history gains ``leakage_auc``, ``leakage_advantage`` and ``leakage_tpr`` (the TPR at ``fpr``), as do loggers
    that come after it in the list of callbacks, and ``rows`` holds them with the standard error and the epoch. It
    costs one prediction of the given records.

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
        self._leakage = Leakage(members, nonmembers, fpr, every, path)
        self._kind: OutputKind = kind
        self.rows = self._leakage.rows

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Attack the model as it is now."""
        found = self._leakage.after(epoch + 1, beliefs(self._predict, self._kind))
        if logs is not None:
            logs.update(found)

    def _predict(self, features: npt.NDArray[np.float32]) -> FloatArray:
        parts = [features[start : start + 2048] for start in range(0, len(features), 2048)]
        return np.concatenate([np.asarray(self.model(part, training=False), np.float64) for part in parts])
