"""Gradient leakage of table rows: mixed columns relaxed, many restarts pooled, entropy as confidence.

`Vero et al. (2023), TabLeak <https://arxiv.org/abs/2210.01785>`_. A categorical column is optimised as the softmax of
free logits and a continuous one as a sigmoid inside its range; the restarts are matched to the best one row by row and
pooled. Where the pooled category is sharp the attacker knows, without the truth, that the row leaked.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from dpaudit.attacks.gradient.adam import step_of
from dpaudit.attacks.gradient.objective import (
    Observed,
    Setting,
    distances_to_victims,
    one_hot,
    predict_updates,
    restored_labels,
    stack_views,
)
from dpaudit.attacks.gradient.table_columns import EncodedColumns
from dpaudit.attacks.gradient.victims import Victims
from dpaudit.attacks.gradient.view import GradientView, Reconstruction
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import tf


@dataclass(frozen=True)
class TabularReconstruction:
    """Rows with the attacker's own confidence in them.

    Args:
        rows: decoded, indicators exactly 0 or 1.
        confidence: one minus the pooled categories' normalised entropy, (rows, categorical columns): 1 is certain.
        spread: standard deviation of the continuous columns over the restarts, over the column's range.
    """

    rows: Reconstruction
    confidence: FloatArray
    spread: FloatArray


@dataclass(frozen=True)
class Tabular:
    """TabLeak on a batch of table rows.

    Args:
        model: Keras model of the victims on encoded rows, logits out.
        columns: the encoding.
        restarts: pooled; odd numbers make the median a value that occurred.
        iterations: Adam steps.
        rate: of the steps on the free variables.
        seed: of the starts.
    """

    model: Any
    columns: EncodedColumns
    restarts: int = 11
    iterations: int = 800
    rate: float = 0.06
    seed: int = 0

    def __post_init__(self) -> None:
        check.integer("restarts", self.restarts, at_least=1)
        check.integer("iterations", self.iterations, at_least=1)
        check.positive("rate", self.rate)

    def __call__(self, view: GradientView) -> TabularReconstruction:
        """Reconstruct one batch of rows; all restarts run as one program."""
        victims = self._victims
        if victims.record_shape != (self.columns.width,):
            raise InputError(
                f"the columns encode {self.columns.width} features, the model takes {victims.record_shape}."
            )
        observed, setting, _ = stack_views(victims, [view])
        if setting.copies > 1:
            raise InputError("the tabular attack needs a client that keeps its order or uses full batches.")
        labels = restored_labels(view)
        targets = np.repeat(one_hot([labels], victims.classes), self.restarts, axis=0)
        start = np.random.default_rng(self.seed).standard_normal((self.restarts, setting.records, self.columns.width))
        free, value = self._program(tf.constant(start), tf.constant(targets), observed, setting)
        rows, values = self._relaxed(free).numpy(), value.numpy()
        pooled, spread = self._pooled(rows, values)
        decoded = pooled.copy()
        confidence = np.empty((setting.records, len(self.columns.categories)))
        for number, block in enumerate(self.columns.blocks):
            share = pooled[:, block] / pooled[:, block].sum(1, keepdims=True)
            entropy = -(share * np.log(np.maximum(share, 1e-300))).sum(1) / np.log(share.shape[1])
            confidence[:, number] = 1 - entropy
            decoded[:, block] = np.eye(share.shape[1])[share.argmax(1)]
        return TabularReconstruction(Reconstruction(decoded, labels, float(values.min())), confidence, spread)

    def _pooled(self, rows: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Match every restart to the best one, then the median of numbers and the mean of category shares."""
        best = rows[values.argmin()]
        matched = [r[linear_sum_assignment(((best[:, None] - r[None]) ** 2).sum(2))[1]] for r in rows]
        stack, cut = np.stack(matched), self.columns.continuous
        pooled = stack.mean(0)
        pooled[:, :cut] = np.median(stack[:, :, :cut], axis=0)
        return pooled, stack[:, :, :cut].std(0) / (self.columns.high - self.columns.low)

    def _relaxed(self, free: Any) -> Any:
        cut, columns = self.columns.continuous, self.columns
        parts = [columns.low + (columns.high - columns.low) * tf.sigmoid(free[..., :cut])]
        parts += [tf.nn.softmax(free[..., block]) for block in columns.blocks]
        return tf.concat(parts, axis=-1)

    @cached_property
    def _victims(self) -> Victims:
        return Victims.of(self.model)

    @cached_property
    def _program(self) -> Any:
        victims, iterations = self._victims, self.iterations

        @tf.function(autograph=victims.runs_keras)  # type: ignore[untyped-decorator]  # TensorFlow has no types
        def program(free: Any, targets: Any, observed: Observed, setting: Setting) -> Any:
            which = tf.zeros([free.shape[0]], tf.int32)

            def cosine(free: Any) -> Any:
                guesses = predict_updates(victims, observed, setting, self._relaxed(free), targets)
                return distances_to_victims("cosine", guesses, observed, which)

            def step(i: Any, free: Any, mean: Any, square: Any) -> Any:
                with tf.GradientTape() as tape:
                    tape.watch(free)
                    value = cosine(free)
                slope = tf.sign(tape.gradient(value, free))
                move, mean, square = step_of(slope, mean, square, i)
                fall = tf.cast(2 * i >= iterations, tf.float64) + tf.cast(4 * i >= 3 * iterations, tf.float64)
                return i + 1, free - self.rate * 10**-fall * move, mean, square

            state = (0, free, tf.zeros_like(free), tf.zeros_like(free))
            free = tf.while_loop(lambda i, *_: i < iterations, step, state)[1]
            return free, cosine(free)

        return program
