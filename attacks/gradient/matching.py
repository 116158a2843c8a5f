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
from typing import Any, Literal

import numpy as np

from dpaudit import _check
from dpaudit._check import FloatArray, IntArray
from dpaudit._tensorflow import tf
from dpaudit.attacks.gradient.lockstep import minimise
from dpaudit.attacks.gradient.objective import (
    Observed,
    Setting,
    disagreement,
    distance,
    merged_epochs,
    observe,
    one_hot,
    predicted,
    restored_labels,
)
from dpaudit.attacks.gradient.victims import Victims
from dpaudit.attacks.gradient.view import GradientView, Reconstruction

SCALE = 1e4  # L-BFGS-B's own thresholds are absolute; the normalised objective starts near 1


@dataclass(frozen=True)
class GradientMatching:
    """DLG or iDLG on gradients, updates of several local steps, and compressed updates.

    The best restart is the one with the lowest objective; the truth is never consulted.

    Args:
        model: Keras model of the victims, logits out.
        labels: ``restored`` (iDLG): the view's labels, or those its gradient gives away; ``joint`` (DLG): found with
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
        _check.one_of("labels", self.labels, ("restored", "joint"))
        _check.integer("restarts", self.restarts, at_least=1)
        _check.integer("iterations", self.iterations, at_least=1)
        _check.nonnegative("tolerance", self.tolerance)
        _check.nonnegative("order_penalty", self.order_penalty)

    def __call__(self, view: GradientView) -> Reconstruction:
        """Reconstruct one victim's records."""
        return self.together([view])[0]

    def together(self, views: Sequence[GradientView]) -> list[Reconstruction]:
        """Reconstruct many victims of one model at once; each as if attacked alone, up to float rounding."""
        victims = self._victims
        observed, setting, box = observe(victims, views)
        slots = setting.copies * setting.records
        pixels = slots * math.prod(victims.record_shape)
        logits = slots * victims.classes if self.labels == "joint" else 0
        labels = None if logits else one_hot([restored_labels(v) for v in views], victims.classes)
        targets = None if labels is None else tf.constant(np.tile(labels, (1, setting.copies, 1)))
        which = np.repeat(np.arange(len(views)), self.restarts)

        def evaluate(points: FloatArray, guesses: IntArray) -> tuple[FloatArray, FloatArray]:
            # Guesses finish one by one; padding to a few sizes keeps the number of traced programs small.
            size = len(which)
            while size > 4 * len(points):
                size = -(-size // 4)
            rows = np.minimum(np.arange(max(size, len(points))), len(points) - 1)
            victim = tf.constant(which[guesses[rows]], tf.int32)
            value, slope = self._program(tf.constant(points[rows]), victim, targets, observed, setting)
            return value.numpy()[: len(points)], slope.numpy()[: len(points)]

        free = np.full(logits, np.inf)
        minima = minimise(
            evaluate,
            np.stack([self._start(v, r, pixels, logits, box) for v in range(len(views)) for r in range(self.restarts)]),
            bounds=(np.append(np.full(pixels, box[0]), -free), np.append(np.full(pixels, box[1]), free)),
            iterations=self.iterations,
            tolerance=self.tolerance * SCALE,
        )
        groups = [minima[v * self.restarts : (v + 1) * self.restarts] for v in range(len(views))]
        best = [min(group, key=lambda minimum: minimum.value) for group in groups]
        found = []
        for v, minimum in enumerate(best):
            x = minimum.x[:pixels].reshape(slots, *victims.record_shape)
            classes = minimum.x[pixels:].reshape(slots, -1) if targets is None else targets[v].numpy()
            x, y = merged_epochs(x, classes.argmax(1), setting.copies)
            found.append(Reconstruction(x, y, minimum.value / SCALE))
        return found

    @cached_property
    def _victims(self) -> Victims:
        return Victims.of(self.model)

    @cached_property
    def _program(self) -> Any:
        """Values and slopes of guesses; traced once per shape and setting."""
        victims = self._victims

        @tf.function  # type: ignore[untyped-decorator]  # TensorFlow has no types
        def program(flat: Any, victim: Any, targets: Any, observed: Observed, setting: Setting) -> Any:
            slots = setting.copies * setting.records
            pixels = slots * math.prod(victims.record_shape)
            with tf.GradientTape() as tape:
                tape.watch(flat)
                x = tf.reshape(flat[:, :pixels], [flat.shape[0], slots, *victims.record_shape])
                if targets is None:
                    classes = tf.nn.softmax(tf.reshape(flat[:, pixels:], [flat.shape[0], slots, victims.classes]))
                else:
                    classes = tf.gather(targets, victim)
                guesses = predicted(victims, observed, setting, x, classes)
                value = distance("euclidean", guesses, observed, victim)
                value = SCALE * (value + self.order_penalty * disagreement(setting, x))
            return value, tape.gradient(value, flat)

        return program

    def _start(self, view: int, restart: int, pixels: int, logits: int, box: tuple[float, float]) -> FloatArray:
        # Counter-based, so that a victim's starts do not depend on who is attacked with it.
        rng = np.random.default_rng([self.seed, view, restart])
        return np.append(rng.uniform(*box, pixels), rng.standard_normal(logits))
