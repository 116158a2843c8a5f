"""A data set: what a model is trained on and audited with."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from dpaudit.data.labels import Labels, class_labels
from dpaudit.runtime import check
from dpaudit.runtime.check import IntArray
from dpaudit.runtime.errors import InputError

RecordTask = Literal["multiclass", "binary", "multilabel", "regression"]
Task = Literal[RecordTask, "next-token"]


@dataclass(frozen=True)
class Dataset:
    """Records with their labels.

    Args:
        name: what the report calls it.
        features: shape (records, ...), float32.
        labels: ``multiclass`` and ``binary``: (records,) whole numbers, or anything that `class_labels` takes for
            classes; ``multilabel``: (records, labels) of 0 and 1; ``regression``: (records,) or (records, outputs),
            float32; ``next-token``: (records, positions), 1 where the loss of a token counts and 0 where not. Its
            features are tokens, shape (records, 1 + positions), and the loss of the first never counts.
        task: what is predicted.
        users: whose record it is, shape (records,), when records belong to users.
        licence: licence of the data, for the report.
        groups: what the records may be sliced by -> the value of each record, shape (records,).
        rows: row number of each record in the source it came from, shape (records,); None: they are all of it.
        columns: names of the features, one for each, where they have names.
        class_names: what each class is called, where labels were words.
        class_count: number of classes, which a part of the records may not show; None: those of the labels. Of
            ``next-token`` the size of the vocabulary.
        notes: how the source was read, in sentences.

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
    columns: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    class_count: int | None = None
    notes: tuple[str, ...] = ()

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
            classes = 2 if self.task == "binary" else self.class_count
            records = features.shape[0]
            clean: npt.NDArray[np.generic]
            if self.class_names:  # the labels are places among them
                clean = check.labels(name, self.labels, classes=len(self.class_names), length=records)
            else:
                found = class_labels(name, self.labels, classes=classes, length=records)
                clean = found.codes
                object.__setattr__(self, "class_names", found.names)
        elif self.task == "next-token":
            clean = self._counted_tokens(name, features)
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
        if self.columns and (len(self.columns),) != features.shape[1:]:
            raise InputError(
                f"features of {self.name} have {len(self.columns)} column names for shape {features.shape[1:]}."
            )
        if self.rows is not None and np.shape(self.rows) != features.shape[:1]:
            raise InputError(f"rows of {self.name} must have shape ({features.shape[0]},), got {np.shape(self.rows)}.")

    def _counted_tokens(self, name: str, tokens: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        counted = check.finite(name, self.labels).astype(np.float32)
        if tokens.ndim != 2 or counted.shape != (tokens.shape[0], tokens.shape[1] - 1):
            raise InputError(
                f"{name} must say of all tokens but the first whether they count: shape "
                f"{(tokens.shape[0], tokens.shape[-1] - 1)} for tokens {tokens.shape}, got {counted.shape}."
            )
        if not np.isin(counted, (0, 1)).all() or not counted.any(axis=1).all():
            raise InputError(f"{name} must be 0 or 1, and 1 for at least one token of each record.")
        size = check.integer(f"vocabulary of {self.name}", self.class_count, at_least=2)
        if (tokens != np.floor(tokens)).any() or tokens.min() < 0 or tokens.max() >= size:
            raise InputError(f"tokens of {self.name} must be whole numbers from 0 to {size - 1}.")
        return counted

    def __len__(self) -> int:
        return int(self.features.shape[0])

    @cached_property
    def outputs(self) -> int:
        """Numbers a model returns for one record: classes, labels, or regression outputs; 1 for ``binary``.

        Of ``next-token`` the loss of each token but the first.
        """
        if self.task == "multiclass":
            return max(self._shown, len(self.class_names), self.class_count or 0)
        if self.task == "binary" or self.labels.ndim == 1:
            return 1
        return int(self.labels.shape[1])

    @property
    def network_shape(self) -> tuple[tuple[int, ...], int]:
        """Shape of what a network takes of one record, and how many outputs it has (for each position of a text)."""
        if self.task == "next-token":
            assert self.class_count is not None  # checked when it was made
            return (self.features.shape[1] - 1,), self.class_count
        return self.features.shape[1:], self.outputs

    @property
    def _shown(self) -> int:
        """Number of classes as far as these records show it."""
        return int(self.classes.max()) + 1

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
        if self.task == "multiclass" and self.outputs != self._shown:  # a model of more classes is another one
            digest.update(f"classes {self.outputs}".encode())
        if self.task == "next-token":
            digest.update(f"vocabulary {self.class_count}".encode())
        if self.users is not None:
            digest.update(np.ascontiguousarray(self.users.astype(str)).tobytes())
        return digest.hexdigest()

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> "Dataset":
        """The records of some rows (indices or a mask), same name and as many classes."""
        return replace(
            self,
            features=self.features[rows],
            labels=self.labels[rows],
            users=None if self.users is None else self.users[rows],
            groups={by: values[rows] for by, values in self.groups.items()},
            rows=self.source_rows[rows],
            class_count=self.outputs if self.task == "multiclass" else self.class_count,
        )

    @property
    def described(self) -> object:
        """The records as a classifier that never sees a model can learn from them: of texts their tokens as words."""
        if self.task != "next-token":
            return self.features
        counts = self.labels.astype(bool)
        return [
            " ".join(f"t{token:.0f}" for token in row[1:][on]) for row, on in zip(self.features, counts, strict=True)
        ]

    @property
    def reading(self) -> tuple[str, ...]:
        """How the source was read, and which class has which number, in sentences."""
        mapping = Labels(np.empty(0, np.int64), self.class_names).mapping
        return (*self.notes, mapping) if mapping else self.notes

    @property
    def source_rows(self) -> IntArray:
        """Row number of each record in the source, shape (records,): what a report calls a record."""
        return np.arange(len(self)) if self.rows is None else self.rows
