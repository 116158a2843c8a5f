"""What every experiment of one audit shares."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from dpaudit.accounting.claim import Adjacency, Claim, Design, Protection, Unit
from dpaudit.audits.by_name import BoundSettings
from dpaudit.data.dataset import Dataset
from dpaudit.data.inclusion import complementary_pairs
from dpaudit.data.source import Records, Source
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.jobs import Workers
from dpaudit.runtime.progress import Progress
from dpaudit.runtime.seeds import derive_seed
from dpaudit.training.reference_models.trained_model import Wanted, train_models
from dpaudit.training.trainer import TrainedModel, Trainer


@dataclass(frozen=True)
class Subject:
    """A trained model under audit.

    Args:
        name: as in the plan.
        trainer: what trained it, and would train a reference model the same way.
        model: the trained model.
        claim: what it claims; None when it claims nothing.
    """

    name: str
    trainer: Trainer
    model: TrainedModel
    claim: Claim | None


@dataclass(frozen=True)
class Audit:
    """The data, the coins, the models and the error level that the experiments of a run share.

    Args:
        dataset: the audited records; each was a member of every subject's training data by a fair coin.
        member: the coins, shape (records,).
        population: records that no subject was trained on and that are not audited.
        subjects: the models under audit.
        protection: what the membership coins are about, and the δ at which ε is measured.
        design: whether the scores of one model are one experiment (``one-run``) or independent trials.
        confidence: of each single lower bound, so that all bounds of the audit hold together at the plan's confidence.
        seed: of everything but the draw of the members and the training of the subjects.
        folder: the run folder; heavy intermediate results go below it.
        progress: where long steps say how far they are.
        memory: bytes that trainings side by side may use; None is half of what is free.
        workers: where heavy work is done.
        source: builds ``dataset`` and ``population`` again elsewhere; None when nothing can.
        canaries: so many records at the end of ``dataset`` are canaries: they are audited, and all other records are
            members; 0: every record is audited.
        seed_of_training: of the subjects; None is ``seed``.
        bound: on the scores of membership inference; None is the default of the design.
        begun: when the audit began, on the monotonic clock, in seconds: a budget counts from there.
    """

    dataset: Dataset
    member: BoolArray
    population: Dataset
    subjects: tuple[Subject, ...]
    protection: Protection
    design: Design
    confidence: float
    seed: int
    folder: Path
    progress: Progress
    memory: int | None = None
    workers: Workers = Workers()  # noqa: RUF009  # a frozen value
    source: Source | None = None
    canaries: int = 0
    seed_of_training: int | None = None
    bound: BoundSettings | None = None
    begun: float = field(default_factory=time.monotonic)

    @property
    def unit(self) -> Unit:
        """Unit the membership coins are about."""
        return self.protection.unit

    @property
    def adjacency(self) -> Adjacency:
        """Neighbouring data sets that one coin makes."""
        return self.protection.adjacency

    @property
    def delta(self) -> float:
        """δ at which ε is measured."""
        return self.protection.delta

    @cached_property
    def audited(self) -> Dataset:
        """The records that are there by their own coin."""
        return self.dataset.take(self.rows) if self.canaries else self.dataset

    @property
    def audited_member(self) -> BoolArray:
        """The coins of the audited records."""
        return self.member[self.rows]

    @property
    def rows(self) -> BoolArray:
        """Which records are audited, shape (records,)."""
        return np.arange(len(self.dataset)) >= (len(self.dataset) - self.canaries if self.canaries else 0)

    def reference_pairs(self, models: int) -> BoolArray:
        """Who is in which reference model, shape (models, records): halves of the audited records, and all others."""
        included = np.ones((models, len(self.dataset)), bool)
        included[:, self.rows] = complementary_pairs(models, len(self.audited), seed=self.seed_for("pairs"))
        return included

    def seed_for(self, *words: object) -> int:
        """A seed for one purpose of this audit."""
        return derive_seed(self.seed, *words)

    def records(self, *, added: Dataset | None = None, population: bool = True) -> Records:
        """The audited records (with some ``added`` behind them) and perhaps the population, as tasks take them.

        On a cluster workers read them themselves; the processes of one machine share its memory.
        """
        source = self.source if self.workers.scheduler else None
        return Records.of(self.dataset, self.population if population else None, added=added, source=source)

    def trained(
        self,
        wanted: Mapping[str, Wanted],
        dataset: Dataset,
        records: Records,
        done: Callable[[str], object] = lambda name: None,
    ) -> dict[str, TrainedModel]:
        """Models by name, as `dpaudit.training.reference_models.trained_model.train_models`, kept in the run folder."""
        folder, workers = self.folder / "models", self.workers
        return train_models(wanted, dataset, records, folder=folder, workers=workers, memory=self.memory, done=done)

    def training_seed(self, name: str) -> int:
        """Seed that a subject is trained with."""
        return derive_seed(self.seed if self.seed_of_training is None else self.seed_of_training, "train", name)

    def logits(self, subject: Subject) -> tuple[FloatArray, FloatArray]:
        """Outputs of a subject on the audited records and on the population, each (records, outputs)."""
        return subject.model.predict(self.dataset.features), subject.model.predict(self.population.features)

    def __post_init__(self) -> None:
        if self.member.shape != (len(self.dataset),) or self.member.dtype != np.bool_:
            raise ValueError(
                f"member must be {len(self.dataset)} booleans, got {self.member.dtype}{self.member.shape}."
            )
