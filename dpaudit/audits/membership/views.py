"""The same records seen again: through other queries, and at earlier checkpoints of the training.

Queries ride along with the population: a model is asked about the population and the copies at once, and the answers
are told apart afterwards. A checkpoint is the same training, with the same seed, stopped earlier.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dpaudit.data.dataset import Dataset
from dpaudit.data.queries import Query
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.from_outputs import OutputKind, observe
from dpaudit.scores.signals import PoolSignals, Signals


@dataclass(frozen=True)
class Queried:
    """A population with copies of the audited records behind it.

    Args:
        everything: the population, then the copies, query after query.
        population: records of the population.
        records: records of one copy.
    """

    everything: Dataset
    population: int
    records: int

    @classmethod
    def of(cls, dataset: Dataset, population: Dataset, queries: Sequence[Query], *, seed: int) -> "Queried":
        """Ask every query about every record of ``dataset``; ``seed`` makes them the same for every model."""
        copies = [copy for i, query in enumerate(queries) for copy in query(dataset.features, seed=seed + i)]
        if not copies:
            return cls(population, len(population), len(dataset))
        everything = replace(
            population,
            features=np.concatenate([population.features, *copies]),
            labels=np.concatenate([population.labels, *[dataset.labels for _ in copies]]),
            users=None,
            groups={},
            rows=None,
        )
        return cls(everything, len(population), len(dataset))

    def pool(self, observed: PoolSignals) -> PoolSignals:
        """A pool observed on ``everything`` in place of the population, its queries told apart."""
        seen = observed.population
        if seen is None or seen.shape[1] != len(self.everything):
            raise InputError(f"the pool must be observed on the {len(self.everything)} records of the queries.")
        labels, log_p = observed.population_labels, observed.population_log_probabilities
        features, first = observed.population_features, slice(self.population)
        return replace(
            observed,
            population=seen[:, first],
            population_labels=None if labels is None else labels[first],
            population_log_probabilities=None if log_p is None else log_p[:, first],
            population_features=None if features is None else features[first],
            queries=tuple(seen[:, part] for part in self.parts()),
            query_log_probabilities=() if log_p is None else tuple(log_p[:, part] for part in self.parts()),
        )

    def signals(
        self, seen: FloatArray, dataset: Dataset, kind: OutputKind, included: BoolArray, pool: PoolSignals | None
    ) -> tuple[Signals, ...]:
        """What the queries show of a target that was asked about ``everything``.

        Args:
            seen: its outputs, shape (records of ``everything``, outputs).
            dataset: the records that were asked about.
            kind: of the outputs.
            included: which reference was trained on which record, shape (models, records).
            pool: the references, observed on ``everything`` in place of the population; None without any.
        """
        views = [observe(seen[part], dataset.labels, task=dataset.task, kind=kind) for part in self.parts()]
        if pool is None or pool.population is None:
            return tuple(views)
        references = [pool.population[:, part] for part in self.parts()]
        return tuple(
            view.with_references(reference, included) for view, reference in zip(views, references, strict=True)
        )

    def parts(self) -> list[slice]:
        """Where the copies lie in ``everything``."""
        starts = range(self.population, len(self.everything), self.records)
        return [slice(first, first + self.records) for first in starts]
