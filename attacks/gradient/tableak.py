"""Gradient leakage of table rows: mixed columns relaxed, many restarts pooled, entropy as confidence.

`Vero et al. (2023), TabLeak <https://arxiv.org/abs/2210.01785>`_. A categorical column is optimised as the softmax of
free logits and a continuous one as a sigmoid inside its range; the restarts are matched to the best one row by row and
pooled. Where the restarts agree the attacker knows, without the truth, that the value is more often right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from dpaudit.attacks.gradient.table_columns import EncodedColumns
from dpaudit.attacks.gradient.view import Arrays, GradientView, Reconstruction
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError

if TYPE_CHECKING:
    from dpaudit.attacks.gradient.victims import Victims


@dataclass(frozen=True)
class Tabular:
    """TabLeak on a batch of table rows, Vero et al. (2023).

    Args:
        model: Keras model of the victims on encoded rows, logits out.
        columns: the encoding; None where the records are no table, which is refused.
        restarts: pooled; odd numbers make the median a value that occurred.
        iterations: Adam steps.
        rate: of the steps on the free variables.
        seed: of the starts.
    """

    model: Any
    columns: EncodedColumns | None
    restarts: int = 11
    iterations: int = 800
    rate: float = 0.06
    seed: int = 0

    def __post_init__(self) -> None:
        check.integer("restarts", self.restarts, at_least=1)
        check.integer("iterations", self.iterations, at_least=1)
        check.positive("rate", self.rate)

    def __call__(self, view: GradientView) -> Reconstruction:
        """One batch of rows, indicators exactly 0 or 1; all restarts run as one program.

        The confidence in a category is one minus the normalised entropy of the pooled shares (1 is certain), in a
        number minus the standard deviation over the restarts, over the column's range.
        """
        from dpaudit.attacks.gradient.objective import one_hot, restored_labels, stack_views
        from dpaudit.runtime.tensorflow import tf

        victims, columns = self._victims, self._known_columns
        if victims.record_shape != (columns.width,):
            raise InputError(f"the columns encode {columns.width} features, the model takes {victims.record_shape}.")
        observed, setting, _ = stack_views(victims, [view])
        if setting.copies > 1:
            raise InputError("the tabular attack needs a client that keeps its order or uses full batches.")
        labels = restored_labels(view)
        targets = np.repeat(one_hot([labels], victims.classes), self.restarts, axis=0)
        start = np.random.default_rng(self.seed).standard_normal((self.restarts, setting.records, columns.width))
        free, value = self._program(tf.constant(start), tf.constant(targets), observed, setting)
        rows, values = self._relaxed(free).numpy(), value.numpy()
        pooled, spread = self._pooled(rows, values)
        decoded = pooled.copy()
        confidence = np.empty((setting.records, len(columns.groups)))
        for number, block in enumerate(columns.blocks):
            share = pooled[:, block] / pooled[:, block].sum(1, keepdims=True)
            entropy = -(share * np.log(np.maximum(share, 1e-300))).sum(1) / np.log(share.shape[1])
            confidence[:, number] = 1 - entropy
            decoded[:, block] = np.eye(share.shape[1])[share.argmax(1)]
        return Reconstruction(decoded, labels, float(values.min()), np.concatenate([-spread, confidence], axis=1))

    def _pooled(self, rows: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Match every restart to the best one, then the median of numbers and the mean of category shares."""
        best = rows[values.argmin()]
        matched = [r[linear_sum_assignment(((best[:, None] - r[None]) ** 2).sum(2))[1]] for r in rows]
        stack, columns = np.stack(matched), self._known_columns
        pooled, numbers = stack.mean(0), columns.numbers
        pooled[:, numbers] = np.median(stack[:, :, numbers], axis=0)
        return pooled, stack[:, :, numbers].std(0) / (columns.high - columns.low)[numbers]

    def _relaxed(self, free: Any) -> Any:
        from dpaudit.runtime.tensorflow import tf

        columns = self._known_columns
        inside = columns.low + (columns.high - columns.low) * tf.sigmoid(free)
        parts = [tf.nn.softmax(free[..., run]) if run in columns.blocks else inside[..., run] for run in columns.runs]
        return tf.concat(parts, axis=-1)

    @property
    def _known_columns(self) -> EncodedColumns:
        if self.columns is None:
            raise InputError(
                "gradient.attacks: 'tableak' reads rows of a table, CSV or Parquet, and the data are none."
            )
        return self.columns

    def together(self, views: Sequence[GradientView]) -> list[Reconstruction]:
        """The rows of each of many victims."""
        return [self(view) for view in views]

    def require(self, weights: Arrays) -> None:
        """Refuse records that are no rows of a table."""
        _ = self._known_columns

    @cached_property
    def _victims(self) -> "Victims":
        from dpaudit.attacks.gradient.victims import Victims

        return Victims.of(self.model)

    @cached_property
    def _program(self) -> Any:
        from dpaudit.attacks.gradient.adam import step_of
        from dpaudit.attacks.gradient.objective import distances_to_victims, predict_updates
        from dpaudit.runtime.tensorflow import tf

        victims, iterations = self._victims, self.iterations

        @tf.function(autograph=victims.runs_keras)  # type: ignore[untyped-decorator]  # TensorFlow has no types
        def program(free: Any, targets: Any, observed: Any, setting: Any) -> Any:
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
