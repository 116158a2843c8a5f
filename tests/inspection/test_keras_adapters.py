"""TensorFlow Privacy's models under inspection: right ones pass, less noise than stated and none at all are seen.

Every inspection is at level 1e-6 with a fixed seed; where something is wrong it is of a tenth of the calls, for 300 see
half of the noise, and none.
"""

from typing import Any

import numpy as np
import pytest

from dpaudit.inspection.inspect import inspect_mechanism
from dpaudit.inspection.mechanism import Stated

pytestmark = pytest.mark.tf
STATED = Stated(2.0, 1.0, "batch", "zero-out")  # it divides by the batch at hand


def privacy(name):
    """A module of TensorFlow Privacy."""
    from dpaudit.runtime.tensorflow import tensorflow_privacy_module

    return tensorflow_privacy_module(f"privacy.{name}")


def inspected(build, *, registered=False, effort=0.1):
    """An inspection of a model, which is built from layers and what the path of fast clipping needs."""
    from dpaudit.inspection.keras_optimizer import model

    known = privacy("fast_gradient_clipping.layer_registry")
    registry = {"layer_registry": known.make_default_layer_registry()} if registered else {}
    subject = model(lambda layers: build(layers, **registry), inputs=24, batch_size=16, registered=registered, seed=1)
    return inspect_mechanism(subject, STATED, seed=1, effort=effort)


def sequential(layers, noise_multiplier=1.0, **registry):
    """A `DPSequential` that clips at 2."""
    made = privacy("keras_models.dp_keras_model").DPSequential
    return made(2.0, noise_multiplier, use_xla=False, layers=layers, **registry)


def functional(layers, kind=None, **registry):
    """A functional `DPModel`, or one of another kind, that clips at 2 and adds the noise for it."""
    kind = privacy("keras_models.dp_keras_model").DPModel if kind is None else kind
    start, last = layers
    return kind(2.0, 1.0, use_xla=False, inputs=start, outputs=last(start), **registry)


@pytest.mark.parametrize(
    ("build", "registered"),
    [  # each kind of model and each path of clipping; the slow lane has the other two pairs
        (sequential, True),
        (functional, False),
        pytest.param(sequential, False, marks=pytest.mark.slow),
        pytest.param(functional, True, marks=pytest.mark.slow),
    ],
)
def test_a_right_model_has_no_violation(build, registered):
    """Its noise is measured at what it states, on the path of fast clipping too."""
    # Some 700 calls, in which every question is asked; in 3 of 3 seeds the figure is within 0.04.
    found = inspected(build, registered=registered, effort=0.25)
    assert found.violations == ()
    assert found.noise_multiplier == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize("optimizer", ["right", "right_vectorized"])
def test_tensorflow_privacys_optimizers_let_nan_pass(optimizer):
    """NaN, infinite and overflowing gradients: they release NaN, and nothing else is found in them."""
    from dpaudit.self_test.faults import tf_privacy

    theirs = tf_privacy.mechanism(getattr(tf_privacy, optimizer), seed=1)
    found = inspect_mechanism(theirs, tf_privacy.STATED, seed=1, effort=0.1)
    assert [(finding.check, finding.severity) for finding in found.findings] == [("non-finite gradient", "warning")]


def test_the_engine_counts_nan_as_zero():
    """Nothing is found, no warning either."""
    from dpaudit.inspection.engine_step import stacked_step

    ours = stacked_step(clip=2.0, noise_multiplier=1.0, denominator=16, seed=1)
    assert inspect_mechanism(ours, Stated(2.0, 1.0, 16.0, "zero-out"), seed=1, effort=0.1).findings == ()


def test_less_noise_in_a_dp_sequential_is_seen():
    """Half of the noise it states."""
    found = inspected(lambda layers: sequential(layers, noise_multiplier=0.5))
    assert "noise" in {finding.check for finding in found.violations}
    assert found.noise_multiplier == pytest.approx(0.5, rel=0.1)


def test_a_dp_model_that_leaves_out_the_noise_is_seen():
    """A subclass that averages the clipped gradients and adds nothing."""
    from dpaudit.runtime.tensorflow import tf

    right: Any = privacy("keras_models.dp_keras_model").DPModel

    class WithoutNoise(right):  # type: ignore[misc]  # Keras has no types
        def _reduce_per_example_grads(self, stacked_grads):
            return tf.reduce_mean(stacked_grads, axis=0)

    found = inspected(lambda layers: functional(layers, WithoutNoise))
    assert "noise" in {finding.check for finding in found.violations}
    assert found.noise_multiplier == 0.0


def test_a_model_with_a_call_of_its_own_is_built():
    """Its ``Dense`` layer has no variables before it sees a shape. Without noise what it releases is known.

    Of 16 gradients one has a norm of 5 and is clipped to 2, the others are 0: their mean has a norm of 2 / 16.
    """
    from dpaudit.inspection.keras_optimizer import model
    from dpaudit.runtime.tensorflow import keras

    # A class of its own: Keras turns TensorFlow Privacy's `DPModel` into a functional one once such a model was made.
    right: Any = privacy("keras_models.dp_keras_model").make_dp_model_class(keras.Model)

    class Called(right):  # type: ignore[misc]  # Keras has no types
        def __init__(self, layers):
            super().__init__(2.0, 0.0, use_xla=False)
            self.last = layers[-1]

        def call(self, features):
            return self.last(features)

    subject = model(Called, inputs=24, batch_size=16, registered=True, seed=1)
    assert subject.shapes == ((24, 1),)
    gradients = np.zeros((16, 24, 1), np.float32)
    gradients[3, :2, 0] = 3.0, 4.0
    (released,) = subject.release([gradients])
    np.testing.assert_allclose(released[:2, 0], np.array([3.0, 4.0]) / 5 * 2 / 16, rtol=1e-6)
    assert not released[2:].any()
