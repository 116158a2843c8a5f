"""What a model answered, stored by question: for models whose weights only their own framework can keep."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import AuditFailed, InputError
from dpaudit.training.reference_models.store import Store, digest
from dpaudit.training.trainer import Predict


@dataclass(frozen=True)
class RecordedOutputs:
    """Predicts from what is stored; the model is trained when it is asked something that is not.

    Args:
        train: gives the model; called once at most.
        store: where its answers are kept, under a hash of the features it was asked about.
        records: features that a model trained again must answer as the one before it did, shape (records, ...).

    >>> import tempfile
    >>> from pathlib import Path
    >>> def train():
    ...     print("training")
    ...     return lambda features: features.astype(float)
    >>> store, records = Store(Path(tempfile.mkdtemp()), "1"), np.array([[1.0]])
    >>> RecordedOutputs(train, store, records)(records)
    training
    array([[1.]])
    >>> RecordedOutputs(train, store, records)(records)
    array([[1.]])
    """

    train: Callable[[], Predict]
    store: Store
    records: npt.NDArray[np.float32]

    def __call__(self, features: npt.NDArray[np.float32]) -> FloatArray:
        """Logits of features (records, ...), shape (records, outputs).

        Raises:
            InputError: what is stored are no answers to this question.
            AuditFailed: the model was trained again and is another one.
        """
        key = digest(features)
        stored = self._stored(key, len(features))
        if stored is not None:
            return stored
        logits = self._model(features)
        self.store.put(key, {"logits": logits})
        return logits

    @cached_property
    def _model(self) -> Predict:
        model = self.train()
        before = self._stored(digest(self.records), len(self.records))
        if before is not None and not np.array_equal(before, model(self.records)):
            raise AuditFailed(
                f"trained again from the same seed, the model is another one than that of {self.store.folder}, and not "
                "all it is asked is stored there: let the training depend on its seed alone, or remove that folder."
            )
        return model

    def _stored(self, key: str, records: int) -> FloatArray | None:
        found = self.store.get(key)
        if found is None:
            return None
        logits = found.get("logits", np.empty(0))
        if logits.dtype != np.float64 or logits.ndim != 2 or len(logits) != records or not np.isfinite(logits).all():
            raise InputError(f"{self.store.path(key)} holds no logits of {records} records; remove it.")
        return logits
