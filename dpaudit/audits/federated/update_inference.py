"""What a server reads from its clients' updates beside membership: two simple baselines.

Source inference: which client holds this training record? `Hu et al. (2021) <https://arxiv.org/abs/2109.05659>`_: the
one whose update lowers the record's loss most. Property inference: does a client hold more records of a class than
others? `Melis et al. (2019) <https://arxiv.org/abs/1805.04049>`_: a classifier learns it from what clients made of the
attacker's own records would send. Both need single updates, so secure aggregation stops them; under local
noise the server sees what the clients send.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from dpaudit.audits.audit import Audit
from dpaudit.results.federated import PropertyResult, SourceResult
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.from_outputs import losses_of_outputs
from dpaudit.scores.roc import Roc, auc_standard_error
from dpaudit.scores.scores import Scores
from dpaudit.training.federated.aggregation import Aggregator, Distributed, LocalNoise


class Inference(BaseModel):
    """``[federated.inference]``: how many records to trace to their client, and the classes to look for in clients.

    ``rounds`` of the training are attacked, evenly spaced. ``shadows`` clients are made of the attacker's own records
    (the population) to learn a property from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    records: int = Field(default=300, ge=0)
    classes: list[int] = []
    rounds: int = Field(default=5, ge=1)
    shadows: int = Field(default=100, ge=20)


class Updates:
    """An observer that keeps what the server sees of some rounds: the model, who answered, and their updates."""

    def __init__(self, aggregator: Aggregator, rounds: int, looked_at: int, *, seed: int) -> None:
        self.aggregator = aggregator
        self.wanted = set(np.unique(np.linspace(0, rounds - 1, min(looked_at, rounds)).round().astype(int)).tolist())
        self.rng = np.random.default_rng(seed)
        self.seen: list[tuple[int, list[Any], list[int], FloatArray]] = []

    def __call__(self, moment: Any) -> None:
        """Keep a round, where it is wanted and somebody answered."""
        if moment.entry.number in self.wanted and moment.clients:
            flat = np.concatenate([np.reshape(u, (len(u), -1)) for u in moment.updates], axis=1).astype(np.float64)
            self.seen.append((moment.entry.number, moment.before, moment.clients, self._as_sent(flat)))

    def clients(self, name: str) -> IntArray:
        """Who answered in any of the rounds that were kept, shape (clients,).

        Raises:
            InputError: nobody did.
        """
        if not self.seen:
            raise InputError(f"no client of {name!r} answered in the rounds that federated.inference looks at.")
        seen: IntArray = np.unique(np.concatenate([clients for _, _, clients, _ in self.seen]))
        return seen

    def _as_sent(self, updates: FloatArray) -> FloatArray:
        if not isinstance(self.aggregator, LocalNoise):
            return updates
        clip, noise = self.aggregator.clip, self.aggregator.noise_multiplier
        norms = np.maximum(np.linalg.norm(updates, axis=1, keepdims=True), 1e-30)
        sent: FloatArray = updates * np.minimum(1.0, clip / norms) + self.rng.normal(0.0, noise * clip, updates.shape)
        return sent


def require_updates(name: str, aggregator: Aggregator) -> None:
    """Refuse a server that does not see its clients one by one."""
    if isinstance(aggregator, Distributed):
        raise InputError(
            f"{name!r} sums updates by secure aggregation: its server sees no client's own update, so "
            "federated.inference has nothing to read."
        )


