"""The product of a step with a record's gradient, against the gradient itself."""

import numpy as np
import pytest

pytestmark = pytest.mark.tf


def network_of():
    from dpaudit.engine.network import Network
    from dpaudit.runtime.tensorflow import keras

    layers = [
        keras.Input((6, 6, 1)), keras.layers.Conv2D(2, 3, activation="tanh"), keras.layers.Flatten(),
        keras.layers.Dense(3),
    ]  # fmt: skip
    return Network.from_keras(keras.Sequential(layers))


@pytest.mark.parametrize("clip", [None, 0.5])
def test_products_are_those_of_keras_gradients(clip):
    """Each record's gradient by a tape of its own on the copy as a Keras model; float32."""
    from dpaudit.engine.dot_products import dot_products
    from dpaudit.runtime.tensorflow import keras, tf

    network = network_of()
    before, after = (network.initial(seed=seed, models=range(2)) for seed in (1, 2))
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4, 6, 6, 1)).astype(np.float32), np.array([0, 2, 1, 1])
    found = dot_products(network, "multiclass", clip)(before, after, x, y).numpy()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for copy in range(2):
        model = network.to_keras(before, copy)
        moved = np.concatenate([(b[copy] - a[copy]).numpy().ravel() for b, a in zip(before, after, strict=True)])
        for record in range(4):
            with tf.GradientTape() as tape:
                value = loss(y[record : record + 1], model(x[record : record + 1]))
            gradient = np.concatenate([g.numpy().ravel() for g in tape.gradient(value, model.trainable_variables)])
            scale = 1.0 if clip is None else min(1.0, clip / np.linalg.norm(gradient))
            assert found[copy, record] == pytest.approx(scale * gradient @ moved, rel=1e-4, abs=1e-5)


def test_every_step_of_every_model_is_watched():
    """The steps seen are those of the training: each starts where the last one ended, the last ends at the model."""
    from dpaudit.data.bundled import digits
    from dpaudit.training.architecture import Mlp
    from dpaudit.training.dp_sgd import DpSgd

    data = digits().take(np.arange(60))
    trainer = DpSgd(Mlp(()), noise_multiplier=1.0, epochs=2, batch_size=20, compiled=False)
    start = [np.full((64, 10), 0.5, np.float32), np.zeros(10, np.float32)]
    seen = {}

    def watch(models, step, before, after):
        for position, model in enumerate(models):
            seen[model, step] = [(b[position].numpy(), a[position].numpy()) for b, a in zip(before, after, strict=True)]

    included = np.ones((3, 60), bool)
    trained = trainer.train_many(data, included, seeds=[5, 6, 7], start=[start] * 3, watch=watch)
    assert set(seen) == {(model, step) for model in (5, 6, 7) for step in range(6)}
    np.testing.assert_array_equal(seen[5, 0][0][0], start[0])
    np.testing.assert_array_equal(seen[6, 0][0][1], seen[6, 1][0][0])
    alone = trainer.train_many(data, included[:1], seeds=[7], start=[start])[0]
    for (_, after), together, single in zip(
        seen[7, 5], trained[2].weights.values(), alone.weights.values(), strict=True
    ):
        np.testing.assert_array_equal(after, together)
        np.testing.assert_allclose(together, single, atol=1e-6)
