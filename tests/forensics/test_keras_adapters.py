"""TensorFlow Privacy's model under inspection: a right one passes, less noise than stated is seen."""

import pytest

from dpaudit.forensics.inspection import inspect_mechanism
from dpaudit.forensics.mechanism import Stated

pytestmark = pytest.mark.tf
STATED = Stated(2.0, 1.0, "batch", "zero-out")  # it divides by the batch at hand


def inspected(*, l2_norm_clip, noise_multiplier, registered):
    """An inspection of ``DPSequential`` at level 1e-6; ``registered`` takes the path of fast clipping."""
    from dpaudit._tensorflow import tensorflow_privacy_module
    from dpaudit.forensics.keras import model

    sequential = tensorflow_privacy_module("privacy.keras_models.dp_keras_model").DPSequential
    known = tensorflow_privacy_module("privacy.fast_gradient_clipping.layer_registry")

    def build(layers):
        registry = {"layer_registry": known.make_default_layer_registry()} if registered else {}
        return sequential(l2_norm_clip, noise_multiplier, use_xla=False, layers=layers, **registry)

    subject = model(build, inputs=24, batch_size=16, registered=registered, seed=1)
    return inspect_mechanism(subject, STATED, seed=1)


@pytest.mark.parametrize("registered", [False, True])
def test_a_right_dp_sequential_has_no_violation(registered):
    """Its noise is measured at what it states; fixed seed."""
    found = inspected(l2_norm_clip=2.0, noise_multiplier=1.0, registered=registered)
    assert found.violations == ()
    assert found.noise_multiplier == pytest.approx(1.0, rel=0.1)


def test_less_noise_in_a_dp_sequential_is_seen():
    """Half of the noise it states; fixed seed."""
    found = inspected(l2_norm_clip=2.0, noise_multiplier=0.5, registered=False)
    assert "noise" in {finding.check for finding in found.violations}
    assert found.noise_multiplier == pytest.approx(0.5, rel=0.1)
