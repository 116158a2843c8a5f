"""Where an audit's records come from: small enough to send to another machine, which builds the same records again."""

import socket
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from dpaudit.data.dataset import Dataset, Task
from dpaudit.data.load import Encode, load
from dpaudit.data.text import TextRoles, load_text
from dpaudit.data.text_canaries import TextCanaries
from dpaudit.data.tokens import tokenizer_named
from dpaudit.data.users import Clients
from dpaudit.runtime.check import BoolArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.seeds import derive_seed


@dataclass(frozen=True)
class Source:
    """The records of a plan.

    Args:
        name: of a known data set, or a path; for tasks on other machines, a path that they can read too.
        task: what is predicted, for files.
        label: column or columns of the labels, for tables.
        user: column that says whose record it is, for tables.
        clients: shares the records out among users, where the data does not say whose they are.
        population: share of the records set aside.
        seed: of the audit.
        groups: columns that the records are sliced by.
        drop: columns of a table that are no features.
        features: columns of a table that are features; empty for all others.
        encode: whether words, dates and gaps of a table become numbers.
        text: how texts become records; None where the records are no texts.
        canaries: put behind the audited records.
    """

    name: str
    task: Task
    label: str | tuple[str, ...]
    user: str | None
    clients: Clients | None
    population: float
    seed: int
    groups: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    encode: Encode = "none"
    text: TextRoles | None = None
    canaries: TextCanaries | None = None

    def __call__(self) -> tuple[Dataset, Dataset]:
        """The records of the trainings, canaries last, and the population."""
        everything = self._all()
        if self.clients is not None:
            everything = replace(everything, users=self.clients(everything, seed=derive_seed(self.seed, "clients")))
        aside = population_mask(len(everything), self.population, seed=derive_seed(self.seed, "population"))
        records, population = everything.take(~aside), everything.take(aside)
        if self.canaries is None or self.text is None:
            return records, population
        tokenizer, seed = tokenizer_named(self.text.tokenizer), derive_seed(self.seed, "canaries")
        made = self.canaries(records, population, tokenizer, seed=seed)
        records, population = (replace(data, class_count=made.class_count) for data in (records, population))
        return replace(with_added(records, made), notes=(*records.notes, *made.notes)), population

    def _all(self) -> Dataset:
        if self.text is not None:
            return load_text(self.name, self.text, user=self.user, groups=self.groups)
        return load(
            self.name,
            task=self.task,
            label=self.label,
            user=self.user,
            groups=self.groups,
            drop=self.drop,
            features=self.features,
            encode=self.encode,
        )


@lru_cache(maxsize=1)
def rebuild_records(source: Source, fingerprint: str) -> tuple[Dataset, Dataset]:
    """The records of a source, where ``fingerprint`` says what the audited ones must be; kept for the next task.

    Raises:
        InputError: this machine reads other records.
    """
    records, population = source()
    if records.fingerprint != fingerprint:
        raise InputError(
            f"{source.name} holds other records on {socket.gethostname()} than where the audit was started."
        )
    return records, population


@dataclass(frozen=True)
class Records:
    """The records that a task works on: themselves, or where they come from.

    Args:
        fingerprint: of all of them; what a result depends on.
        held: the records and the population (None without one), or their source with the fingerprint of its records.
        added: further records behind those of the source, such as canaries.
        has_population: whether the population of the source is given out.
    """

    fingerprint: str
    held: tuple[Dataset, Dataset | None] | tuple[Source, str]
    added: Dataset | None = None
    has_population: bool = True

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        population: Dataset | None = None,
        *,
        added: Dataset | None = None,
        source: Source | None = None,
    ) -> "Records":
        """Records with some ``added``; with a ``source`` of records and population, nothing else is sent along."""
        everything = dataset if added is None else with_added(dataset, added)
        fingerprint = f"{everything.fingerprint} {None if population is None else population.fingerprint}"
        if source is None:
            return cls(fingerprint, (everything, population))
        return cls(fingerprint, (source, dataset.fingerprint), added, population is not None)

    def __call__(self) -> tuple[Dataset, Dataset | None]:
        """The records and the population.

        Raises:
            InputError: this machine reads other records.
        """
        if not isinstance(self.held[0], Source):
            return self.held
        dataset, population = rebuild_records(*self.held)
        everything = dataset if self.added is None else with_added(dataset, self.added)
        return everything, population if self.has_population else None


def with_added(dataset: Dataset, added: Dataset) -> Dataset:
    """Records with others behind them, which have no users, groups or rows."""
    return replace(
        dataset,
        features=np.concatenate([dataset.features, added.features]),
        labels=np.concatenate([dataset.labels, added.labels]),
        users=None,
        groups={},
        rows=None,
    )


def population_mask(records: int, share: float, *, seed: int) -> BoolArray:
    """Records set aside, shape (records,): a random ``share`` of them, at least one on each side.

    >>> int(population_mask(10, 0.2, seed=1).sum())
    2
    """
    count = round(share * records)
    if not 0 < count < records:
        raise InputError(f"population {share} of {records} records leaves {count} aside; both sides need records.")
    mask = np.zeros(records, bool)
    mask[np.random.default_rng(seed).permutation(records)[:count]] = True
    return mask
