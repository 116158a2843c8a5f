"""What an attacker of somebody's trained model has besides it: further records, and reference models of its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dpaudit.data.dataset import Dataset, Task
from dpaudit.data.given import Given, concatenate_datasets, refuse_overlap
from dpaudit.data.load import has_column
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.seeds import derive_seed
from dpaudit.training.trainer import Trainer


@dataclass(frozen=True)
class References:
    """What the attacker has besides the target: more records from the same source, and models of its own.

    Args:
        recipe: how the target was trained: a trainer, or for a model file the parameters of one (``trainer`` and what
            is not in the file: ``epochs``, ``batch_size``, the noise). The architecture, and where it fits the
            optimizer, its learning rate and momentum, are read from the file. None trains no reference models.
        data: further records from the same source, none of which is a member; None when there are none.
        models: how many to train, an even number from 4 on.
        records: how many records the target was trained on; the references get as many where the data allow it.
            None: as many as there are members.
    """

    recipe: Trainer | Mapping[str, Any] | None = None
    data: Given | None = None
    models: int = 16
    records: int | None = None

    def __post_init__(self) -> None:
        if self.recipe is None and self.data is None:
            raise InputError("references need a recipe to train models with, further data, or both.")
        if self.models % 2 or self.models < 4:
            raise InputError(f"references must be an even number from 4 on, got {self.models}.")
        if self.records is not None:
            check.integer("records", self.records, at_least=2)


def read_further(
    references: References | None,
    task: Task,
    columns: Sequence[str],
    user: str | None,
    *,
    label: str | Sequence[str],
    drop: Sequence[str],
    read: Callable[..., Dataset],
) -> Dataset | None:
    """The reference data, without the column of users where it has one: nobody is judged by it."""
    if references is None or references.data is None:
        return None
    data = references.data
    beside = user if isinstance(data, str | Path) and user is not None and has_column(Path(data), user) else None
    return read(data, "reference data", task, columns, beside, label=label, drop=drop)


def divided(
    references: References, further: Dataset | None, audited_records: Dataset, members: int, *, seed: int
) -> tuple[Dataset, Dataset | None]:
    """Records that reference models are trained on halves of, and a population that no model has seen.

    The first are the audited records, filled up from the further ones to twice the size of the target's training
    data. The second is what is left, at least a fifth of the further records.
    """
    if further is None:
        return audited_records, None
    refuse_overlap(audited_records, further)
    wanted = 2 * (references.records or members) if references.recipe is not None else 0
    used = int(np.clip(wanted - len(audited_records), 0, len(further) - -(-len(further) // 5)))
    order = np.random.default_rng(derive_seed(seed, "reference data")).permutation(len(further))
    population = further.take(order[used:])
    if not used:
        return audited_records, population
    return concatenate_datasets(audited_records, further.take(order[:used]), audited_records.name), population