def source_inference(
    name: str, prepared: Any, updates: Updates, owner: IntArray, count: int, audit: Audit
) -> SourceResult:
    """Trace up to ``count`` training records to the client whose update lowers their loss most, summed over rounds."""
    from dpaudit.training.keras_model import network_outputs

    network, members = prepared.network, np.flatnonzero(audit.member)
    there = updates.clients(name)
    members = members[np.isin(owner[members], there)]
    rng = np.random.default_rng(audit.seed_for("source records", name))
    rows = np.sort(rng.permutation(members)[:count])
    records = audit.dataset.take(rows)
    gain = np.full((int(owner.max()) + 1, rows.size), -np.inf)
    for _, before, clients, sent in updates.seen:
        models = network.stack([before, *(_moved(network, before, update) for update in sent)])
        outputs = network_outputs(network, models, records)
        fits = np.stack([-losses_of_outputs(each, records.labels, task=records.task) for each in outputs])
        for client, own in zip(clients, fits[1:], strict=True):
            gain[client] = np.where(np.isinf(gain[client]), 0.0, gain[client]) + own - fits[0]
    right = gain.argmax(axis=0) == owner[rows]
    accuracy = float(right.mean())
    return SourceResult(
        model=name,
        clients=there.size,
        records=rows.size,
        accuracy=round(accuracy, 6),
        standard_error=round((accuracy * (1 - accuracy) / rows.size) ** 0.5, 6),
        chance=round(1 / there.size, 6),
    )


def property_inference(
    name: str, prepared: Any, updates: Updates, owner: IntArray, wanted: int, shadows: int, audit: Audit
) -> PropertyResult:
    """Tell clients whose share of a class is above the population's share of it from the others.

    Raises:
        InputError: the task has no classes, the class is not in the population or all of it, or all clients are on one
            side.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    population = audit.population
    classes = population.classes
    share = float((classes == wanted).mean())
    if not 0 < share < 1:
        raise InputError(f"class {wanted} makes {share:.0%} of the population; a property needs some with and without.")
    member = audit.member
    there = updates.clients(name)
    sizes = np.bincount(owner[member], minlength=int(owner.max()) + 1)
    held = np.bincount(owner[member], weights=audit.dataset.classes[member] == wanted, minlength=sizes.size)
    truth = held[there] > share * sizes[there]
    if truth.all() or not truth.any():
        raise InputError(f"all clients of {name!r} are on one side of the share of class {wanted}.")
    rng = np.random.default_rng(audit.seed_for("shadows", name, wanted))
    size = int(np.median(sizes[there]))
    positive = np.arange(shadows) % 2 == 1
    rows = []
    for rich in positive:
        low, high = (share, 1.0) if rich else (0.0, share)
        count = int(rng.binomial(size, rng.uniform(low, high)))
        chosen = [rng.choice(np.flatnonzero(side), number) for side, number in
                  ((classes == wanted, count), (classes != wanted, size - count))]  # fmt: skip
        rows.append(np.concatenate(chosen).astype(np.int64))
    aside = replace(prepared, dataset=population)
    total, rounds = np.zeros(sizes.size), np.zeros(sizes.size)
    for number, before, clients, sent in updates.seen:
        made = aside.updates(before, rows, round_number=number, seed=audit.seed_for("shadow batches", name, wanted))
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
        model.fit(_unit(made), positive)
        total[clients] += model.decision_function(_unit(sent))
        rounds[clients] += 1
    scores = Scores.join(total[there] / rounds[there], truth)
    return PropertyResult(
        model=name,
        property_class=wanted,
        clients=there.size,
        holders=int(truth.sum()),
        auc=Roc.of(scores).auc,
        auc_standard_error=auc_standard_error(scores),
    )


def _moved(network: Any, before: Any, update: FloatArray) -> list[Any]:
    """All weights of the model after one client's update (coordinates,)."""
    moved = [np.array(array) for array in before]
    sizes = [moved[i].size for i in network.trainable]
    for i, part in zip(network.trainable, np.split(update, np.cumsum(sizes)[:-1]), strict=True):
        moved[i] = (moved[i] + part.reshape(moved[i].shape)).astype(np.float32)
    return moved


def _unit(updates: FloatArray) -> FloatArray:
    return np.asarray(updates / np.maximum(np.linalg.norm(updates, axis=1, keepdims=True), 1e-30))
