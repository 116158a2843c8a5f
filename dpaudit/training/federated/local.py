"""What the clients of a round do with the model they are sent, all of them as one program.

The clients are copies of one model with data of their own. A client's result depends on (seed, client, round), the
model it was sent and its records alone, so it is the same whichever others were asked.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np

from dpaudit.engine.conv_layers import Conv2D, ConvOfSteps, DepthwiseConv2D
from dpaudit.engine.device_arrays import Held
from dpaudit.engine.gradients import ExampleLoss, clipped_sum, plain_sum
from dpaudit.engine.keys import generator
from dpaudit.engine.network import Network, Parameters
from dpaudit.engine.optimizers import GradientDescent, Optimizer
from dpaudit.engine.randomness import Stream, normal
from dpaudit.engine.training import workers
from dpaudit.runtime import check
from dpaudit.runtime.check import IntArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import tf

# Compiling a small convolutional network takes some five seconds, and saves half a millisecond an example (CPU time).
WORTH_COMPILING = 20_000  # examples that one federation trains on, counted each time
LARGEST = 16  # clients of one program: past it batched products no longer get faster on a CPU


@dataclass(frozen=True)
class Local:
    """Local training.

    Args:
        epochs: passes over the client's records.
        batch_size: records per local step; ``all`` makes one step per epoch (with one epoch that is FedSGD).
        optimizer: of the client; its state starts anew every round.
        proximal: μ of FedProx: μ/2 times the squared distance from the model that was sent is added to the loss
            (`Li et al. (2018) <https://arxiv.org/abs/1812.06127>`_).
        clip: L2 norm each example's gradient is clipped to; None trains without record-level DP.
        noise_multiplier: standard deviation of the client's noise over ``clip``. With ``clip`` batches are Poisson.
    """

    epochs: int = 1
    batch_size: int | Literal["all"] = 32
    optimizer: Optimizer = GradientDescent()  # noqa: RUF009  # a frozen value
    proximal: float = 0.0
    clip: float | None = None
    noise_multiplier: float = 0.0

    def __post_init__(self) -> None:
        check.integer("epochs", self.epochs, at_least=1)
        if self.batch_size != "all":
            check.integer("batch_size", self.batch_size, at_least=1)
        check.nonnegative("proximal", self.proximal)
        check.nonnegative("noise_multiplier", self.noise_multiplier)
        if self.clip is not None:
            check.positive("clip", self.clip)
        elif self.noise_multiplier:
            raise InputError(f"local noise_multiplier {self.noise_multiplier} needs a local clip norm, got none.")

    def batch(self, records: int) -> int:
        """(Expected) records in a step of a client that has ``records``."""
        return records if self.batch_size == "all" else min(self.batch_size, records)

    def steps(self, records: int) -> int:
        """Local steps of a client that has ``records``."""
        return self.epochs * -(-records // self.batch(records))


class ClientWork(NamedTuple):
    """One client's work in a round.

    Args:
        federation: which of the stacked federations it belongs to.
        client: its number; with the seed and the round it fixes its batches and noise.
        rows: its records.
        share: share of its local steps that it does, more than 0 for a straggler.
    """

    federation: int
    client: int
    rows: IntArray
    share: float = 1.0


def slots_for(clients: int) -> int:
    """Clients of one program, so that every core gets as many programs and the last ones are not half empty.

    >>> slots_for(40) <= 16
    True
    """
    cores = workers()
    programs = cores * -(-clients // (LARGEST * cores))
    return -(-clients // programs)


def pays_to_compile(network: Network, local: Local, examples: float) -> bool:
    """Whether the clients' program is compiled: convolutions are several times faster so, after some seconds.

    Args:
        network: the model.
        local: what a client does; batches must have one length.
        examples: that one federation trains on, counted each time.
    """
    is_convolved = any(isinstance(node.weighted, Conv2D | ConvOfSteps | DepthwiseConv2D) for node in network.nodes)
    return is_convolved and local.clip is None and local.batch_size != "all" and examples >= WORTH_COMPILING


@dataclass(frozen=True)
class Trainees:
    """Trains the clients of a round; made once, called every round.

    Args:
        network: the model.
        local: what a client does.
        held: all records.
        loss: per example.
        slots: clients of one program; the programs of a round share the cores.
        seed: of the federation.
        compiled: compile with XLA, for batches of one length, where it `pays_to_compile`.
    """

    network: Network
    local: Local
    held: Held
    loss: ExampleLoss
    slots: int
    seed: int
    compiled: bool = False

    def __post_init__(self) -> None:
        check.integer("slots", self.slots, at_least=1)
        program = _program(self.network, self.local, self.loss, self.held.is_prepared, self.slots, self.compiled)
        object.__setattr__(self, "_program", program)

    def __call__(self, models: Parameters, tasks: Sequence[ClientWork], *, round_number: int, rate: float) -> list[Any]:
        """Updates (weights after minus before), one tensor (clients, ...) per trained variable, in the order of tasks.

        Args:
            models: the model of each federation, tensors (federations, ...).
            tasks: at least one; clients without records are refused.
            round_number: counted from 0.
            rate: learning rate of the round.
        """
        for task in tasks:
            if task.rows.size == 0:
                raise InputError(f"client {task.client} has no records and cannot train.")
        # Clients with alike numbers of steps train together, so that few wait for the longest.
        order = sorted(range(len(tasks)), key=lambda i: self.local.steps(tasks[i].rows.size) * tasks[i].share)
        groups = [[tasks[i] for i in order[at : at + self.slots]] for at in range(0, len(order), self.slots)]
        with ThreadPoolExecutor(max_workers=min(len(groups), workers())) as pool:
            parts = list(pool.map(lambda group: self._some(models, group, round_number, rate), groups))
        back = tf.constant(np.argsort(order))
        return [tf.gather(tf.concat(column, axis=0), back) for column in zip(*parts, strict=True)]

    def _some(self, models: Parameters, tasks: Sequence[ClientWork], round_number: int, rate: float) -> list[Any]:
        spare = self.slots - len(tasks)
        batches = [self.batches(task, round_number) for task in tasks]
        steps, width = (max(batch.shape[axis] for batch in batches) for axis in (0, 1))
        longest = steps
        if self.compiled and self.local.batch_size != "all":  # few shapes, each of which is a program
            steps, width = 1 << (steps - 1).bit_length(), self.local.batch_size
        indices = np.full((self.slots, steps, width), -1, np.int32)
        active = np.zeros((self.slots, steps), np.float32)
        for slot, batch in enumerate(batches):
            indices[slot, : batch.shape[0], : batch.shape[1]] = batch
            active[slot, : batch.shape[0]] = 1
        divisors = [float(self.local.batch(task.rows.size)) for task in tasks] + [1.0] * spare
        clients = [task.client for task in tasks] + [-1] * spare
        start = tf.constant([task.federation for task in tasks] + [0] * spare)
        noise, dropout = (
            Stream.start(self.seed, clients, f"local {what} {round_number}") for what in ("noise", "drop")
        )
        updates = self._program(  # type: ignore[attr-defined]  # set in __post_init__, not a parameter
            self.network.of_copies(models, lambda value: tf.gather(value, start)),
            self.held.inputs,
            self.held.targets,
            tf.constant(indices),
            tf.constant(active),
            tf.constant(longest),
            tf.constant(divisors, tf.float32),
            tf.constant(rate, tf.float32),
            noise.keys,
            dropout.keys,
        )
        return [update[: len(tasks)] for update in updates]

    def batches(self, task: ClientWork, round_number: int) -> IntArray:
        """Records of each local step of a client, shape (steps, longest batch), -1 where a batch is shorter."""
        count, size = task.rows.size, self.local.batch(task.rows.size)
        rng = generator(self.seed, task.client, "local batches", round_number)
        if self.local.clip is None:
            per_epoch = -(-count // size)
            padded = np.full((self.local.epochs, per_epoch * size), -1, np.int64)
            for epoch in range(self.local.epochs):
                padded[epoch, :count] = task.rows[rng.permutation(count)]
            drawn = padded.reshape(-1, size)
        else:
            taken = rng.random((self.local.steps(count), count)) < size / count
            drawn = np.full((len(taken), max(1, int(taken.sum(axis=1).max()))), -1, np.int64)
            for row, mask in zip(drawn, taken, strict=True):
                row[: mask.sum()] = task.rows[mask]
        return drawn[: max(1, round(task.share * len(drawn)))]


@lru_cache(maxsize=16)
def _program(
    network: Network, local: Local, loss: ExampleLoss, is_prepared: bool, slots: int, compiled: bool = False
) -> Callable[..., list[Any]]:
    # Each number of slots has a program of its own: one program for several would be traced for any number, and the
    # layers need to know it.
    def gradient(parameters: Any, x: Any, y: Any, present: Any, divisors: Any, noise: Stream, dropout: Stream) -> Any:
        if local.clip is None:
            sums = plain_sum(
                network, parameters, x, y, loss=loss, present=present, dropout=dropout, is_prepared=is_prepared
            ).gradients
            return sums, tf.maximum(tf.reduce_sum(present, axis=1), 1.0)
        sums = clipped_sum(
            network,
            parameters,
            x,
            y,
            loss=loss,
            clip=local.clip,
            present=present,
            dropout=dropout,
            is_prepared=is_prepared,
        ).gradients
        if local.noise_multiplier:
            sums = [
                total
                + local.clip
                * local.noise_multiplier
                * tf.reshape(normal(noise.named(f"{i}"), int(np.prod(total.shape[1:]))), tf.shape(total))
                for i, total in enumerate(sums)
            ]
        return sums, divisors

    @tf.function(  # type: ignore[untyped-decorator]  # TensorFlow has no types
        jit_compile=compiled, reduce_retracing=not compiled, autograph=False
    )
    def program(
        start: Any,
        features: Any,
        targets: Any,
        indices: Any,
        active: Any,
        longest: Any,
        divisors: Any,
        rate: Any,
        keys: Any,
        drop: Any,
    ) -> Any:
        widths = tf.maximum(
            tf.reduce_max(tf.reduce_sum(tf.cast(indices >= 0, tf.int32), axis=2), axis=0), 1
        )  # of each step

        def body(t: Any, parameters: Any, state: Any) -> Any:
            rows = indices[:, t] if compiled else indices[:, t, : widths[t]]
            present = tf.cast(rows >= 0, tf.float32)
            kept = tf.maximum(rows, 0)
            works = active[:, t]
            sums, divisor = gradient(
                parameters,
                tf.gather(features, kept),
                tf.gather(targets, kept),
                present,
                divisors,
                Stream(keys, t),
                Stream(drop, t),
            )
            changed, states = list(parameters), []
            for position, total, own in zip(network.trainable, sums, state, strict=True):
                shape = [-1] + [1] * (total.shape.rank - 1)
                slope = total / tf.reshape(divisor, shape)
                if local.proximal:
                    slope += local.proximal * (parameters[position] - start[position])
                change, new = local.optimizer(slope, own, rate, t)
                # A client that is done keeps its weights, whatever momentum or the proximal term would do.
                mask = tf.reshape(works, shape)
                changed[position] = parameters[position] + mask * change
                states.append(tuple(old + mask * (fresh - old) for old, fresh in zip(own, new, strict=True)))
            return t + 1, tuple(changed), tuple(states)

        state = tuple(local.optimizer.start(start[position]) for position in network.trainable)
        _, end, _ = tf.while_loop(lambda t, *_: t < longest, body, (tf.constant(0), start, state))
        return [end[position] - start[position] for position in network.trainable]

    return program  # type: ignore[no-any-return]  # tf.function has no types
