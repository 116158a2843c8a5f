"""Clipped sums and norms, against TensorFlow Privacy and against the Jacobian."""

from typing import Any

import numpy as np
import pytest

from dpaudit.engine.gradients import clipped_sum, per_example_norms
from dpaudit.engine.losses import per_example_loss
from dpaudit.engine.network import Network
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import keras, tf
from tests.engine.networks import LAYERS, MADE_OF_PARTS, WHOLE

pytestmark = pytest.mark.tf
MODELS = {**LAYERS, **WHOLE}
EXAMPLES = 3
TOKENS = keras.layers.Embedding


def softmax_loss(outputs: Any, targets: Any) -> Any:
    return per_example_loss("multiclass", outputs, targets)


TAKE_TOKENS = ("embedding", "positions")  # by name, so that collecting the tests builds no network


def takes_tokens(model: Any) -> bool:
    return any(isinstance(layer, TOKENS) for layer in model.layers)


def batch(model: Any, models: int, seed: int = 3) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    shape = (models, EXAMPLES, *model.input_shape[1:])
    x = rng.integers(4, size=shape) if takes_tokens(model) else rng.normal(size=shape)
    return x.astype(np.float32), rng.integers(3, size=(models, EXAMPLES))


@pytest.mark.parametrize("name", MODELS)
def test_step_equals_tf_privacy(name: str) -> None:
    """With noise 0, clipped sum / batch of the second of two stacked models is DPKerasSGDOptimizer's step.

    The first of two is looked at below, by its norms.
    """
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
    copy = network.to_keras(parameters, 1)
    before = [variable.numpy() for variable in copy.trainable_variables]
    optimizer = DPKerasSGDOptimizer(clip, 0.0, num_microbatches=EXAMPLES, learning_rate=1.0)
    optimizer.minimize(lambda: loss(y[1], copy(x[1])), lambda: copy.trainable_variables, tape=None)
    for ours, old, new in zip(sums, before, copy.trainable_variables, strict=True):
        np.testing.assert_allclose(ours[1].numpy() / EXAMPLES, old - new.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in MADE_OF_PARTS])
def test_norms_equal_the_jacobian(name: str) -> None:
    """Per-example norms of the first of two stacked models are those of the rows of ``tape.jacobian``."""
    model = MODELS[name]()
    network = Network.from_keras(model)
    parameters = network.initial(seed=2, models=[7, 8])
    x, y = batch(model, 2)
    ours = per_example_norms(network, parameters, x, y, loss=softmax_loss).numpy()[0]
    copy = network.to_keras(parameters, 0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")
    with tf.GradientTape(persistent=True) as tape:
        losses = loss(y[0], copy(x[0]))
    rows = [tape.jacobian(losses, v, experimental_use_pfor=False) for v in copy.trainable_variables]
    flat = np.concatenate([tf.convert_to_tensor(row).numpy().reshape(EXAMPLES, -1) for row in rows], axis=1)
    np.testing.assert_allclose(ours, np.linalg.norm(flat, axis=1), rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        (name, bad)
        for bad in (np.nan, np.inf, 3e38)
        for name in MODELS
        if name not in TAKE_TOKENS and (np.isnan(bad) or name not in MADE_OF_PARTS)
    ],
)
def test_an_example_without_a_finite_gradient_counts_as_zero(name: str, bad: float) -> None:
    """The sum is that of the other examples, and the norms tell which one was left out; in the other model none is."""
    model = MODELS[name]()
    network = Network.from_keras(model)
    parameters = network.initial(seed=1, models=range(2))
    x, y = batch(model, 2)
    others = np.ones((2, EXAMPLES), np.float32)
    x[0, 1] = bad
    sums = clipped_sum(network, parameters, x, y, loss=softmax_loss, clip=0.5, bounded=True)
    refused = ~np.isfinite(sums.norms.numpy())
    if bad == 3e38 and not refused.any():
        others[0, 1] = 1  # a normalisation made an ordinary example of it
    else:
        assert np.argwhere(refused).tolist() == [[0, 1]]
        others[0, 1] = 0
    x[0, 1] = x[0, 0] if others[0, 1] == 0 else bad
    expected = clipped_sum(network, parameters, x, y, loss=softmax_loss, clip=0.5, present=tf.constant(others))
    for ours, theirs in zip(sums.gradients, expected.gradients, strict=True):
        assert np.isfinite(ours.numpy()).all()
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_broken_example_that_models_share_is_left_out_of_each() -> None:
    """Inputs without a model axis: the sums of both models are those of the other examples."""
    model = MODELS["mlp"]()
    network = Network.from_keras(model)
    parameters = network.initial(seed=1, models=range(2))
    x, y = batch(model, 2)
    x[1], y[1] = x[0], y[0]
    expected = clipped_sum(network, parameters, x[:, 1:], y[:, 1:], loss=softmax_loss, clip=0.5).gradients
    x[:, 0] = np.nan
    found = clipped_sum(network, parameters, x[0], y, loss=softmax_loss, clip=0.5, bounded=True).gradients
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


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
