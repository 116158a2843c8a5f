"""The decoder: on the stacked engine it is the Keras model, whatever trains it, and a text is one example."""

from typing import Any

import numpy as np
import pytest

from dpaudit.accounting.claim import FixedSize
from dpaudit.data.dataset import Dataset
from dpaudit.engine.gradients import clipped_sum, per_example_norms
from dpaudit.engine.losses import per_example_loss
from dpaudit.engine.network import Network
from dpaudit.engine.optimizers import GradientDescent
from dpaudit.engine.schedules import Constant
from dpaudit.engine.training import Member, TrainingRecipe, train
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import keras, tf
from dpaudit.training.decoder import Decoder
from dpaudit.training.dp_sgd import DpSgd
from dpaudit.training.keras_model import keras_targets, network_inputs
from dpaudit.training.sgd import Sgd

pytestmark = pytest.mark.tf
VOCABULARY, CONTEXT, RECORDS = 11, 7, 6
SMALL = Decoder(width=8, layers=2, heads=2)
ONE = Decoder(width=8, layers=1, heads=2)  # whole trainings, with half of the layers to trace


def texts(records: int = RECORDS, seed: int = 5) -> Dataset:
    """Texts of several lengths in which tokens repeat."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 4, (records, 1 + CONTEXT)).astype(np.float32)
    counted = (np.arange(CONTEXT) < rng.integers(1, CONTEXT + 1, records)[:, None]).astype(np.float32)
    return Dataset("texts", tokens, counted, "next-token", class_count=VOCABULARY)


def network(architecture: Decoder = SMALL) -> Network:
    return Network.from_keras(architecture((CONTEXT,), VOCABULARY))


def keras_loss(model: Any, tokens: Any, counted: Any) -> Any:
    """Mean cross-entropy of the tokens that count, of one text, by the definition."""
    log_p = tf.nn.log_softmax(model(tokens[None, :-1]), axis=-1)[0]
    picked = tf.gather(log_p, tokens[1:].astype(int), batch_dims=1)
    return -tf.reduce_sum(picked * counted) / counted.sum()


def loss(outputs: Any, targets: Any) -> Any:
    return per_example_loss("next-token", outputs, targets)


def test_weights_after_steps_are_those_of_keras() -> None:
    """Two full-batch steps of gradient descent end where Keras ends from the same weights."""
    data, decoder = texts(), network(ONE)
    start = decoder.initial(seed=2, models=[0])
    recipe = TrainingRecipe("next-token", 2, RECORDS, GradientDescent(), Constant(0.5), compiled=False)
    members = [Member(0, np.arange(RECORDS), FixedSize(RECORDS, RECORDS))]
    end = train(decoder, start, recipe, members, features=network_inputs(data), targets=keras_targets(data), seed=2)
    copy = decoder.to_keras(start, 0)
    optimizer = keras.optimizers.SGD(0.5)
    for _ in range(2):
        with tf.GradientTape() as tape:
            each = [keras_loss(copy, *record) for record in zip(data.features, data.labels, strict=True)]
            mean = tf.add_n(each) / RECORDS
        gradients = [tf.convert_to_tensor(each) for each in tape.gradient(mean, copy.trainable_variables)]
        optimizer.apply_gradients(zip(gradients, copy.trainable_variables, strict=True))
    for ours, theirs in zip(end, copy.get_weights(), strict=True):
        np.testing.assert_allclose(ours[0], theirs, atol=2e-5)
    assert max(float(np.abs(one[0] - first[0]).max()) for one, first in zip(end, start, strict=True)) > 0.01


def test_norms_are_those_of_each_text_alone() -> None:
    """Per-example norms, and the clipped sum, equal those of one gradient tape per text; a text is one example."""
    data, decoder = texts(), network()
    parameters = decoder.initial(seed=3, models=range(2))
    x, y = network_inputs(data), np.stack([keras_targets(data)] * 2)
    norms = per_example_norms(decoder, parameters, x, y, loss=loss).numpy()
    clip = float(np.median(norms))
    sums = clipped_sum(decoder, parameters, x, y, loss=loss, clip=clip).gradients
    for model in range(2):
        copy, expected = decoder.to_keras(parameters, model), []
        for record in zip(data.features, data.labels, strict=True):
            with tf.GradientTape() as tape:
                value = keras_loss(copy, *record)
            found = tape.gradient(value, copy.trainable_variables)
            expected.append([tf.convert_to_tensor(each).numpy() for each in found])
        brute = np.array([np.sqrt(sum((part**2).sum() for part in each)) for each in expected])
        np.testing.assert_allclose(norms[model], brute, rtol=1e-4)
        scale = np.minimum(1, clip / brute)
        for place, total in enumerate(sums):
            by_hand = sum(factor * each[place] for factor, each in zip(scale, expected, strict=True))
            np.testing.assert_allclose(total[model], by_hand, rtol=1e-4, atol=2e-5)


def test_one_model_is_the_model_in_a_stack() -> None:
    """The same weights to rounding whether a private model is trained alone or with three others."""
    data = texts(24)
    trainer = DpSgd(ONE, noise_multiplier=0.5, epochs=2, batch_size=6, learning_rate=0.1, compiled=False)
    included = np.random.default_rng(1).random((4, 24)) < 0.9
    included[:, :12] = True
    together = trainer.train_many(data, included, seeds=[1, 2, 3, 4])
    for place, seed in ((0, 1), (3, 4)):
        alone = trainer(data, included[place], seed=seed)
        for one, many in zip(alone.weights.values(), together[place].weights.values(), strict=True):
            np.testing.assert_allclose(one, many, atol=2e-5)


def test_a_model_gives_the_loss_of_each_token() -> None:
    """Keras and the engine say the same of each token, and by the definition; padding behind it changes nothing."""
    data = texts()
    plain = Sgd(ONE, epochs=1, batch_size=3)(data, np.ones(RECORDS, bool), seed=1)
    found = plain.predict(data.features)
    assert found.shape == (RECORDS, CONTEXT)
    engine = DpSgd(ONE, l2_norm_clip=None)
    decoder = engine.network(data)
    same = decoder.predict_token_losses(decoder.stack([list(plain.weights.values())]), data.features)[0]
    np.testing.assert_allclose(found, same, atol=1e-5)
    logits = decoder.forward(decoder.stack([list(plain.weights.values())]), network_inputs(data)).numpy()[0]
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    by_hand = -np.take_along_axis(log_p, data.features[:, 1:, None].astype(int), axis=-1)[..., 0]
    np.testing.assert_allclose(found, by_hand, atol=1e-5)
    longer = data.features.copy()
    longer[:, -1] = 9
    np.testing.assert_allclose(plain.predict(longer)[:, :-1], found[:, :-1], atol=1e-6)


def test_a_decoder_that_cannot_be_is_refused() -> None:
    """Heads that do not divide the width, and records that are no texts, in one line."""
    with pytest.raises(InputError, match="heads must divide width, got width 10 and 4 heads"):
        Decoder(width=10, heads=4)
    with pytest.raises(InputError, match=r"a decoder needs tokens of shape \(positions,\), got \(8, 8, 1\)"):
        Decoder()((8, 8, 1), 10)
