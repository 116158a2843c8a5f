"""Gradient matching by boxed L-BFGS: find the records whose gradient is the one observed.

`Zhu et al. (2019), deep leakage from gradients <https://arxiv.org/abs/1906.08935>`_, with the labels restored first as
`Zhao et al. (2020), iDLG <https://arxiv.org/abs/2001.02610>`_. Strong on smooth activations and untrained or little
trained models; ReLU networks have no curvature to follow (use `InvertingGradients`). Everything is double precision:
single precision stalls 40 to 50 dB earlier.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dpaudit.attacks.gradient.batched_lbfgs import minimise
from dpaudit.attacks.gradient.view import GradientView, Reconstruction
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray, IntArray

if TYPE_CHECKING:
    from dpaudit.attacks.gradient.victims import Victims

SCALE = 1e4  # L-BFGS-B's own thresholds are absolute; the normalised objective starts near 1


@dataclass(frozen=True)
class GradientMatching:
    """DLG or iDLG on gradients, updates of several local steps, and compressed updates.

    The best restart is the one with the lowest objective; the truth is never consulted.

    Args:
        model: Keras model of the victims, logits out; see `Victims.of`.
        labels: ``restored`` (iDLG): the view's labels, or those its gradient reveals; ``joint`` (DLG): found with
            the records.
        restarts: random starts per victim; going to a bad basin is common, so restarts are part of the attack.
        iterations: of each start.
        tolerance: normalised squared distance at which a start is done; 1e-14 is about 100 dB.
        order_penalty: weight on the epochs' disagreement when a client shuffles.
        seed: of the starts.
    """

    model: Any
    labels: Literal["restored", "joint"] = "restored"
    restarts: int = 2
    iterations: int = 500
    tolerance: float = 1e-16
    order_penalty: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        check.one_of("labels", self.labels, ("restored", "joint"))
        check.integer("restarts", self.restarts, at_least=1)
        check.integer("iterations", self.iterations, at_least=1)
        check.nonnegative("tolerance", self.tolerance)
        check.nonnegative("order_penalty", self.order_penalty)

    def __call__(self, view: GradientView) -> Reconstruction:
        """Reconstruct one victim's records."""
        return self.together([view])[0]

    def together(self, views: Sequence[GradientView]) -> list[Reconstruction]:
        """Reconstruct many victims of one model at once; each as if attacked alone, up to float rounding."""
        from dpaudit.attacks.gradient.restarts import best_guesses, draw_starting_points, stated_or_restored
        from dpaudit.runtime.tensorflow import tf

        start = draw_starting_points(self._victims, views, restarts=self.restarts, seed=self.seed)
        number, joint = len(start.victim), self.labels == "joint"
        known = None if joint else stated_or_restored(self._victims, views, start)
        points = start.records.reshape(number, -1)
        pixels = points.shape[1]
        if joint:
            points = np.append(points, start.logits.reshape(number, -1), axis=1)

        def evaluate(points: FloatArray, which: IntArray) -> tuple[FloatArray, FloatArray]:
            # Guesses finish one by one; padding to a few sizes keeps the number of traced programs small.
            size = number
            while size > 4 * len(points):
                size = -(-size // 4)
            rows = np.minimum(np.arange(max(size, len(points))), len(points) - 1)
            padded = which[rows]
            targets = None if known is None else tf.constant(known[padded])
            victim = tf.constant(start.victim[padded], tf.int32)
            value, slope = self._program(tf.constant(points[rows]), victim, targets, start.observed, start.setting)
            return value.numpy()[: len(points)], slope.numpy()[: len(points)]

        edges = [np.full(points.shape[1], sign * np.inf) for sign in (-1, 1)]
        for edge, value in zip(edges, start.box, strict=True):
            edge[:pixels] = value
        minima = minimise(
            evaluate,
            points,
            bounds=(edges[0], edges[1]),
            iterations=self.iterations,
            tolerance=self.tolerance * SCALE,
        )
        found = np.stack([minimum.x for minimum in minima])
        return best_guesses(
            start,
            np.array([minimum.value for minimum in minima]) / SCALE,
            found[:, :pixels].reshape(start.records.shape),
            found[:, pixels:].reshape(start.logits.shape) if known is None else known,
        )

    @cached_property
    def _victims(self) -> "Victims":
        from dpaudit.attacks.gradient.victims import Victims

        return Victims.of(self.model)

    @cached_property
    def _program(self) -> Any:
        """Values and slopes of guesses; traced once per shape and setting."""
        from dpaudit.attacks.gradient.objective import disagreement, distances_to_victims, predict_updates
        from dpaudit.runtime.tensorflow import tf

        victims = self._victims

        @tf.function(autograph=victims.runs_keras)  # type: ignore[untyped-decorator]  # TensorFlow has no types
        def program(flat: Any, victim: Any, targets: Any, observed: Any, setting: Any) -> Any:
            slots = setting.copies * setting.records
            pixels = slots * math.prod(victims.record_shape)
            with tf.GradientTape() as tape:
                tape.watch(flat)
                x = tf.reshape(flat[:, :pixels], [flat.shape[0], slots, *victims.record_shape])
                classes = targets
                if targets is None:
                    classes = tf.nn.softmax(tf.reshape(flat[:, pixels:], [flat.shape[0], slots, victims.classes]))
                sent = predict_updates(victims, observed, setting, x, classes)
                value = distances_to_victims("euclidean", sent, observed, victim)
                value = SCALE * (value + self.order_penalty * disagreement(setting, x))
            return value, tape.gradient(value, flat)

        return program
