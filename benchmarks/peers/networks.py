"""The two networks every side trains."""

from typing import Any

from dpaudit.runtime.tensorflow import keras


def keras_network(kind: str) -> Any:
    """MLP 784-128-10, or the CNN of TensorFlow Privacy's tutorial."""
    layers = keras.layers
    if kind == "mlp":
        middle = [layers.Flatten(), layers.Dense(128, activation="relu")]
    else:
        middle = [
            layers.Conv2D(16, 8, strides=2, padding="same", activation="relu"),
            layers.MaxPooling2D(2, 1),
            layers.Conv2D(32, 4, strides=2, padding="valid", activation="relu"),
            layers.MaxPooling2D(2, 1),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
        ]
    return keras.Sequential([keras.Input((28, 28, 1)), *middle, layers.Dense(10)])
