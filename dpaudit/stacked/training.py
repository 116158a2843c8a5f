"""Training of many copies at once: blocks of steps as one compiled TensorFlow program."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dpaudit import _check
from dpaudit._tensorflow import keras, tf
from dpaudit.claim import GaussianSteps, Sampling
from dpaudit.data.dataset import Task
from dpaudit.errors import AuditFailed, InputError
from dpaudit.stacked.batches import draw, longest_batch, usual_length
from dpaudit.stacked.cost import cost
from dpaudit.stacked.gradients import clipped_sum, plain_sum
from dpaudit.stacked.losses import per_example_loss
from dpaudit.stacked.network import Network, Parameters
from dpaudit.stacked.optimizers import Optimizer, Sgd
from dpaudit.stacked.randomness import Stream, normal
from dpaudit.stacked.schedules import Constant, Schedule

BLOCK_BYTES = 2**26  # of batch indices handed to the program at a time
LONGEST_BLOCK = 256  # steps between two reports of progress
Watch = Callable[[Sequence[int], int, Parameters, Parameters], None]
PREPARED_BYTES = 2**29  # of inputs prepared once for all records, such as the patches of a first convolution


@dataclass(frozen=True)
class Member:
    """One copy to train: its number in the family of models, the records it may see, and how batches are drawn."""

    model: int
    rows: npt.NDArray[np.int64]
    sampling: Sampling


@dataclass(frozen=True)
class Recipe:
    """How every copy is trained.

    Args:
        task: which loss; outputs are logits.
        steps: updates.
        batch_size: expected records per step. Under DP the noisy sum is divided by it, whatever the batch held.
        optimizer: what turns a gradient into an update.
        learning_rate: of every step.
        clip: L2 norm each example's gradient is clipped to; None trains without DP.
        noise_multiplier: standard deviation of the noise over ``clip``; 0 clips without noise.
        weight_decay: times learning rate and parameter, subtracted outside of what is clipped and noised.
        tolerance: bound on the probability that any Poisson batch of a training is longer than its padding.
        compiled: compile with XLA: several times faster, after some seconds of compilation.

    Raises:
        InputError: noise without a clip norm, or a value out of range.
    """

    task: Task
    steps: int
    batch_size: int
    optimizer: Optimizer = Sgd()  # noqa: RUF009  # a frozen value
    learning_rate: Schedule = Constant(0.1)  # noqa: RUF009  # a frozen value
    clip: float | None = None
    noise_multiplier: float = 0.0
    weight_decay: float = 0.0
    tolerance: float = 1e-9
    compiled: bool = True

    def __post_init__(self) -> None:
        _check.integer("steps", self.steps, at_least=1)
        _check.integer("batch_size", self.batch_size, at_least=1)
        _check.nonnegative("noise_multiplier", self.noise_multiplier)
        _check.nonnegative("weight_decay", self.weight_decay)
        if self.clip is not None:
            _check.positive("clip", self.clip)
        elif self.noise_multiplier:
            raise InputError(f"noise_multiplier {self.noise_multiplier} needs a clip norm, got clip None.")

    def mechanism(self, sampling: Sampling, records: int) -> GaussianSteps | None:
        """What the accountant is told; None without clipping."""
        if self.clip is None:
            return None
        _, slack = longest_batch(sampling, records, self.batch_size, self.steps, tolerance=self.tolerance)
        return GaussianSteps(self.noise_multiplier, self.steps, sampling, slack)

    def longest(self, member: Member) -> int:
        """The length a member's batches are padded to."""
        return longest_batch(member.sampling, len(member.rows), self.batch_size, self.steps, tolerance=self.tolerance)[
            0
        ]


