"""Federated training round by round: one federation, or many of them stacked, and a ledger of what each released."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dpaudit.engine.device_arrays import Held
from dpaudit.engine.gradients import ExampleLoss
from dpaudit.engine.network import Network, Parameters
from dpaudit.engine.optimizers import GradientDescent, Optimizer
from dpaudit.engine.randomness import Stream
from dpaudit.engine.schedules import Constant, Schedule
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray
from dpaudit.runtime.errors import AuditFailed, InputError
from dpaudit.runtime.seeds import derive_seed
from dpaudit.runtime.tensorflow import tf
from dpaudit.training.federated.aggregation import Aggregator, PlainMean
from dpaudit.training.federated.compression import Compression, Whole
from dpaudit.training.federated.ledger import Entry
from dpaudit.training.federated.local import ClientWork, Local, Trainees, pays_to_compile, slots_for
from dpaudit.training.federated.participation import AllClients, Participation, Trouble
from dpaudit.training.federated.queries import Aggregation


@dataclass(frozen=True)
class FederationRecipe:
    """How a federation trains.

    Args:
        rounds: rounds.
        participation: how clients are sampled.
        local: what a client does.
        learning_rate: of the clients, by round.
        aggregator: what the server makes of the updates.
        server: optimiser of the server, fed the average update as if it were a negative gradient.
        server_learning_rate: its step size; 1 with plain `GradientDescent` is FedAvg.
        compression: what is sent.
        trouble: drop-outs and stragglers.
    """

    rounds: int
    participation: Participation = AllClients()  # noqa: RUF009  # frozen values, here and below
    local: Local = Local()  # noqa: RUF009
    learning_rate: Schedule = Constant(0.1)  # noqa: RUF009
    aggregator: Aggregator = PlainMean()  # noqa: RUF009
    server: Optimizer = GradientDescent()  # noqa: RUF009
    server_learning_rate: float = 1.0
    compression: Compression = Whole()  # noqa: RUF009
    trouble: Trouble = Trouble()  # noqa: RUF009

    def __post_init__(self) -> None:
        check.integer("rounds", self.rounds, at_least=1)
        check.positive("server_learning_rate", self.server_learning_rate)


@dataclass(frozen=True)
class CanaryClients:
    """Clients that send a chosen update instead of training: a unit vector times the clip of the round.

    Args:
        directions: unit vectors over the trained variables, shape (canaries, coordinates).
        present: which of them are on the roster, shape (canaries,). The others keep their place and send nothing.
        norm: length of their updates for a server without clipping. None: that of the longest update that an honest
            client has sent so far. Where the server weighs clients, a canary weighs as much as the heaviest honest
            client of the round: nothing stops a client from either.
    """

    directions: npt.NDArray[np.float32]
    present: BoolArray
    norm: float | None = None

    def __post_init__(self) -> None:
        directions = check.finite("canary directions", self.directions, ndim=2).astype(np.float32)
        if not np.allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-3):
            raise InputError("canary directions must be unit vectors.")
        object.__setattr__(self, "directions", directions)
        object.__setattr__(self, "present", check.flags("present canaries", self.present, length=len(directions)))
        if self.norm is not None:
            check.positive("norm", self.norm)


class Moment(NamedTuple):
    """One federation in one round, for an observer.

    Args:
        federation: its position among the stacked ones.
        before: all weights before the round, in the order of ``model.get_weights()``.
        mean: the released average update, one array per trained variable; None when the round was given up.
        clients: who answered; canaries come after the real clients.
        updates: what they sent, decoded, before clipping: arrays (clients, ...) per trained variable.
        weights: records of each, shape (clients,).
        entry: the ledger's line.
    """

    federation: int
    before: list[npt.NDArray[np.float32]]
    mean: list[npt.NDArray[np.float32]] | None
    clients: list[int]
    updates: list[npt.NDArray[np.float32]]
    weights: FloatArray
    entry: Entry


Observer = Callable[[Moment], None]
ClientRows = Sequence[IntArray]


def simulate(
    network: Network,
    models: Parameters,
    recipe: FederationRecipe,
    *,
    features: npt.NDArray[np.float32],
    targets: npt.NDArray[np.generic],
    rows: Sequence[ClientRows],
    loss: ExampleLoss,
    seed: int,
    canaries: CanaryClients | Sequence[CanaryClients] | None = None,
    observe: Observer | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[Parameters, list[list[Entry]]]:
    """Train federations in lockstep; returns their models and the ledger of each.

    Args:
        network: what is trained.
        models: where each federation starts, tensors (federations, ...).
        recipe: how.
        features: of all records, shape (records, ...).
        targets: of all records.
        rows: for each federation the records of each client of the roster. A client without records is absent.
        loss: per example, outputs are (clients, examples, ...).
        seed: of the federations; federation f of two stackings is the same.
        canaries: clients added to the end of every roster: the same to all, or as many to each of the federations.
        observe: called after each round of each federation.
        progress: called with the number of rounds done.

    Raises:
        InputError: rosters of different lengths, a federation without any record, rows beyond the data.
        AuditFailed: a model's weights are no longer finite.
    """
    federations = network.copies(models)
    roster = _checked(rows, federations, len(features), len(targets))
    added = _canaries_of_each(canaries, federations)
    total = roster + (len(added[0].present) if added[0] is not None else 0)
    expected = recipe.participation.expected(total)
    shapes = tuple(network.variables[i].shape for i in network.trainable)
    seeds = [derive_seed(seed, "federation", f) for f in range(federations)]
    aggregations = [Aggregation(recipe.aggregator, shapes, expected, recipe.participation, s) for s in seeds]
    states = [aggregation.start() for aggregation in aggregations]
    slots = slots_for(max(1, round(expected * federations)))
    held = Held.of(network, features, targets)
    examples = recipe.rounds * recipe.local.epochs * len(features) * expected / total
    compiled = pays_to_compile(network, recipe.local, examples)
    trainees = Trainees(network, recipe.local, held, loss, slots, derive_seed(seed, "clients"), compiled)
    server = [recipe.server.start(models[i]) for i in network.trainable]
    rates = recipe.learning_rate(recipe.rounds)
    ledgers: list[list[Entry]] = [[] for _ in range(federations)]
    lengths = [own.norm or 0.0 if own is not None else 0.0 for own in added]
    coordinates = sum(int(np.prod(shape)) for shape in shapes)
    for number in range(recipe.rounds):
        turns = [_turn(recipe, f, rows[f], added[f], total, seeds[f], number) for f in range(federations)]
        tasks = [task for turn in turns for task in turn.tasks]
        flat = _flat(trainees(models, tasks, round_number=number, rate=float(rates[number]))) if tasks else None
        means: list[list[Any] | None] = []
        at = 0
        for f, turn in enumerate(turns):
            aggregation = aggregations[f]
            own = slice(at, at + len(turn.tasks))
            clip = aggregation.clip(states[f])
            honest = flat[own] if flat is not None else tf.zeros((0, coordinates))
            lengths[f] = _unclipped(added[f], lengths[f], honest) if clip is None else clip
            sent = _sent(honest, turn, added[f], lengths[f])
            at += len(turn.tasks)
            keys = Stream.start(seeds[f], turn.clients, f"compression {number}").keys
            decoded = sent if isinstance(recipe.compression, Whole) else recipe.compression(sent, keys=keys)
            updates = _split(decoded, shapes)
            released = aggregation(states[f], updates, turn.weights, turn.clients, round_number=number)
            states[f] = released.state
            means.append(released.mean)
            entry = Entry(
                number=number,
                asked=turn.asked,
                answered=len(turn.clients),
                expected=expected,
                clip=released.clip,
                noise_multiplier=released.noise_multiplier,
                refused=released.refused,
                given_up=released.mean is None,
                bytes_sent=len(turn.clients) * recipe.compression.bytes_per_client(int(decoded.shape[1])),
            )
            ledgers[f].append(entry)
            if observe is not None:
                mean = None if released.mean is None else [np.asarray(m) for m in released.mean]
                before = network.weights(models, f)
                observe(Moment(f, before, mean, turn.clients, [u.numpy() for u in updates], turn.weights, entry))
        models, server = _served(network, models, server, means, recipe, number)
        if progress is not None:
            progress(number + 1)
    _refuse_divergence(network, models)
    return models, ledgers


class _Turn(NamedTuple):
    asked: int
    clients: list[int]
    weights: FloatArray
    tasks: list[ClientWork]
    canaries: IntArray


def _turn(
    recipe: FederationRecipe,
    federation: int,
    rows: ClientRows,
    canaries: CanaryClients | None,
    total: int,
    seed: int,
    number: int,
) -> _Turn:
    present = np.array([own.size > 0 for own in rows] + ([] if canaries is None else canaries.present.tolist()))
    asked = recipe.participation(total, round_number=number, seed=derive_seed(seed, "participation")) & present
    answers = recipe.trouble(total, round_number=number, seed=derive_seed(seed, "trouble"))
    there = asked & answers.answers
    real = np.flatnonzero(there[: len(rows)])
    # Numbers differ between federations, so that no two clients anywhere share their randomness.
    tasks = [ClientWork(federation, federation * total + int(c), rows[c], float(answers.share[c])) for c in real]
    extra = np.flatnonzero(there[len(rows) :])
    clients = [int(c) for c in np.flatnonzero(there)]
    honest = [float(rows[c].size) for c in real]
    weights = np.array(honest + [max(honest, default=1.0)] * extra.size)
    return _Turn(int(asked.sum()), clients, weights, tasks, extra)


def _sent(honest: Any, turn: _Turn, canaries: CanaryClients | None, length: float) -> Any:
    """What the clients of a round send, shape (clients, coordinates); canaries send updates of one length."""
    if canaries is None:
        return honest
    if canaries.directions.shape[1] != honest.shape[1]:
        raise InputError(
            f"canary directions have {canaries.directions.shape[1]} coordinates, the model trains {honest.shape[1]}."
        )
    return tf.concat([honest, tf.constant(length * canaries.directions[turn.canaries], tf.float32)], axis=0)


def _unclipped(canaries: CanaryClients | None, before: float, honest: Any) -> float:
    """Length of the canaries' updates for a server that does not clip."""
    if canaries is None or not honest.shape[0]:
        return before
    return canaries.norm or max(before, float(tf.reduce_max(tf.norm(honest, axis=1))))


