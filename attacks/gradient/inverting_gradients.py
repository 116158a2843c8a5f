"""Inverting gradients: cosine distance and total variation, minimised by Adam inside the box.

`Geiping et al. (2020) <https://arxiv.org/abs/2003.14053>`_. Slower to high fidelity than `GradientMatching`, and what
works on ReLU networks and trained models. On small grey images plain Adam is better than the paper's signed
steps; signed ones are for large colour images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dpaudit.attacks.gradient.view import Arrays, GradientView, Reconstruction
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError

if TYPE_CHECKING:
    from dpaudit.attacks.gradient.victims import Victims


@dataclass(frozen=True)
class InvertingGradients:
    """Cosine matching on gradients, updates and compressed updates; the labels are the view's or restored.

    Args:
        model: Keras model of the victims, logits out; see `Victims.of`.
        restarts: random starts per victim; the one with the smallest cosine distance is kept.
        iterations: Adam steps; the rate falls tenfold after 3/8, 5/8 and 7/8 of them.
        rate: first step size, in units of the box.
        variation: weight of the total variation; at most 1e-3 on 8x8 images, which it washes out.
        signed: whether Adam sees only the sign of the slope.
        order_penalty: weight on the epochs' disagreement when a client shuffles.
        statistics: weight on how far a guess's batch statistics are from the model's moving averages, in models with
            batch normalisation (Yin et al. 2021).
        seed: of the starts.
    """

    model: Any
    restarts: int = 2
    iterations: int = 700
    rate: float = 0.1
    variation: float = 1e-2
    signed: bool = False
    order_penalty: float = 1e-4
    statistics: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check.integer("restarts", self.restarts, at_least=1)
        check.integer("iterations", self.iterations, at_least=1)
        check.positive("rate", self.rate)
        check.nonnegative("variation", self.variation)
        check.nonnegative("order_penalty", self.order_penalty)
        check.nonnegative("statistics", self.statistics)

    def __call__(self, view: GradientView) -> Reconstruction:
        """Reconstruct one victim's records."""
        return self.together([view])[0]

    def together(self, views: Sequence[GradientView]) -> list[Reconstruction]:
        """Reconstruct many victims of one model at once."""
        from dpaudit.attacks.gradient.restarts import best_guesses, draw_starting_points, stated_or_restored
        from dpaudit.runtime.tensorflow import tf

        if self.statistics:
            self._require_own_weights(views[0])
        start = draw_starting_points(self._victims, views, restarts=self.restarts, seed=self.seed)
        targets = stated_or_restored(self._victims, views, start)
        x, values = self._program(
            tf.constant(start.records), tf.constant(start.victim, tf.int32), tf.constant(targets), start.observed,
            start.setting, tf.constant(start.box[0], tf.float64), tf.constant(start.box[1], tf.float64),
        )  # fmt: skip
        return best_guesses(start, values.numpy(), x.numpy(), targets)

    def require(self, weights: Arrays) -> None:
        """Refuse a model without batch normalisation where its statistics are asked for."""
        if self.statistics:
            from dpaudit.attacks.gradient.batch_statistics import normalising_layers

            normalising_layers(self._victims.model, "gradient.attacks: 'inverting' with statistics")

    def _require_own_weights(self, view: GradientView) -> None:
        own, given = self._victims.weights, getattr(view, "weights", ())
        if len(own) != len(given) or not all(map(np.array_equal, own, given)):
            raise InputError("inverting: statistics are of the model that the attack is given, the view of another.")

    @cached_property
    def _victims(self) -> "Victims":
        from dpaudit.attacks.gradient.victims import Victims

        return Victims.of(self.model)

    @cached_property
    def _program(self) -> Any:
        """All Adam steps as one program: starts -> best records and their cosine distance."""
        from dpaudit.attacks.gradient.adam import step_of
        from dpaudit.attacks.gradient.batch_statistics import away_from_averages
        from dpaudit.attacks.gradient.objective import (
            disagreement,
            distances_to_victims,
            predict_updates,
            total_variation,
        )
        from dpaudit.runtime.tensorflow import tf

        victims, iterations = self._victims, self.iterations

        @tf.function(autograph=victims.runs_keras)  # type: ignore[untyped-decorator]  # TensorFlow has no types
        def program(x: Any, which: Any, targets: Any, observed: Any, setting: Any, low: Any, high: Any) -> Any:
            def step(i: Any, x: Any, mean: Any, square: Any, kept: Any, record: Any) -> Any:
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    cosine = distances_to_victims(
                        "cosine", predict_updates(victims, observed, setting, x, targets), observed, which
                    )
                    smooth = self.variation * total_variation(x)
                    value = cosine + smooth + self.order_penalty * disagreement(setting, x)
                    if self.statistics:
                        value += self.statistics * away_from_averages(victims.model, x)
                slope = tape.gradient(value, x)
                better = cosine < record
                kept = tf.where(tf.reshape(better, [-1] + [1] * (len(x.shape) - 1)), x, kept)
                slope = tf.sign(slope) if self.signed else slope
                move, mean, square = step_of(slope, mean, square, i)
                done = tf.cast(8 * i, tf.float64) / iterations
                fall = tf.reduce_sum(tf.cast(done >= tf.constant([3.0, 5.0, 7.0], tf.float64), tf.float64))
                rate = self.rate * (high - low) * 10**-fall
                x = tf.clip_by_value(x - rate * move, low, high)
                return i + 1, x, mean, square, kept, tf.minimum(cosine, record)

            far = tf.fill([x.shape[0]], tf.constant(np.inf, tf.float64))
            state = (0, x, tf.zeros_like(x), tf.zeros_like(x), x, far)
            *_, kept, record = tf.while_loop(lambda i, *_: i < iterations, step, state)
            return kept, record

        return program