def train(
    network: Network,
    parameters: Parameters,
    recipe: Recipe,
    members: Sequence[Member],
    *,
    features: npt.NDArray[np.float32],
    targets: npt.NDArray[np.generic],
    seed: int,
    progress: Callable[[int], None] | None = None,
    watch: Watch | None = None,
) -> Parameters:
    """Train copies of a network, each on its own records; returns their parameters.

    Args:
        network: what is trained.
        parameters: where each copy starts.
        recipe: how.
        members: one for each copy; with the seed, its number fixes batches, noise and dropout.
        features: of all records, shape (records, ...).
        targets: of all records.
        seed: of the family of models.
        progress: called now and then with the steps done since the last call, summed over the copies.
        watch: called at every step, perhaps from several threads, with the numbers of some models (the last may be
            repeated), the step, and their parameters before and after it.

    Raises:
        InputError: the numbers of copies disagree.
        AuditFailed: a copy's weights are no longer finite.
    """
    copies = parameters[0].shape[0]
    if len(members) != copies:
        raise InputError(f"{copies} copies need as many members, got {len(members)}.")
    _require_logits(network)
    width = max(recipe.longest(member) for member in members)
    held = Held.of(network, features, targets)
    groups = -(-copies // cost(network).stack(recipe.batch_size))
    size = -(-copies // groups)
    group = _Group(network, recipe, held, width, seed, progress, watch)
    # The last group is filled up with copies of its last member, so that every group is the same program.
    numbers = np.minimum(np.arange(groups * size), copies - 1).reshape(groups, size)

    def run(chosen: npt.NDArray[np.int64]) -> Parameters:
        return group(tuple(tf.gather(value, chosen) for value in parameters), [members[i] for i in chosen])

    with ThreadPoolExecutor(max_workers=min(groups, workers())) as pool:
        trained = list(pool.map(run, numbers))
    whole = tuple(tf.concat(columns, axis=0)[:copies] for columns in zip(*trained, strict=True))
    _refuse_divergence(network, whole, [member.model for member in members])
    return whole


class Held(NamedTuple):
    """All records as the program keeps them: inputs, prepared for the first layer where that fits, and targets."""

    inputs: Any
    targets: Any
    is_prepared: bool

    @classmethod
    def of(cls, network: Network, features: npt.NDArray[np.float32], targets: npt.NDArray[np.generic]) -> "Held":
        """Of these records."""
        if network.head is None:
            return cls(tf.constant(features, tf.float32), tf.constant(targets), False)
        prepare = _preparation(network)
        one = prepare(tf.constant(features[:1], tf.float32))
        if tf.size(one).numpy() * one.dtype.size * len(features) > PREPARED_BYTES:
            return cls(tf.constant(features, tf.float32), tf.constant(targets), False)
        parts = [
            prepare(tf.constant(features[start : start + 256], tf.float32)) for start in range(0, len(features), 256)
        ]
        return cls(tf.concat(parts, axis=0), tf.constant(targets), True)


@lru_cache(maxsize=16)
def _preparation(network: Network) -> Callable[[Any], Any]:
    return tf.function(lambda x: network.prepared(x[None])[0], reduce_retracing=True)  # type: ignore[no-any-return]


def workers() -> int:
    """Groups trained at a time: one for each core TensorFlow may use, one in all on a GPU."""
    if tf.config.list_physical_devices("GPU"):
        return 1
    return int(os.environ.get("TF_NUM_INTRAOP_THREADS") or os.cpu_count() or 1)


@dataclass(frozen=True)
class _Group:
    """Trains some copies as one program; called from several threads."""

    network: Network
    recipe: Recipe
    held: Held
    width: int
    seed: int
    progress: Callable[[int], None] | None
    watch: Watch | None

    def __call__(self, parameters: Parameters, members: Sequence[Member]) -> Parameters:
        network, recipe, width = self.network, self.recipe, self.width
        models = [member.model for member in members]
        rates = recipe.learning_rate(recipe.steps).astype(np.float32)
        noise = Stream.start(self.seed, models, "noise")
        dropout = Stream.start(self.seed, models, "dropout")
        state = tuple(recipe.optimizer.start(parameters[i]) for i in network.trainable)
        block = _block(network, recipe, self.lengths(members), self.held.is_prepared)
        longest = LONGEST_BLOCK if self.watch is None else 1
        size = max(1, min(recipe.steps, longest, BLOCK_BYTES // (4 * width * len(members))))
        for start in range(0, recipe.steps, size):
            steps = range(start, min(start + size, recipe.steps))
            rows = np.zeros((size, len(members), width), np.int32)
            filled = np.zeros((size, len(members)), np.int32)
            for copy, member in enumerate(members):
                length = recipe.longest(member)
                batches = draw(
                    member.sampling, len(member.rows), seed=self.seed, model=member.model, steps=steps, length=length
                )
                filled[: len(steps), copy] = (batches >= 0).sum(axis=1)
                rows[: len(steps), copy, :length] = member.rows[np.maximum(batches, 0)]
            padded = np.zeros(size, np.float32)
            padded[: len(steps)] = rates[start : steps[-1] + 1]
            before = parameters
            parameters, state = block(
                before,
                state,
                self.held.inputs,
                self.held.targets,
                tf.constant(rows),
                tf.constant(filled),
                tf.constant(start),
                tf.constant(len(steps)),
                tf.constant(padded),
                noise.keys,
                dropout.keys,
            )
            if self.watch is not None:
                self.watch(models, start, before, parameters)
            if self.progress is not None:
                self.progress(len(steps) * len(members))
        return parameters

    def lengths(self, members: Sequence[Member]) -> tuple[int, ...]:
        """Lengths of batch to have a program for."""
        batch = self.recipe.batch_size
        usual = max(usual_length(one.sampling, len(one.rows), batch, copies=len(members)) for one in members)
        return tuple(sorted({min(usual, self.width), self.width}))


@lru_cache(maxsize=16)
def _block(
    network: Network, recipe: Recipe, lengths: tuple[int, ...], is_prepared: bool
) -> Callable[..., tuple[Parameters, Any]]:
    """A program that runs a block of steps; a step's batch is cut to the shortest of ``lengths`` that holds it."""

    def loss(outputs: Any, targets: Any) -> Any:
        return per_example_loss(recipe.task, outputs, targets)

    def sums(parameters: Any, x: Any, y: Any, filled: Any, dropout: Stream) -> Any:
        present = tf.cast(tf.range(x.shape[1])[None, :] < filled[:, None], tf.float32)
        if recipe.clip is None:
            return plain_sum(
                network, parameters, x, y, loss=loss, present=present, dropout=dropout, is_prepared=is_prepared
            )[0]
        return clipped_sum(
            network,
            parameters,
            x,
            y,
            loss=loss,
            clip=recipe.clip,
            present=present,
            dropout=dropout,
            is_prepared=is_prepared,
        ).gradients

    def update(parameters: Any, state: Any, totals: list[Any], filled: Any, rate: Any, noise: Stream) -> Any:
        trainable = network.trainable
        sizes = [int(np.prod(network.variables[i].shape)) for i in trainable]
        if recipe.clip is not None and recipe.noise_multiplier:
            drawn = tf.split(recipe.clip * recipe.noise_multiplier * normal(noise, sum(sizes)), sizes, axis=1)
            totals = [total + tf.reshape(part, total.shape) for total, part in zip(totals, drawn, strict=True)]
        if recipe.clip is None:
            divisor = tf.maximum(tf.cast(filled, tf.float32), 1.0)
        else:
            divisor = tf.constant([float(recipe.batch_size)])
        changed, states = list(parameters), []
        for position, total, own in zip(trainable, totals, state, strict=True):
            gradient = total / tf.reshape(divisor, [-1] + [1] * (total.shape.rank - 1))
            change, new = recipe.optimizer(gradient, own, rate, noise.step)
            if recipe.weight_decay:
                change -= rate * recipe.weight_decay * parameters[position]
            changed[position] = parameters[position] + change
            states.append(new)
        return tuple(changed), tuple(states)

    @tf.function(jit_compile=recipe.compiled, autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def block(
        parameters: Any,
        state: Any,
        inputs: Any,
        targets: Any,
        rows: Any,
        filled: Any,
        start: Any,
        count: Any,
        rates: Any,
        noise: Any,
        dropout: Any,
    ) -> Any:
        def body(t: Any, parameters: Any, state: Any) -> Any:
            at = start + t

            def cut(length: int) -> Any:
                chosen = rows[t][:, :length]
                x, y = tf.gather(inputs, chosen), tf.gather(targets, chosen)
                return sums(parameters, x, y, filled[t], Stream(dropout, at))

            cuts = [partial(cut, length) for length in lengths]
            longest = tf.reduce_max(filled[t])
            needed = tf.reduce_sum(tf.cast(longest > tf.constant(lengths), tf.int32))
            totals = tf.switch_case(needed, cuts) if len(cuts) > 1 else cuts[0]()
            parameters, state = update(parameters, state, totals, filled[t], rates[t], Stream(noise, at))
            return t + 1, parameters, state

        _, parameters, state = tf.while_loop(lambda t, *_: t < count, body, (tf.constant(0), parameters, state))
        return parameters, state

    return block  # type: ignore[no-any-return]  # tf.function has no types


def _require_logits(network: Network) -> None:
    plain = network.nodes[-1].plain
    activation = getattr(plain, "activation", plain)
    if type(plain).__name__ == "Softmax" or activation in (keras.activations.softmax, keras.activations.sigmoid):
        name = getattr(activation, "__name__", "softmax")
        raise InputError(f"the model must return logits: it ends in {name}; leave that activation out.")


def _refuse_divergence(network: Network, parameters: Parameters, models: Sequence[int]) -> None:
    for variable, value in zip(network.variables, parameters, strict=True):
        finite = tf.reduce_all(tf.math.is_finite(value), axis=list(range(1, value.shape.rank))).numpy()
        if not finite.all():
            raise AuditFailed(
                f"model {models[int(np.argmin(finite))]} diverged: {variable.name} is not finite; "
                "a lower learning rate would be needed."
            )
