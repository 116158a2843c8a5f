"""A data set: what a model is trained on and audited with."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from dpaudit.runtime import check
from dpaudit.runtime.check import IntArray
from dpaudit.runtime.errors import InputError

Task = Literal["multiclass", "binary", "multilabel", "regression"]


@dataclass(frozen=True)
class Dataset:
    """Records with their labels.

    Args:
        name: what the report calls it.
        features: shape (records, ...), float32.
        labels: ``multiclass`` and ``binary``: (records,) whole numbers; ``multilabel``: (records, labels) of 0 and
            1; ``regression``: (records,) or (records, outputs), float32.
        task: what is predicted.
        users: whose record it is, shape (records,), when records belong to users.
        licence: licence of the data, for the report.
        groups: what the records may be sliced by -> the value of each record, shape (records,).
        rows: row number of each record in the source it came from, shape (records,); None: they are all of it.

    >>> data = Dataset("two points", np.zeros((2, 3)), np.array([0, 1]))
    >>> len(data), data.outputs
    (2, 2)
    """

    name: str
    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.generic]
    task: Task = "multiclass"
    users: npt.NDArray[np.generic] | None = None
    licence: str = "not stated"
    groups: Mapping[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    rows: IntArray | None = None

    def __post_init__(self) -> None:
        check.one_of("task", self.task, get_args(Task))
        features: npt.NDArray[np.generic] = np.asarray(self.features)
        if features.dtype != np.float32 or not np.isfinite(features).all():  # a copy in float64 would be twice as large
            features = check.finite(f"features of {self.name}", self.features)
        if features.ndim < 2 or features.shape[0] == 0:
            raise InputError(f"features of {self.name} must have shape (records, ...), got {features.shape}.")
        object.__setattr__(self, "features", features.astype(np.float32, copy=False))
        name = f"labels of {self.name}"
        if self.task in ("multiclass", "binary"):
            classes = 2 if self.task == "binary" else None
            clean: npt.NDArray[np.generic] = check.labels(name, self.labels, classes=classes, length=features.shape[0])
        else:
            clean = check.finite(name, self.labels).astype(np.float32)
            if clean.shape[:1] != features.shape[:1]:
                raise InputError(f"{name} must have {features.shape[0]} rows, got shape {clean.shape}.")
        object.__setattr__(self, "labels", clean)
        if self.users is not None and np.shape(self.users) != features.shape[:1]:
            raise InputError(
                f"users of {self.name} must have shape ({features.shape[0]},), got {np.shape(self.users)}."
            )
        for by, values in self.groups.items():
            if np.shape(values) != features.shape[:1]:
                raise InputError(
                    f"column {by!r} of {self.name} must have shape ({features.shape[0]},), got {np.shape(values)}."
                )
        if self.rows is not None and np.shape(self.rows) != features.shape[:1]:
            raise InputError(f"rows of {self.name} must have shape ({features.shape[0]},), got {np.shape(self.rows)}.")

    def __len__(self) -> int:
        return int(self.features.shape[0])

    @cached_property
    def outputs(self) -> int:
        """Numbers a model returns for one record: classes, labels, or regression outputs; 1 for ``binary``."""
        if self.task == "multiclass":
            return int(self.classes.max()) + 1
        if self.task == "binary" or self.labels.ndim == 1:
            return 1
        return int(self.labels.shape[1])

    @property
    def classes(self) -> IntArray:
        """Labels as whole numbers, for the classification tasks."""
        if self.task not in ("multiclass", "binary"):
            raise InputError(f"{self.name} has no classes: its task is {self.task}.")
        return self.labels.astype(np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over features, labels and users; part of a result's provenance."""
        digest = hashlib.sha256(f"{self.task}{self.features.shape}{self.labels.dtype}".encode())
        digest.update(np.ascontiguousarray(self.features).tobytes())
        digest.update(np.ascontiguousarray(self.labels).tobytes())
        if self.users is not None:
            digest.update(np.ascontiguousarray(self.users.astype(str)).tobytes())
        return digest.hexdigest()

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> "Dataset":
        """The records of some rows (indices or a mask), same name."""
        return Dataset(
            self.name,
            self.features[rows],
            self.labels[rows],
            self.task,
            None if self.users is None else self.users[rows],
            self.licence,
            {by: values[rows] for by, values in self.groups.items()},
            self.source_rows[rows],
        )

    @property
    def source_rows(self) -> IntArray:
        """Row number of each record in the source, shape (records,): what a report calls a record."""
        return np.arange(len(self)) if self.rows is None else self.rows
