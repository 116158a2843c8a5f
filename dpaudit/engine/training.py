"""Training of many copies at once: blocks of steps as one compiled TensorFlow program."""

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from threading import Event, Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.accounting.claim import GaussianSteps, Poisson, Sampling, TruncatedPoisson
from dpaudit.data.dataset import Task
from dpaudit.engine.batches import TOLERANCE, draw, longest_batch
from dpaudit.engine.cost import cost
from dpaudit.engine.device_arrays import Held
from dpaudit.engine.gradients import clipped_sum, plain_sum
from dpaudit.engine.losses import per_example_loss
from dpaudit.engine.network import Network, Parameters
from dpaudit.engine.optimizers import GradientDescent, Optimizer
from dpaudit.engine.randomness import Stream, normal
from dpaudit.engine.schedules import Constant, Schedule
from dpaudit.runtime import check
from dpaudit.runtime.errors import AuditFailed, InputError
from dpaudit.runtime.jobs import Stopped, cores, told_to_stop
from dpaudit.runtime.tensorflow import keras, tf

BLOCK_BYTES = 2**26  # of batch indices handed to the program at a time
LONGEST_BLOCK = 256  # steps between two reports of progress
Watch = Callable[[Sequence[int], int, Parameters, Parameters], None]


@dataclass(frozen=True)
class Member:
    """One copy to train: its number in the family of models, the records it may see, and how batches are drawn."""

    model: int
    rows: npt.NDArray[np.int64]
    sampling: Sampling


@dataclass(frozen=True)
class TrainingRecipe:
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
    optimizer: Optimizer = GradientDescent()  # noqa: RUF009  # a frozen value
    learning_rate: Schedule = Constant(0.1)  # noqa: RUF009  # a frozen value
    clip: float | None = None
    noise_multiplier: float = 0.0
    weight_decay: float = 0.0
    tolerance: float = TOLERANCE
    compiled: bool = True

    def __post_init__(self) -> None:
        check.integer("steps", self.steps, at_least=1)
        check.integer("batch_size", self.batch_size, at_least=1)
        check.nonnegative("noise_multiplier", self.noise_multiplier)
        check.nonnegative("weight_decay", self.weight_decay)
        if self.clip is not None:
            check.positive("clip", self.clip)
        elif self.noise_multiplier:
            raise InputError(f"noise_multiplier {self.noise_multiplier} needs a clip norm, got clip None.")

    def mechanism(self, sampling: Sampling, records: int) -> GaussianSteps | None:
        """What the accountant is told; None without clipping."""
        if self.clip is None:
            return None
        _, slack = longest_batch(sampling, records, self.batch_size, self.steps, tolerance=self.tolerance)
        return GaussianSteps(self.noise_multiplier, self.steps, sampling, slack)

    def of_a_step(self) -> "TrainingRecipe":
        """What a program is made from: trainings that differ in their length, their rates or how much noise share it.

        >>> TrainingRecipe("multiclass", 100, 32).of_a_step() == TrainingRecipe("multiclass", 90, 32).of_a_step()
        True
        """
        noise = 1.0 if self.noise_multiplier else 0.0  # a step without any is another program
        return replace(self, steps=1, learning_rate=Constant(1.0), noise_multiplier=noise, tolerance=0.5)

    def longest(self, member: Member) -> int:
        """The length a member's batches are padded to."""
        return longest_batch(member.sampling, len(member.rows), self.batch_size, self.steps, tolerance=self.tolerance)[
            0
        ]


