"""Training of many copies at once: whole blocks of steps inside one TensorFlow function."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit import _check
from dpaudit._tensorflow import tf
from dpaudit.claim import GaussianSteps, Sampling
from dpaudit.data.dataset import Task
from dpaudit.errors import AuditFailed, InputError
from dpaudit.stacked.batches import draw, longest_batch
from dpaudit.stacked.gradients import clipped_sum, plain_sum
from dpaudit.stacked.losses import per_example_loss
from dpaudit.stacked.network import Network, Parameters
from dpaudit.stacked.optimizers import Optimizer, Sgd
from dpaudit.stacked.randomness import Stream, normal
from dpaudit.stacked.schedules import Constant, Schedule

BLOCK_BYTES = 2**26  # of batch indices handed to TensorFlow at a time


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
        _, slack = longest_batch(sampling, records, self.steps, tolerance=self.tolerance)
        return GaussianSteps(self.noise_multiplier, self.steps, sampling, slack)


def train(
    network: Network,
    parameters: Parameters,
    recipe: Recipe,
    *,
    features: npt.NDArray[np.float32],
    targets: npt.NDArray[np.generic],
    rows: Sequence[npt.NDArray[np.int64]],
    sampling: Sequence[Sampling],
    seed: int,
    models: Sequence[int],
    progress: Callable[[int], None] | None = None,
) -> Parameters:
    """Train copies of a network, each on its own records; returns their parameters.

    Args:
        network: what is trained.
        parameters: where each copy starts.
        recipe: how.
        features: of all records, shape (records, ...).
        targets: of all records.
        rows: for each copy the records it may see.
        sampling: for each copy how batches are drawn from them.
        seed: of the family of models.
        models: number of each copy in that family; with the seed it fixes batches, noise and dropout.
        progress: called with the number of steps done after each block.

    Raises:
        InputError: the numbers of copies disagree.
        AuditFailed: a copy's weights are no longer finite.
    """
    copies = parameters[0].shape[0]
    if not len(rows) == len(sampling) == len(models) == copies:
        raise InputError(
            f"{copies} copies need as many rows, samplings and models, got {len(rows)}, {len(sampling)}, {len(models)}."
        )
    lengths = [
        longest_batch(event, len(own), recipe.steps, tolerance=recipe.tolerance)[0]
        for event, own in zip(sampling, rows, strict=True)
    ]
    width = max(lengths)
    rates = recipe.learning_rate(recipe.steps).astype(np.float32)
    noise = Stream.start(seed, models, "noise")
    dropout = Stream.start(seed, models, "dropout")
    held = tf.constant(features, tf.float32), tf.constant(targets)
    state = tuple(recipe.optimizer.start(parameters[i]) for i in network.trainable)
    block = _block(network, recipe)
    size = max(1, min(recipe.steps, BLOCK_BYTES // (4 * copies * width)))
    for start in range(0, recipe.steps, size):
        steps = range(start, min(start + size, recipe.steps))
        indices = np.full((copies, len(steps), width), -1, np.int32)
        for copy, own in enumerate(rows):
            batches = draw(sampling[copy], len(own), seed=seed, model=models[copy], steps=steps, length=lengths[copy])
            indices[copy, :, : lengths[copy]] = np.where(batches < 0, -1, own[batches])
        parameters, state = block(
            parameters,
            state,
            *held,
            tf.constant(indices),
            tf.constant(start),
            tf.constant(rates[start : steps[-1] + 1]),
            noise.keys,
            dropout.keys,
        )
        if progress is not None:
            progress(steps[-1] + 1)
    _refuse_divergence(network, parameters, models)
    return parameters


def _block(network: Network, recipe: Recipe) -> Callable[..., tuple[Parameters, Any]]:
    loss = lambda outputs, targets: per_example_loss(recipe.task, outputs, targets)  # noqa: E731

    def step(
        parameters: Any, state: Any, x: Any, y: Any, present: Any, rate: Any, noise: Stream, dropout: Stream
    ) -> Any:
        if recipe.clip is None:
            sums, _ = plain_sum(network, parameters, x, y, loss=loss, present=present, dropout=dropout)
            divisor = tf.maximum(tf.reduce_sum(present, axis=1), 1.0)
        else:
            sums = clipped_sum(
                network, parameters, x, y, loss=loss, clip=recipe.clip, present=present, dropout=dropout
            ).gradients
            divisor = tf.constant([float(recipe.batch_size)])
        changed, states = list(parameters), []
        for position, total, own in zip(network.trainable, sums, state, strict=True):
            if recipe.clip is not None and recipe.noise_multiplier:
                variable = network.variables[position]
                drawn = normal(noise.named(f"{position}"), int(np.prod(variable.shape)))
                total += recipe.clip * recipe.noise_multiplier * tf.reshape(drawn, tf.shape(total))
            gradient = total / tf.reshape(divisor, [-1] + [1] * (total.shape.rank - 1))
            change, new = recipe.optimizer(gradient, own, rate, noise.step)
            if recipe.weight_decay:
                change -= rate * recipe.weight_decay * parameters[position]
            changed[position] = parameters[position] + change
            states.append(new)
        return tuple(changed), tuple(states)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def block(
        parameters: Any,
        state: Any,
        features: Any,
        targets: Any,
        indices: Any,
        start: Any,
        rates: Any,
        noise: Any,
        dropout: Any,
    ) -> Any:
        filled = tf.reduce_sum(tf.cast(indices >= 0, tf.int32), axis=2)
        widths = tf.maximum(tf.reduce_max(filled, axis=0), 1)

        def body(t: Any, parameters: Any, state: Any) -> Any:
            rows = indices[:, t, : widths[t]]
            present = tf.cast(rows >= 0, tf.float32)
            kept = tf.maximum(rows, 0)
            at = start + t
            changed = step(
                parameters,
                state,
                tf.gather(features, kept),
                tf.gather(targets, kept),
                present,
                rates[t],
                Stream(noise, at),
                Stream(dropout, at),
            )
            return t + 1, *changed

        _, parameters, state = tf.while_loop(
            lambda t, *_: t < tf.shape(indices)[1], body, (tf.constant(0), parameters, state), maximum_iterations=None
        )
        return parameters, state

    return block  # type: ignore[no-any-return]  # tf.function has no types


def _refuse_divergence(network: Network, parameters: Parameters, models: Sequence[int]) -> None:
    for variable, value in zip(network.variables, parameters, strict=True):
        axes = list(range(1, value.shape.rank))
        finite = tf.reduce_all(tf.math.is_finite(value), axis=axes).numpy()
        if not finite.all():
            raise AuditFailed(
                f"model {models[int(np.argmin(finite))]} diverged: {variable.name} is not finite; "
                "a lower learning rate would be needed."
            )
