"""The pool of reference models: trained like the target, in chunks, over processes, and never twice.

What is kept of a model is what an attacker observes of it: its outputs on every record. Chunks are stored under a
hash of all they depend on, so a run that was killed and started again trains only what is missing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from dpaudit import _check
from dpaudit._check import BoolArray, FloatArray
from dpaudit.data.dataset import Dataset
from dpaudit.data.source import Source, rebuilt
from dpaudit.errors import InputError
from dpaudit.machine import free_memory
from dpaudit.seeds import derived
from dpaudit.tasks import Workers
from dpaudit.training.speed import measured
from dpaudit.training.store import Store, digest
from dpaudit.training.trainer import TrainedModel, Trainer

if TYPE_CHECKING:
    from dpaudit.stacked.cost import Cost

FORMAT = "pool-1"
PROCESS_BYTES = 600_000_000  # of a worker with TensorFlow before it does anything (measured)
LARGEST_CHUNK = 64
GROUPS = 4  # of copies that the engine trains as one program, in a chunk: one for each of a few cores


@runtime_checkable
class StackedTrainer(Trainer, Protocol):
    """A trainer that trains many models at once; model i depends on its row and its seed alone."""

    def train_many(
        self,
        dataset: Dataset,
        included: BoolArray,
        *,
        seeds: Sequence[int],
        progress: Callable[[int], None] | None = None,
    ) -> list[TrainedModel]:
        """Train one model per row of ``included``."""
        ...

    def cost(self, dataset: Dataset) -> "Cost":
        """What one example costs, and what a step holds."""
        ...

    def steps(self, records: int) -> int:
        """Updates of a training on ``records`` records."""
        ...

    @property
    def batch_size(self) -> int:
        """(Expected) records per step."""
        ...


@dataclass(frozen=True)
class PoolOutputs:
    """What the models of a pool return.

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
        seconds: predicted time with the workers of the pool, were they all like this machine; None when the trainer
            has no number of epochs to predict from.
        worker_hours: the same, summed over the workers.
    """

    models: int
    trainings: int
    chunk: int
    peak_bytes: int
    seconds: float | None
    worker_hours: float | None


def together(*costs: PoolCost) -> PoolCost:
    """What several pools of the same models take, one after the other.

    >>> together(PoolCost(4, 4, 4, 10, 1.0, 0.1), PoolCost(4, 2, 4, 20, 0.5, None))
    PoolCost(models=4, trainings=6, chunk=4, peak_bytes=20, seconds=1.5, worker_hours=None)
    """

    def total(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) if len(known) == len(values) else None

    return PoolCost(
        costs[0].models,
        sum(cost.trainings for cost in costs),
        costs[0].chunk,
        max(cost.peak_bytes for cost in costs),
        total([cost.seconds for cost in costs]),
        total([cost.worker_hours for cost in costs]),
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
        source: builds the same records and population again, on whatever machine trains; None sends them there.
    """

    trainer: Trainer
    dataset: Dataset
    included: BoolArray
    population: Dataset | None
    seed: int
    folder: Path
    memory: int | None = None
    workers: Workers = Workers()  # noqa: RUF009  # a frozen value
    source: Source | None = None

    def __post_init__(self) -> None:
        if self.included.ndim != 2 or self.included.shape[1] != len(self.dataset) or self.included.dtype != np.bool_:
            raise InputError(
                f"included must be booleans of shape (models, {len(self.dataset)}), "
                f"got {self.included.dtype} of shape {self.included.shape}."
            )
        if self.memory is not None:
            _check.integer("memory", self.memory, at_least=1)

    def __len__(self) -> int:
        return len(self.included)

    def __call__(self, progress: Callable[[int], None] = lambda models: None) -> PoolOutputs:
        """Train what is missing; ``progress`` is called with the number of models that have been trained.

        Raises:
            InputError: records that are too few for the trainer, more memory needed than there is.
            AuditFailed: a model diverged.
        """
        store = Store(self.folder, self._version)
        done: dict[int, dict[str, FloatArray]] = {}
        missing = []
        for first, rows in self.chunks():
            found = store.get(self._key(first, rows))
            if found is None:
                missing.append((first, rows))
            else:
                done[first] = found
        for first, outputs in self._train(missing):
            store.put(self._key(first, self.included[first : first + len(outputs["records"])]), outputs)
            done[first] = outputs
            progress(len(outputs["records"]))
        ordered = [done[first] for first in sorted(done)]
        population = None
        if self.population is not None:
            population = np.concatenate([chunk["population"] for chunk in ordered])
        return PoolOutputs(np.concatenate([chunk["records"] for chunk in ordered]), population)

    def missing(self) -> int:
        """Models that are not stored yet."""
        store = Store(self.folder, self._version)
        return sum(
            len(rows) for first, rows in self.chunks(keep=False) if not store.path(self._key(first, rows)).exists()
        )

    def chunks(self, *, keep: bool = True) -> list[tuple[int, BoolArray]]:
        """First model and masks of each chunk.

        A pool that was begun keeps the size of its chunks, so that a later run with other memory finds its files;
        ``keep`` is false when nothing is begun.
        """
        note = Store(self.folder, self._version)
        key = f"chunks-{digest(FORMAT, self._what, self.included, self.seed)[:24]}"
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
        jobs, need = self.workers.jobs, self.process_bytes()
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
            from dpaudit.stacked.training import workers

            batch = self.trainer.batch_size
            programs = min(GROUPS, -(-len(self) // self._cost.stack(batch)))
            at_once = min(programs, max(1, workers() // self.workers.jobs))
            training = at_once * self._cost.step_bytes(batch) + self._cost.data_bytes(len(self.dataset))
        return PROCESS_BYTES + 2 * data + training

    def model_bytes(self) -> int:
        """Predicted bytes one more model in a chunk takes: its outputs, and its weights with their state."""
        records = len(self.dataset) + (len(self.population) if self.population is not None else 0)
        weights = 0 if self._cost is None else self._cost.model_bytes
        return 8 * 2 * records * self.dataset.outputs + weights

    def cost(self) -> "PoolCost":
        """What running it would take; a few epochs are trained to know how fast, unless that is known."""
        store = Store(self.folder, self._version)
        chunks = self.chunks(keep=False)
        missing = [rows for first, rows in chunks if not store.path(self._key(first, rows)).exists()]
        trainings = sum(len(rows) for rows in missing)
        size = max(len(rows) for _, rows in chunks)
        peak = self.workers.jobs * (self.process_bytes() + size * self.model_bytes())
        seconds = self._seconds(missing) if missing else 0.0
        hours = None if seconds is None else self.workers.jobs * seconds / 3600
        return PoolCost(len(self), trainings, size, peak, seconds, hours)

    def _seconds(self, missing: list[BoolArray]) -> float | None:
        epochs = getattr(self.trainer, "epochs", None)
        if epochs is None:
            return None
        rows = missing[0]
        packed, seeds = np.packbits(rows, axis=1), list(range(len(rows)))

        def train(some: int) -> None:
            _chunk(with_epochs(self.trainer, some), (self.dataset, self.population), packed, seeds, 0)

        population = 0 if self.population is None else len(self.population)
        what = described(with_epochs(self.trainer, 1)), self.dataset.features.shape, self.dataset.outputs, population
        speed = measured(train, *what, rows.shape)
        # The processes of one machine share its cores: together they are as fast as the one that was measured.
        return speed.seconds(epochs, calls=len(missing))

    @cached_property
    def _cost(self) -> "Cost | None":
        return self.trainer.cost(self.dataset) if isinstance(self.trainer, StackedTrainer) else None

    def _train(self, missing: list[tuple[int, BoolArray]]) -> Iterator[tuple[int, dict[str, FloatArray]]]:
        records: _Records = self.dataset, self.population
        if self.source is not None and not self.workers.are_here:
            records = self.source, self.dataset.fingerprint
        recipes = {
            f"train models {first} to {first + len(rows) - 1}": (
                self.trainer,
                records,
                np.packbits(rows, axis=1),
                [model_seed(self.seed, first + i) for i in range(len(rows))],
                first,
            )
            for first, rows in missing
        }
        for _, found in self.workers(_chunk, recipes):
            yield found

    @property
    def _version(self) -> str:
        from dpaudit import __version__

        return f"{FORMAT} of dpaudit {__version__}"

    @property
    def _what(self) -> tuple[object, ...]:
        population = None if self.population is None else self.population.fingerprint
        return described(self.trainer), self.dataset.fingerprint, population

    def _key(self, first: int, rows: BoolArray) -> str:
        return digest(FORMAT, self._what, rows, [model_seed(self.seed, first + i) for i in range(len(rows))])[:32]


def model_seed(seed: int, model: int) -> int:
    """Seed of one model of a pool."""
    return derived(seed, "reference", model)


def with_epochs(trainer: Trainer, epochs: int) -> Trainer:
    """The same trainer for so many epochs, whatever accuracy they reach."""
    changed: dict[str, Any] = {"epochs": epochs}
    if hasattr(trainer, "until_accuracy"):
        changed["until_accuracy"] = None
    return replace(trainer, **changed)  # type: ignore[type-var]  # asked for dataclasses only


def described(value: object) -> str:
    """Text that differs whenever a trainer would train differently.

    A dataclass is its fields; what depends on a file or on code has a ``fingerprint``.

    >>> from dpaudit.training.architecture import Mlp
    >>> described(Mlp((8,)))
    "Mlp(hidden=(8,), activation='relu')"
    """
    fingerprint = getattr(value, "fingerprint", None)
    if fingerprint is not None:
        return f"{type(value).__qualname__}({fingerprint})"
    if is_dataclass(value) and not isinstance(value, type):
        parts = ", ".join(f"{field.name}={described(getattr(value, field.name))}" for field in fields(value))
        return f"{type(value).__qualname__}({parts})"
    return repr(value)


_Records = tuple[Dataset, Dataset | None] | tuple[Source, str]


def _chunk(
    trainer: Trainer, records: _Records, packed: npt.NDArray[np.uint8], seeds: Sequence[int], first: int
) -> tuple[int, dict[str, FloatArray]]:
    dataset, population = rebuilt(*records) if isinstance(records[0], Source) else records
    rows = np.unpackbits(packed, axis=1, count=len(dataset)).astype(bool)
    if isinstance(trainer, StackedTrainer):
        models = trainer.train_many(dataset, rows, seeds=seeds)
    else:
        models = [trainer(dataset, row, seed=own) for row, own in zip(rows, seeds, strict=True)]
    outputs = {"records": np.stack([model.predict(dataset.features) for model in models])}
    if population is not None:
        outputs["population"] = np.stack([model.predict(population.features) for model in models])
    return first, outputs