def train(
    network: Network,
    parameters: Parameters,
    recipe: TrainingRecipe,
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
        watch: called at every step, perhaps from several threads, with the numbers of some models, the step, and their
            parameters before and after it.

    Raises:
        InputError: the numbers of copies disagree.
        AuditFailed: a copy's weights are no longer finite.
        Stopped: `dpaudit.runtime.jobs.told_to_stop` said so.
    """
    copies = network.copies(parameters)
    if len(members) != copies:
        raise InputError(f"{copies} copies need as many members, got {len(members)}.")
    _require_logits(network)
    size = cost(network).stack(recipe.batch_size)
    if not recipe.compiled:
        size = min(size, copies)
    length = part_length(network, recipe, members)
    parts = -(-max(recipe.longest(member) for member in members) // length)
    width = length << (parts - 1).bit_length()  # the longest batch depends on the steps; most lengths share a width
    held = Held.of(network, features, targets)
    block, bounded = (_block(network, recipe.of_a_step(), width, length, held.is_prepared, b) for b in (False, True))
    lock, stopped, told = Lock(), Event(), told_to_stop()

    def report(steps: int) -> None:
        with lock:
            if progress is not None:
                progress(steps)

    def is_stopped() -> bool:
        return stopped.is_set() or told.is_set()

    group = _Group(network, recipe, held, block, bounded, size, width, seed, report, watch, is_stopped)

    def run(first: int) -> Parameters:
        chosen = slice(first, first + size)
        return group(network.of_copies(parameters, lambda value: value[chosen]), members[chosen])

    starts = range(0, copies, size)
    with ThreadPoolExecutor(max_workers=min(len(starts), workers())) as pool:
        try:
            trained = list(pool.map(run, starts))
        finally:
            stopped.set()  # when one group failed or the user interrupts, the others end with their block
    if told.is_set():  # some may have ended early
        raise Stopped
    together = [tf.concat(columns, axis=0) for columns in zip(*trained, strict=True)]
    whole = network.with_trained(parameters, together)
    _refuse_divergence(network, whole, [member.model for member in members])
    return whole


def part_length(network: Network, recipe: TrainingRecipe, members: Sequence[Member]) -> int:
    """How many examples of a batch a program takes at a time; of Poisson batches nine in ten fill whole parts."""
    batch = recipe.batch_size
    if network.moving:  # statistics of a batch are of the whole batch
        return max(recipe.longest(member) for member in members)
    if any(isinstance(member.sampling, Poisson | TruncatedPoisson) for member in members):
        return cost(network).part(batch, batch + math.ceil(1.3 * math.sqrt(batch)), at_least=2)
    return cost(network).part(batch, batch, at_least=1)


def workers() -> int:
    """Groups trained at a time: one for each core TensorFlow may use, one in all on a GPU."""
    if tf.config.list_physical_devices("GPU"):
        return 1
    return int(os.environ.get("TF_NUM_INTRAOP_THREADS") or cores())


@dataclass(frozen=True)
class _Group:
    """Trains up to ``size`` copies as one program and gives their trained variables; called from several threads.

    The program always has ``size`` copies: fewer are filled up with repetitions of the last. A copy is therefore
    computed by the same instructions whichever others it was stacked with.
    """

    network: Network
    recipe: TrainingRecipe
    held: Held
    block: Callable[..., tuple[Parameters, Any]]
    bounded_block: Callable[..., tuple[Parameters, Any]]
    size: int
    width: int
    seed: int
    report: Callable[[int], None]
    watch: Watch | None
    is_stopped: Callable[[], bool]

    def __call__(self, parameters: Parameters, members: Sequence[Member]) -> Parameters:
        network, recipe, copies = self.network, self.recipe, len(members)
        filled_up = np.minimum(np.arange(self.size), copies - 1)
        parameters = network.of_copies(parameters, lambda value: tf.gather(value, filled_up))
        trained = network.trained(parameters)
        frozen = network.with_trained(parameters, [None] * len(trained))
        models = [members[i].model for i in filled_up]
        rates = recipe.learning_rate(recipe.steps).astype(np.float32)
        noise = Stream.start(self.seed, models, "noise")
        dropout = Stream.start(self.seed, models, "dropout")
        state = tuple(recipe.optimizer.start(value) for value in trained[: len(network.trainable)])
        # Always as many, however few the training has: one compiled program serves trainings of any length.
        drawn = max(1, min(LONGEST_BLOCK, BLOCK_BYTES // (4 * self.width * self.size)))
        at_a_time = drawn if self.watch is None else 1
        for start in range(0, recipe.steps, drawn):
            steps = range(start, min(start + drawn, recipe.steps))
            rows, filled = self._batches(members, steps, drawn)
            padded = np.zeros(drawn, np.float32)
            padded[: len(steps)] = rates[steps.start : steps.stop]
            block = (
                frozen,
                self.held.inputs,
                self.held.targets,
                tf.constant(rows[:, filled_up]),
                tf.constant(filled[:, filled_up]),
                tf.constant(padded),
                tf.constant((recipe.clip or 0.0) * recipe.noise_multiplier, tf.float32),
                noise.keys,
                dropout.keys,
                tf.constant(start),
            )
            for first in steps[::at_a_time]:
                if self.is_stopped():
                    return tuple(value[:copies] for value in trained)
                count = min(at_a_time, steps.stop - first)
                before, state_before = trained, state
                given = (*block, tf.constant(first - start), tf.constant(first - start + count))
                trained, state = self.block(before, state_before, *given)
                kept = _finite(trained)
                if recipe.clip is not None and not kept.all():
                    # Some example's gradient was not finite, which is rare: the same steps again, leaving such out.
                    again = self.bounded_block(before, state_before, *given)
                    trained, state = _either(kept, (trained, state), again)
                if self.watch is not None:
                    real = [
                        network.of_copies(network.with_trained(frozen, some), lambda value: value[:copies])
                        for some in (before, trained)
                    ]
                    self.watch(models[:copies], first, *real)
                self.report(count * copies)
        return tuple(value[:copies] for value in trained)

    def _batches(
        self, members: Sequence[Member], steps: range, size: int
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Records of each step's batches, shape (size, copies, width), and how many there are, shape (size, copies)."""
        rows = np.zeros((size, len(members), self.width), np.int32)
        filled = np.zeros((size, len(members)), np.int32)
        for copy, member in enumerate(members):
            length = self.recipe.longest(member)
            batches = draw(
                member.sampling, len(member.rows), seed=self.seed, model=member.model, steps=steps, length=length
            )
            filled[: len(steps), copy] = (batches >= 0).sum(axis=1)
            rows[: len(steps), copy, :length] = member.rows[np.maximum(batches, 0)]
        return rows, filled


@lru_cache(maxsize=16)
def _block(
    network: Network, recipe: TrainingRecipe, width: int, length: int, is_prepared: bool, bounded: bool
) -> Callable[..., tuple[Parameters, Any]]:
    """A program that runs steps ``first`` to ``end`` of a block of batches, of which step 0 is step ``start`` of the
    training; batches are padded to ``width`` and taken ``length`` examples at a time.

    It is compiled when it is first called. ``bounded`` as in `clipped_sum`.
    """

    def loss(outputs: Any, targets: Any) -> Any:
        return per_example_loss(recipe.task, outputs, targets)

    def sums(parameters: Any, x: Any, y: Any, present: Any, dropout: Stream) -> Any:
        given: dict[str, Any] = {"loss": loss, "present": present, "dropout": dropout, "is_prepared": is_prepared}
        if recipe.clip is None:
            plain = plain_sum(network, parameters, x, y, **given)
            return [*plain.gradients, *plain.moved, tf.reduce_sum(present, axis=1)]
        clipped = clipped_sum(network, parameters, x, y, clip=recipe.clip, bounded=bounded, **given)
        counted = tf.reduce_sum(present * tf.cast(tf.math.is_finite(clipped.norms), tf.float32), axis=1)
        return [*clipped.gradients, counted]

    def update(trained: Any, state: Any, sums: list[Any], filled: Any, rate: Any, scale: Any, noise: Stream) -> Any:
        *totals, counted = sums
        totals, moved = totals[: len(network.trainable)], totals[len(network.trainable) :]
        sizes = [int(np.prod(network.variables[i].shape)) for i in network.trainable]
        if recipe.clip is not None and recipe.noise_multiplier:
            drawn = tf.split(scale * normal(noise, sum(sizes)), sizes, axis=1)
            totals = [total + tf.reshape(part, total.shape) for total, part in zip(totals, drawn, strict=True)]
        if recipe.clip is None:
            divisor = tf.maximum(tf.cast(filled, tf.float32), 1.0)
        else:
            divisor = tf.constant([float(recipe.batch_size)])
        # One example without a finite gradient counts as zero. Where no example has one, the training has diverged.
        divisor = tf.where((filled > 0) & (counted == 0), math.nan, divisor)
        changed, states = [], []
        for value, total, own in zip(trained[: len(totals)], totals, state, strict=True):
            gradient = total / tf.reshape(divisor, [-1] + [1] * (total.shape.rank - 1))
            change, new = recipe.optimizer(gradient, own, rate, noise.step)
            if recipe.weight_decay:
                change -= rate * recipe.weight_decay * value
            changed.append(value + change)
            states.append(new)
        return (*changed, *moved), tuple(states)

    @tf.function(jit_compile=recipe.compiled, autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def block(
        trained: Any,
        state: Any,
        frozen: Any,
        inputs: Any,
        targets: Any,
        rows: Any,
        filled: Any,
        rates: Any,
        scale: Any,
        noise: Any,
        dropout: Any,
        start: Any,
        first: Any,
        end: Any,
    ) -> Any:
        def body(t: Any, trained: Any, state: Any) -> Any:
            at = start + t
            parameters = network.with_trained(frozen, trained)

            def part(number: Any) -> Any:
                place = number * length
                chosen = tf.slice(rows[t], [0, place], [rows.shape[1], length])
                x, y = tf.gather(inputs, chosen), tf.gather(targets, chosen)
                present = tf.cast(place + tf.range(length) < filled[t][:, None], tf.float32)
                return sums(parameters, x, y, present, Stream(dropout, at, place))

            def add(number: Any, totals: Any) -> Any:
                return number + 1, [total + more for total, more in zip(totals, part(number), strict=True)]

            if width == length:
                totals = part(tf.constant(0))
            else:
                # A part that some copy fills adds exact zeros to the others; one that no copy fills is left out.
                parts = -(-tf.reduce_max(filled[t]) // length)
                zeros = [tf.zeros_like(value) for value in trained]
                zeros.append(tf.zeros(tf.shape(filled)[1:]))
                _, totals = tf.while_loop(lambda number, _: number < parts, add, (tf.constant(0), zeros))
            trained, state = update(trained, state, totals, filled[t], rates[t], scale, Stream(noise, at))
            return t + 1, trained, state

        _, trained, state = tf.while_loop(lambda t, *_: t < end, body, (first, trained, state))
        return trained, state

    return block  # type: ignore[no-any-return]  # tf.function has no types


def _finite(parameters: Parameters) -> npt.NDArray[np.bool_]:
    """Whether all of a copy's parameters are finite, shape (models,)."""
    each = [tf.reduce_all(tf.math.is_finite(v), axis=list(range(1, v.shape.rank))).numpy() for v in parameters]
    return np.asarray(np.all(each, axis=0))


def _either(first: npt.NDArray[np.bool_], one: Any, other: Any) -> Any:
    """Copies of one nest of tensors (models, ...) where ``first``, else of the other."""

    def chosen(a: Any, b: Any) -> Any:
        return tf.where(first.reshape([-1] + [1] * (a.shape.rank - 1)), a, b)

    return tf.nest.map_structure(chosen, one, other)


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
