"""What all tasks of a gradient experiment share, and which records its victims hold."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dpaudit.audits.gradient.settings import GradientSettings, Scenario
from dpaudit.data.dataset import Dataset
from dpaudit.data.source import Records
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.seeds import derive_seed
from dpaudit.training.reference_models.store import describe_value, digest


@dataclass(frozen=True, eq=False)
class StageInputs:
    """What all tasks of an experiment share; equal when their fingerprints are.

    Args:
        settings: of the plan.
        records: victims are the audited records, decoys and auxiliary records the population.
        seed: of the audit.
        delta: δ of the defences' ε.
        confidence: of each verdict.
    """

    settings: GradientSettings
    records: Records
    seed: int
    delta: float
    confidence: float

    @cached_property
    def fingerprint(self) -> str:
        """Of all of it."""
        return digest(self.settings, describe_value(self.records), self.seed, self.delta, self.confidence)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StageInputs) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def seed_for(self, *words: object) -> int:
        """A seed for one purpose."""
        return derive_seed(self.seed, "gradient", *words)


def draw_victims(dataset: Dataset, scenario: Scenario, victims: int, *, seed: int) -> tuple[FloatArray, IntArray]:
    """Records (victims, batch, ...) and labels of a scenario's victims, no record twice.

    A victim's first record is the same whatever the batch, so that defences are compared on the same records.
    """
    rows = victim_rows(dataset, scenario, victims, seed=seed)
    return dataset.features[rows].astype(np.float64), dataset.classes[rows]


def victim_rows(dataset: Dataset, scenario: Scenario, victims: int, *, seed: int) -> IntArray:
    """Rows of the records of `draw_victims`, (victims, batch)."""
    number = victims * scenario.batch
    if number > len(dataset):
        raise InputError(f"scenario {scenario.name!r} needs {number} records, {dataset.name} has {len(dataset)}.")
    order = np.random.default_rng(seed).permutation(len(dataset))
    firsts, others = order[:victims, None], order[victims:number]
    return np.concatenate([firsts, others.reshape(victims, scenario.batch - 1)], axis=1)
