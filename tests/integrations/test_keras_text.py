"""A Keras language model's log-probabilities are those of its own loss."""

import numpy as np
import pytest

from dpaudit.integrations.keras_text import keras_token_logprobs
from dpaudit.runtime.tensorflow import keras, tf
from tests.small_language_model import encode, sentences

pytestmark = pytest.mark.tf


def test_a_keras_model_gives_its_own_loss() -> None:
    """Sums of log-probabilities are Keras's sparse cross-entropy, for logits and for probabilities."""
    keras.utils.set_random_seed(3)
    layers = [
        keras.Input((None,), dtype="int64"),
        keras.layers.Embedding(128, 16),
        keras.layers.GRU(16, return_sequences=True),
    ]
    model = keras.Sequential([*layers, keras.layers.Dense(128)])
    texts = sentences(6, seed=1)
    table = keras_token_logprobs(model, texts, encode, begin=1)
    for text, start, length in zip(texts, table.starts, table.lengths, strict=True):
        codes = np.array([[1, *encode(text)]])
        loss = tf.keras.losses.sparse_categorical_crossentropy(codes[:, 1:], model(codes)[:, :-1], from_logits=True)
        np.testing.assert_allclose(table.logprobs[start : start + length], -np.asarray(loss)[0], atol=1e-5)
    shares = keras.Sequential([*model.layers, keras.layers.Softmax()])
    same = keras_token_logprobs(shares, texts, encode, begin=1, kind="probabilities")
    np.testing.assert_allclose(same.logprobs, table.logprobs, atol=1e-5)
