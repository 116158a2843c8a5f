"""The pool of reference models: trained like the target, in chunks, over processes, and never twice.

What is kept of a model is what an attacker observes of it: its outputs on every record. Chunks are stored under a
hash of all they depend on, so a run that was killed and started again trains only what is missing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from dpaudit.data.dataset import Dataset
from dpaudit.data.source import Records
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.jobs import PROCESS_BYTES, START_SECONDS, Workers, cores, processes_worth_starting, room_for
from dpaudit.runtime.machine import free_memory
from dpaudit.runtime.out_of_core import Rows, current_room
from dpaudit.runtime.seeds import derive_seed
from dpaudit.runtime.took import Took, total
from dpaudit.training.capabilities import ByEpochs, StackedTrainer, require_records
from dpaudit.training.reference_models.masks import Packed
from dpaudit.training.reference_models.speed import Sample, measure_training, speed_of
from dpaudit.training.reference_models.store import describe_value, digest
from dpaudit.training.reference_models.task_cache import missing, run_cached, store_of
from dpaudit.training.trainer import TrainedModel, Trainer

if TYPE_CHECKING:
    from dpaudit.engine.cost import Cost

LARGEST_CHUNK = 64
GROUPS = 4  # of copies that the engine trains as one program, in a chunk: one for each of a few cores


@dataclass(frozen=True)
class PoolOutputs:
    """What the models of a pool return; mapped from the store where it would take too much memory.

    Args:
        records: on the records, shape (models, records, outputs).
        population: on the population, shape (models, population records, outputs); None without one.
    """

    records: FloatArray
    population: FloatArray | None


@dataclass(frozen=True)
class PoolCost:
    """What a pool would take.

    Args:
        models: in the pool.
        trainings: still to do; the others are stored.
        chunk: models trained together.
        peak_bytes: predicted memory at the peak, over all processes.
        took: predicted time with the workers of the pool, were they all like this machine; None when the trainer has
            no number of epochs to predict from.
        worker_hours: the same, summed over the workers.
        processes: of this machine that would train it.
    """

    models: int
    trainings: int
    chunk: int
    peak_bytes: int
    took: Took | None
    worker_hours: float | None
    processes: int = 1


def add_costs(*costs: PoolCost) -> PoolCost:
    """What several pools of the same models take, one after the other.

    >>> both = add_costs(PoolCost(4, 4, 4, 10, Took(1.0, 1.0), 0.1), PoolCost(4, 2, 4, 20, Took(0.5, 1.0), None))
    >>> both.trainings, both.peak_bytes, both.took, both.worker_hours
    (6, 20, Took(wall=1.5, cpu=2.0), None)
    """
    hours = [cost.worker_hours for cost in costs if cost.worker_hours is not None]
    return PoolCost(
        costs[0].models,
        sum(cost.trainings for cost in costs),
        costs[0].chunk,
        max(cost.peak_bytes for cost in costs),
        total([cost.took for cost in costs]),
        sum(hours) if len(hours) == len(costs) else None,
        max(cost.processes for cost in costs),
    )


@dataclass(frozen=True)
class Pool:
    """Trains one model per row of ``included`` and keeps what each returns.

    Args:
        trainer: of the target; size, steps, clipping, noise and augmentation are therefore the target's.
        dataset: the records.
        included: who is in which model, shape (models, records).
        population: records no model is trained on.
        seed: of the pool; model i has the same seed however many there are.
        folder: where results are kept.
        memory: bytes the pool may use; None is half of what is free.
        workers: where models are trained.
        records: the records and the population as tasks take them; None sends them.
    """

    trainer: Trainer
    dataset: Dataset
    included: BoolArray
    population: Dataset | None
    seed: int
    folder: Path
    memory: int | None = None
    workers: Workers = Workers()  # noqa: RUF009  # a frozen value
    records: Records | None = None

    def __post_init__(self) -> None:
        if self.included.ndim != 2 or self.included.shape[1] != len(self.dataset) or self.included.dtype != np.bool_:
            raise InputError(
                f"included must be booleans of shape (models, {len(self.dataset)}), "
                f"got {self.included.dtype} of shape {self.included.shape}."
            )
        if self.memory is not None:
            check.integer("memory", self.memory, at_least=1)

    def __len__(self) -> int:
        return len(self.included)

    def __call__(self, progress: Callable[[int], None] = lambda models: None) -> PoolOutputs:
        """Train what is missing; ``progress`` is called with the number of models that have been trained.

        Raises:
            InputError: records that are too few for the trainer, more memory needed than there is.
            AuditFailed: a model diverged.
        """
        require_records(self.trainer, self.included, name=self.dataset.name)
        recipes = self._recipes(self.chunks())
        fits = current_room().holds(len(self) * self._output_bytes)
        results = dict(
            run_cached(
                recipes,
                PoolOutputs,
                store=store_of(self.folder),
                workers=self.workers,
                done=lambda name: progress(len(recipes[name].seeds)),
                each=self._bytes(),
                memory=self.memory,
                mapped=not fits,
            )
        )
        ordered = [results[name] for name in recipes]
        others = [chunk.population for chunk in ordered if chunk.population is not None]
        return PoolOutputs(
            _joined([chunk.records for chunk in ordered], in_memory=fits),
            _joined(others, in_memory=fits) if others else None,
        )

    def missing(self) -> int:
        """Models that are not stored yet."""
        return sum(len(rows) for rows in self._missing())

    def chunks(self, *, keep: bool = True) -> list[tuple[int, BoolArray]]:
        """First model and masks of each chunk.

        A pool that was begun keeps the size of its chunks, so that a later run with other memory finds its files;
        ``keep`` is false when nothing is begun.
        """
        note = store_of(self.folder)
        key = f"chunks-{digest(describe_value(self.trainer), self._records.fingerprint, self.included, self.seed)[:24]}"
        found = note.get(key)
        size = self.chunk_size() if found is None else int(found["size"])
        if found is None and keep:
            note.put(key, {"size": np.array(size)})
        return [(first, self.included[first : first + size]) for first in range(0, len(self), size)]

    def chunk_size(self) -> int:
        """Models trained together: a few groups of the engine's, or as many as fit the memory.

        It does not depend on where they are trained: another grouping of the same models rounds differently, and the
        numbers of an audit should not.

        Raises:
            InputError: not even one model for each process fits.
        """
        if not isinstance(self.trainer, StackedTrainer) or self._cost is None:
            return 1
        budget = free_memory() // 2 if self.memory is None else self.memory
        jobs, need = self.workers.jobs or 1, self.process_bytes()
        fitting = (budget // jobs - need) // self.model_bytes()
        if fitting < 1:
            raise InputError(
                f"memory of {budget / 1e6:,.0f} MB is too little for {jobs} process(es) of "
                f"{(need + self.model_bytes()) / 1e6:,.0f} MB each; fewer jobs or a smaller batch would fit."
            )
        wanted = GROUPS * self._cost.stack(self.trainer.batch_size)
        return 1 << (min(fitting, wanted, LARGEST_CHUNK).bit_length() - 1)

    def process_bytes(self) -> int:
        """Predicted bytes of a process before it holds any model.

        TensorFlow, the data, and one step of every program that trains at a time.
        """
        data = self.dataset.features.nbytes + (self.population.features.nbytes if self.population is not None else 0)
        training = 0
        if isinstance(self.trainer, StackedTrainer) and self._cost is not None:
            from dpaudit.engine.training import workers

            batch = self.trainer.batch_size
            programs = min(GROUPS, -(-len(self) // self._cost.stack(batch)))
            at_once = min(programs, max(1, workers() // (self.workers.jobs or 1)))
            training = at_once * self._cost.step_bytes(batch) + self._cost.data_bytes(len(self.dataset))
        return PROCESS_BYTES + 2 * data + training

    def model_bytes(self) -> int:
        """Predicted bytes one more model in a chunk takes: its outputs, and its weights with their state."""
        records = len(self.dataset) + (len(self.population) if self.population is not None else 0)
        weights = 0 if self._cost is None else self._cost.model_bytes
        return 8 * 2 * records * self.dataset.outputs + weights

    @property
    def _output_bytes(self) -> int:
        records = len(self.dataset) + (len(self.population) if self.population is not None else 0)
        return 8 * records * self.dataset.outputs

    def cost(self) -> "PoolCost":
        """What running it would take; a few epochs are trained to know how fast, unless that is known."""
        left = self._missing()
        took, busy = self._took(left) if left else Took(), self._busy()
        processes = self.workers.jobs or 1
        if self.workers.jobs is None and took is not None and not self.workers.scheduler:
            fitting = partial(room_for, self._bytes(), self.memory)
            processes = processes_worth_starting(
                took.wall, tasks=len(left), busy=busy, idle=cores() - busy, room=fitting
            )
        if took is not None and took.wall and processes > 1:
            wall = START_SECONDS + took.wall * max(1 / processes, busy / cores())
            took = Took(wall, took.cpu + processes * START_SECONDS)
        hours = None if took is None else processes * took.wall / 3600
        trainings = sum(len(rows) for rows in left)
        return PoolCost(len(self), trainings, self._longest(), processes * self._bytes(), took, hours, processes)

    def _busy(self) -> int:
        """Cores that one process trains on: one for each program that runs at a time."""
        if not isinstance(self.trainer, StackedTrainer) or self._cost is None:
            return 1
        return min(cores(), -(-self._longest() // self._cost.stack(self.trainer.batch_size)))

    def _bytes(self) -> int:
        """Predicted bytes of a process that trains a chunk."""
        return self.process_bytes() + self._longest() * self.model_bytes()

    def _longest(self) -> int:
        return max(len(rows) for _, rows in self.chunks(keep=False))

    def _took(self, missing: list[BoolArray]) -> Took | None:
        """One group of copies is trained on some of the records; a chunk has so many groups, side by side."""
        trainer = self.trainer
        if not isinstance(trainer, ByEpochs):
            return None
        rows, stack, at_once = missing[0], 1, 1
        if isinstance(trainer, StackedTrainer) and self._cost is not None:
            stack = min(self._cost.stack(trainer.batch_size), len(rows))
            at_once = min(-(-len(rows) // stack), cores())
        some = Sample.of(trainer, self.dataset, rows[0])
        included, seeds = rows[:stack][:, some.rows], tuple(range(stack))

        def train(epochs: int) -> list[TrainedModel]:
            return train_each(trainer.with_epochs(epochs), some.dataset, included, seeds)

        def predict(models: list[TrainedModel]) -> None:
            for model in models:
                model.predict(some.dataset.features)

        what = speed_of(trainer), some.dataset.features.shape, self.dataset.outputs, included.shape
        speed = measure_training(train, predict, *what).of_records(some.scale)
        others = 0 if self.population is None else len(self.population)
        groups, asked = len(rows) / stack, 1 + others / len(self.dataset)
        parallel = (speed.call + speed.epoch * trainer.epochs) * groups
        chunk = Took(max(parallel.wall / at_once, parallel.cpu / cores()), parallel.cpu)
        return speed.once + (chunk + speed.predict * (groups * asked)) * len(missing)

    @cached_property
    def _cost(self) -> "Cost | None":
        return self.trainer.cost(self.dataset) if isinstance(self.trainer, StackedTrainer) else None

    @cached_property
    def _records(self) -> Records:
        return Records.of(self.dataset, self.population) if self.records is None else self.records

    def _recipes(self, chunks: list[tuple[int, BoolArray]]) -> "dict[str, TrainChunk]":
        return {
            f"train models {first} to {first + len(rows) - 1}": TrainChunk(
                self.trainer,
                self._records,
                Packed.of(rows),
                tuple(model_seed(self.seed, first + i) for i in range(len(rows))),
            )
            for first, rows in chunks
        }

    def _missing(self) -> list[BoolArray]:
        """Masks of the chunks that are not stored yet."""
        chunks = self.chunks(keep=False)
        recipes = self._recipes(chunks)
        names = missing(recipes, store=store_of(self.folder))
        return [rows for name, (_, rows) in zip(recipes, chunks, strict=True) if name in names]


def _joined(parts: list[FloatArray], *, in_memory: bool) -> FloatArray:
    """Outputs of all models, one chunk after the other."""
    if in_memory:
        return np.concatenate(parts)
    return cast(FloatArray, Rows([row for part in parts for row in part]))  # an array to those who read it


def model_seed(seed: int, model: int) -> int:
    """Seed of one model of a pool."""
    return derive_seed(seed, "reference", model)


def train_each(trainer: Trainer, dataset: Dataset, included: BoolArray, seeds: Sequence[int]) -> list[TrainedModel]:
    """One model per row of ``included``, all at once where the trainer can."""
    if isinstance(trainer, StackedTrainer):
        return trainer.train_many(dataset, included, seeds=seeds)
    return [trainer(dataset, row, seed=seed) for row, seed in zip(included, seeds, strict=True)]


@dataclass(frozen=True, eq=False)
class TrainChunk:
    """A task: some models of a pool.

    Args:
        trainer: of all of them.
        records: and the population, or where they come from.
        included: who is in which model, (models, records).
        seeds: of the models.
    """

    trainer: Trainer
    records: Records
    included: Packed
    seeds: tuple[int, ...]

    def __call__(self) -> PoolOutputs:
        """What the models return."""
        dataset, population = self.records()
        models = train_each(self.trainer, dataset, self.included.mask, self.seeds)
        return PoolOutputs(
            np.stack([model.predict(dataset.features) for model in models]),
            None if population is None else np.stack([model.predict(population.features) for model in models]),
        )
