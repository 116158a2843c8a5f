"""Model inversion: what the released model thinks a class looks like.

`Fredrikson, Jha and Ristenpart (2015) <https://doi.org/10.1145/2810103.2813677>`_. A baseline: it finds a class's
representative, which is a property of the population, and no training record unless a class is one person.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dpaudit.attacks.gradient.batched_lbfgs import minimise
from dpaudit.attacks.gradient.losses import cross_entropy
from dpaudit.attacks.gradient.objective import total_variation
from dpaudit.attacks.gradient.victims import Victims
from dpaudit.attacks.gradient.view import FinalModel, GradientView, Reconstruction, require_known
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import tf


@dataclass(frozen=True)
class ModelInversion:
    """One representative per class, from the grey middle of the box, most probable under the model.

    Args:
        model: Keras model of the release, logits out.
        iterations: of each class.
        variation: weight of the total variation.
    """

    model: Any
    iterations: int = 100
    variation: float = 0.1

    def __post_init__(self) -> None:
        check.integer("iterations", self.iterations, at_least=1)
        check.nonnegative("variation", self.variation)

    def __call__(self, view: GradientView) -> Reconstruction:
        """The representative of every class, in order."""
        if not isinstance(view, FinalModel):
            raise InputError(f"model inversion reads a released model, got a {type(view).__name__}.")
        victims = Victims.of(self.model)
        low, high = require_known("box", view.box, "model inversion")
        parameters, shape = victims.at(view.weights), victims.record_shape
        size, classes = int(np.prod(shape)), victims.classes

        @tf.function(autograph=victims.runs_keras)  # type: ignore[untyped-decorator]  # TensorFlow has no types
        def both(flat: Any, targets: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(flat)
                x = tf.reshape(flat, [flat.shape[0], 1, *shape])
                logits = victims.logits(parameters, x[:, 0][None])[0]
                value = cross_entropy(logits, targets) + self.variation * total_variation(x)
            return value, tape.gradient(value, flat)

        def evaluate(points: Any, which: Any) -> Any:
            rows = np.minimum(np.arange(classes), len(points) - 1)
            value, slope = both(tf.constant(points[rows]), tf.constant(np.eye(classes)[which[rows]]))
            return value.numpy()[: len(points)], slope.numpy()[: len(points)]

        found = minimise(
            evaluate,
            np.full((classes, size), (low + high) / 2),
            bounds=(np.full(size, low), np.full(size, high)),
            iterations=self.iterations,
            tolerance=0.0,
        )
        images = np.stack([minimum.x.reshape(shape) for minimum in found])
        return Reconstruction(images, np.arange(classes), float(np.mean([minimum.value for minimum in found])))
