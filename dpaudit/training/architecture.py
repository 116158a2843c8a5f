"""Architectures a plan can name: ``(input_shape, outputs)`` -> an uncompiled Keras model that returns logits.

They are values, so that a plan can be read, checked and priced without TensorFlow; Keras is imported when one is built.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.training.keras_config import refuse_code


class Architecture(Protocol):
    """Builds a fresh, randomly initialised model."""

    def __call__(self, input_shape: tuple[int, ...], outputs: int) -> Any:
        """A Keras model from inputs of ``input_shape`` (without the batch axis) to ``outputs`` logits."""
        ...


@dataclass(frozen=True)
class Mlp:
    """Dense layers of the given widths; none of them is logistic regression."""

    hidden: tuple[int, ...] = (64,)
    activation: str = "relu"

    def __post_init__(self) -> None:
        for width in self.hidden:
            check.integer("hidden", width, at_least=1)

    def __call__(self, input_shape: tuple[int, ...], outputs: int) -> Any:
        """The model."""
        from dpaudit.runtime.tensorflow import keras

        layers = [keras.Input(input_shape)]
        if len(input_shape) > 1:
            layers.append(keras.layers.Flatten())
        return keras.Sequential([*layers, *_dense(self.hidden, self.activation, outputs)])


@dataclass(frozen=True)
class Cnn:
    """Convolutions, each followed by max pooling unless ``pool`` is 1, then dense layers.

    Args:
        filters: filters of each convolution.
        kernels: kernel width of each.
        strides: stride of each.
        pool: width and stride of the pooling after each.
        hidden: widths of the dense layers.
        activation: of every hidden layer.
    """

    filters: tuple[int, ...] = (16, 32)
    kernels: tuple[int, ...] = (3, 3)
    strides: tuple[int, ...] = (1, 1)
    pool: int = 2
    hidden: tuple[int, ...] = (32,)
    activation: str = "relu"

    def __post_init__(self) -> None:
        for name in ("filters", "kernels", "strides", "hidden"):
            for size in getattr(self, name):
                check.integer(name, size, at_least=1)
        check.integer("pool", self.pool, at_least=1)
        if not len(self.filters) == len(self.kernels) == len(self.strides) > 0:
            raise InputError(
                f"filters, kernels and strides must have one value per convolution, got {len(self.filters)}, "
                f"{len(self.kernels)} and {len(self.strides)}."
            )

    def __call__(self, input_shape: tuple[int, ...], outputs: int) -> Any:
        """The model."""
        from dpaudit.runtime.tensorflow import keras

        if len(input_shape) != 3:
            raise InputError(f"a cnn needs images of shape (height, width, channels), got {input_shape}.")
        layers = [keras.Input(input_shape)]
        sizes = zip(self.filters, self.kernels, self.strides, strict=True)
        for number, (count, kernel, stride) in enumerate(sizes):
            name, given = f"conv_{number}", {"padding": "same", "activation": self.activation}
            layers.append(keras.layers.Conv2D(count, kernel, strides=stride, name=name, **given))
            if self.pool > 1:
                layers.append(keras.layers.MaxPooling2D(self.pool, padding="same"))
        layers.append(keras.layers.Flatten())
        return keras.Sequential([*layers, *_dense(self.hidden, self.activation, outputs)])


def _dense(hidden: tuple[int, ...], activation: str, outputs: int) -> list[Any]:
    """Dense layers called ``dense_0``, ``dense_1`` ... and ``head``: always the same names in one process."""
    from dpaudit.runtime.tensorflow import keras

    dense = keras.layers.Dense
    inner = [dense(width, activation=activation, name=f"dense_{number}") for number, width in enumerate(hidden)]
    return [*inner, dense(outputs, name="head")]


@dataclass(frozen=True)
class KerasJson:
    """The architecture in a file written with ``model.to_json()``; built-in layers only, no code is loaded."""

    path: str

    @property
    def fingerprint(self) -> str:
        """Hash of what the file holds."""
        return hashlib.sha256(Path(self.path).read_bytes()).hexdigest()

    def __call__(self, input_shape: tuple[int, ...], outputs: int) -> Any:
        """The model, refused when it does not fit the data."""
        from dpaudit.runtime.tensorflow import keras

        try:
            text = Path(self.path).read_text(encoding="utf-8")
            config = json.loads(text)
            kind = config["class_name"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{self.path} does not hold an architecture written by model.to_json(): {error}"
            ) from error
        refuse_code(config, self.path, allow=None)
        if kind not in ("Sequential", "Functional", "Model"):
            raise InputError(f"{self.path} holds a {kind!r}; only Sequential and Functional models can be built.")
        try:
            model = keras.models.model_from_json(text)
        except (TypeError, ValueError, KeyError) as error:
            raise InputError(f"{self.path} does not hold an architecture Keras can build: {error}") from error
        if model.input_shape[1:] != tuple(input_shape) or model.output_shape[1:] != (outputs,):
            raise InputError(
                f"the architecture in {self.path} maps {model.input_shape[1:]} to {model.output_shape[1:]}, "
                f"the data needs {tuple(input_shape)} to ({outputs},)."
            )
        return model
