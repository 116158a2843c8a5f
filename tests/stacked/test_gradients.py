"""Clipped sums and norms, against TensorFlow Privacy and against the Jacobian."""

from typing import Any

import numpy as np
import pytest

from dpaudit._tensorflow import keras, tf
from dpaudit.errors import InputError
from dpaudit.stacked.gradients import clipped_sum, per_example_norms
from dpaudit.stacked.losses import per_example_loss
from dpaudit.stacked.network import Network
from tests.stacked.networks import LAYERS, WHOLE

pytestmark = pytest.mark.tf
MODELS = {**LAYERS, **WHOLE}
EXAMPLES = 4


def softmax_loss(outputs: Any, targets: Any) -> Any:
    return per_example_loss("multiclass", outputs, targets)


def batch(model: Any, models: int, seed: int = 3) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    shape = (models, EXAMPLES, *model.input_shape[1:])
    tokens = isinstance(model.layers[0], keras.layers.Embedding)
    x = rng.integers(4, size=shape) if tokens else rng.normal(size=shape)
    return x.astype(np.float32), rng.integers(3, size=(models, EXAMPLES))


@pytest.mark.parametrize("name", MODELS)
def test_step_equals_tf_privacy(name: str) -> None:
    """With noise 0, clipped sum / batch of each of two stacked models is DPKerasSGDOptimizer's step, microbatch 1."""
    from tensorflow_privacy.privacy.optimizers.dp_optimizer_keras import DPKerasSGDOptimizer

    keras.utils.set_random_seed(5)
    model = MODELS[name]()
    network = Network.from_keras(model)
    parameters = network.initial(seed=1, models=range(2))
    x, y = batch(model, 2)
    norms = per_example_norms(network, parameters, x, y, loss=softmax_loss).numpy()
    clip = float(np.median(norms))
    sums = clipped_sum(network, parameters, x, y, loss=softmax_loss, clip=clip).gradients
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")
    for i in range(2):
        copy = network.to_keras(parameters, i)
        before = copy.get_weights()
        optimizer = DPKerasSGDOptimizer(clip, 0.0, num_microbatches=EXAMPLES, learning_rate=1.0)
        optimizer.minimize(
            lambda copy=copy, i=i: loss(y[i], copy(x[i])), lambda copy=copy: copy.trainable_variables, tape=None
        )
        for ours, old, new in zip(sums, before, copy.get_weights(), strict=True):
            np.testing.assert_allclose(ours[i].numpy() / EXAMPLES, old - new, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_norms_equal_the_jacobian(name: str) -> None:
    """Per-example norms are those of the rows of ``tape.jacobian``."""
    model = MODELS[name]()
    network = Network.from_keras(model)
    parameters = network.initial(seed=2, models=[7])
    x, y = batch(model, 1)
    ours = per_example_norms(network, parameters, x, y, loss=softmax_loss).numpy()[0]
    copy = network.to_keras(parameters, 0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")
    with tf.GradientTape(persistent=True) as tape:
        losses = loss(y[0], copy(x[0]))
    rows = [tape.jacobian(losses, v, experimental_use_pfor=False) for v in copy.trainable_variables]
    flat = np.concatenate([tf.convert_to_tensor(row).numpy().reshape(EXAMPLES, -1) for row in rows], axis=1)
    np.testing.assert_allclose(ours, np.linalg.norm(flat, axis=1), rtol=1e-4)


def test_a_loss_over_the_batch_is_refused() -> None:
    """A mean over the batch leaves no example a gradient of its own to clip."""
    model = MODELS["mlp"]()
    network = Network.from_keras(model)
    x, y = batch(model, 2)
    with pytest.raises(InputError, match=r"the loss must be per example, .* got \(2,\)"):
        clipped_sum(
            network, network.initial(seed=1, models=range(2)), x, y,
            loss=lambda outputs, targets: tf.reduce_mean(softmax_loss(outputs, targets), axis=1), clip=1.0,
        )  # fmt: skip
