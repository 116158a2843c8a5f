"""Small Keras models of every supported layer, and three whole networks."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dpaudit.runtime.tensorflow import keras
from dpaudit.training.position_embedding import PositionEmbedding

layers = keras.layers


def _images(*middle: Any, shape: tuple[int, ...] = (6, 6, 2)) -> Any:
    return keras.Sequential([keras.Input(shape), *middle, layers.Flatten(), layers.Dense(3)])


def _vectors(*middle: Any) -> Any:
    return keras.Sequential([keras.Input((5,)), *middle, layers.Dense(3)])


def _steps(*middle: Any) -> Any:
    return keras.Sequential([keras.Input((4, 3)), *middle, layers.Flatten(), layers.Dense(3)])


def _frozen_batch_norm() -> Any:
    norm = layers.BatchNormalization(trainable=False)
    model = _images(layers.Conv2D(4, 3), norm)
    norm.set_weights([np.linspace(0.5, 2, 4)] * 4)
    return model


def _tokens() -> Any:
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Embedding(4, 5),
            layers.Dense(4, activation="tanh"),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )


def _attention(*, causal: bool = True, key: bool = False) -> Any:
    inputs = keras.Input((5, 6))
    seen = layers.Dense(6)(inputs)
    given = {"key": layers.Dense(4)(inputs)} if key else {}
    attention = layers.MultiHeadAttention(2, 3, value_dim=4)(seen, inputs, use_causal_mask=causal, **given)
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(layers.Add()([seen, attention]))))


def _positions() -> Any:
    inputs = keras.Input((6,))
    tokens = layers.Embedding(4, 5)(inputs)
    both = layers.Dense(4, activation="gelu")(layers.Add()([tokens, PositionEmbedding()(tokens)]))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(both)))


def _residual() -> Any:
    inputs = keras.Input((6, 6, 2))
    first = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    second = layers.GroupNormalization(2)(layers.Conv2D(4, 3, padding="same")(first))
    added = layers.Activation("relu")(layers.Add()([first, second]))
    both = layers.Concatenate()([layers.GlobalAveragePooling2D()(added), layers.GlobalMaxPooling2D()(inputs)])
    return keras.Model(inputs, layers.Dense(3)(both))


def _mlp() -> Any:
    return keras.Sequential([keras.Input((6, 6, 2)), layers.Flatten(), layers.Dense(16, "relu"), layers.Dense(3)])


def _cnn() -> Any:
    return keras.Sequential(
        [
            keras.Input((12, 12, 1)),
            layers.Conv2D(4, 5, strides=2, padding="same", activation="relu"),
            layers.MaxPooling2D(2, 1),
            layers.Conv2D(6, 3, strides=2, padding="valid", activation="relu"),
            layers.MaxPooling2D(2, 1),
            layers.Flatten(),
            layers.Dense(8, activation="relu"),
            layers.Dense(3),
        ]
    )


LAYERS: dict[str, Callable[[], Any]] = {
    "dense": lambda: _vectors(layers.Dense(4, activation="tanh")),
    "dense-without-bias": lambda: _vectors(layers.Dense(4, use_bias=False)),
    "dense-on-positions": lambda: keras.Sequential(
        [keras.Input((3, 5)), layers.Dense(4, activation="tanh"), layers.Flatten(), layers.Dense(3)]
    ),
    "conv": lambda: _images(layers.Conv2D(4, 3, activation="relu")),
    "conv-same-strided": lambda: _images(layers.Conv2D(4, (3, 2), strides=(2, 1), padding="same", use_bias=False)),
    "conv-dilated": lambda: _images(layers.Conv2D(2, 2, dilation_rate=2)),
    "conv-many-positions": lambda: _images(layers.Conv2D(2, 3, padding="same"), shape=(14, 14, 1)),
    "depthwise": lambda: _images(layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu")),
    "depthwise-strided": lambda: _images(layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False)),
    "conv-of-steps": lambda: _steps(
        layers.Conv1D(4, 2, padding="causal", dilation_rate=2, activation="relu"),
        layers.Conv1D(2, 3, strides=2, padding="same", use_bias=False),
    ),
    "separable": lambda: _images(
        layers.SeparableConv2D(3, 3, depth_multiplier=2, activation="relu"),
        layers.SeparableConv2D(2, 2, strides=2, padding="same", use_bias=False),
    ),
    "separable-of-steps": lambda: _steps(
        layers.SeparableConv1D(4, 3, padding="causal"), layers.DepthwiseConv1D(2, activation="tanh")
    ),
    "lstm": lambda: _steps(layers.LSTM(3, return_sequences=True, use_bias=False, activation="relu"), layers.LSTM(2)),
    "gru": lambda: _steps(
        layers.GRU(3, return_sequences=True, use_bias=False, recurrent_activation="hard_sigmoid"), layers.GRU(2)
    ),
    "batch-norm-frozen": _frozen_batch_norm,
    "layer-norm": lambda: _images(layers.Conv2D(4, 3), layers.LayerNormalization()),
    "layer-norm-all-axes": lambda: _images(layers.Conv2D(2, 3), layers.LayerNormalization(axis=[1, 2, 3])),
    "layer-norm-first": lambda: _vectors(layers.LayerNormalization(center=False)),
    "group-norm": lambda: _images(layers.Conv2D(4, 3), layers.GroupNormalization(2)),
    "group-norm-per-channel": lambda: _images(layers.Conv2D(2, 3), layers.GroupNormalization(-1, scale=False)),
    "embedding": _tokens,
    "positions": _positions,
    "attention": _attention,
    "attention-over-all": lambda: _attention(causal=False),
    "attention-with-keys": lambda: _attention(key=True),
    "einsum-dense": lambda: keras.Sequential(
        [
            keras.Input((4, 5)),
            layers.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de", activation="relu"),
            layers.EinsumDense("abcd,cde->abe", (None, 2)),
            layers.Flatten(),
            layers.Dense(3),
        ]
    ),
    "einsum-dense-many-positions": lambda: keras.Sequential(
        [keras.Input((30, 2)), layers.EinsumDense("...x,xy->...y", 3, bias_axes="y"), layers.Flatten(), layers.Dense(3)]
    ),
    "rescaling": lambda: _vectors(layers.Rescaling(0.5, 1.0), layers.Dense(4)),
    "zero-padding": lambda: _images(layers.ZeroPadding2D(1), layers.Conv2D(2, 3)),
    "reshape": lambda: _images(layers.Reshape((6, 12)), layers.Dense(2)),
    "pooling": lambda: _images(layers.Conv2D(3, 3), layers.MaxPooling2D(2), layers.AveragePooling2D(2)),
    "global-pooling": lambda: keras.Sequential(
        [keras.Input((6, 6, 2)), layers.Conv2D(3, 3), layers.GlobalAveragePooling2D(), layers.Dense(3)]
    ),
    "nested": lambda: _vectors(keras.Sequential([keras.Input((5,)), layers.Dense(4), layers.ReLU()])),
}
# Their step is compared with TensorFlow Privacy, which their norms and one broken example add little to.
MADE_OF_PARTS = ("conv-of-steps", "separable", "separable-of-steps", "lstm", "gru", "batch-norm-frozen")
WHOLE: dict[str, Callable[[], Any]] = {"mlp": _mlp, "cnn": _cnn, "residual": _residual}