def _served(
    network: Network,
    models: Parameters,
    server: list[Any],
    means: list[list[Any] | None],
    recipe: FederationRecipe,
    number: int,
) -> tuple[Parameters, list[Any]]:
    """The server's step in every federation; one that gave its round up stays where it is."""
    changed, states = list(models), []
    for k, (position, own) in enumerate(zip(network.trainable, server, strict=True)):
        shape = models[position].shape[1:]
        gradient = tf.stack([tf.zeros(shape) if mean is None else -mean[k] for mean in means])
        change, new = recipe.server(gradient, own, recipe.server_learning_rate, tf.constant(number))
        acts = tf.reshape(tf.constant([mean is not None for mean in means]), [-1] + [1] * len(shape))
        changed[position] = tf.where(acts, models[position] + change, models[position])
        states.append(tuple(tf.where(acts, fresh, old) for old, fresh in zip(own, new, strict=True)))
    return tuple(changed), states


def _flat(updates: list[Any]) -> Any:
    return tf.concat([tf.reshape(update, [tf.shape(update)[0], -1]) for update in updates], axis=1)


def _split(flat: Any, shapes: Sequence[tuple[int, ...]]) -> list[Any]:
    parts = tf.split(flat, [int(np.prod(shape)) for shape in shapes], axis=1)
    return [tf.reshape(part, [-1, *shape]) for part, shape in zip(parts, shapes, strict=True)]


def _checked(rows: Sequence[ClientRows], federations: int, records: int, targets: int) -> int:
    if records != targets:
        raise InputError(f"features and targets must have one row per record, got {records} and {targets}.")
    if len(rows) != federations:
        raise InputError(f"{federations} federations need as many rosters, got {len(rows)}.")
    lengths = sorted({len(roster) for roster in rows})
    if len(lengths) != 1:
        raise InputError(f"stacked federations must have rosters of one length, got {lengths}.")
    for f, roster in enumerate(rows):
        everything = np.concatenate([np.asarray(own, np.int64) for own in roster]) if roster else np.empty(0, np.int64)
        if everything.size == 0:
            raise InputError(f"federation {f} has no client with data; {len(roster)} are on its roster.")
        if everything.min() < 0 or everything.max() >= records:
            raise InputError(f"clients of federation {f} name record {everything.max()}, there are {records}.")
    return lengths[0]


def _canaries_of_each(
    canaries: CanaryClients | Sequence[CanaryClients] | None, federations: int
) -> list[CanaryClients | None]:
    if canaries is None or isinstance(canaries, CanaryClients):
        return [canaries] * federations
    if len(canaries) != federations or len({len(own.present) for own in canaries}) != 1:
        raise InputError(
            f"{federations} federations need as many sets of canaries of one size, got sizes "
            f"{[len(own.present) for own in canaries]}."
        )
    return list(canaries)


def _refuse_divergence(network: Network, models: Parameters) -> None:
    for variable, value in zip(network.variables, models, strict=True):
        if not np.isfinite(value.numpy()).all():
            raise AuditFailed(f"the federation diverged: {variable.name} is not finite; a lower learning rate?")
