"""Keras 2 and Keras 3 files load to a model that predicts the same, as logits; code in a file is not run."""

import json
import zipfile
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpaudit.runtime.errors import InputError

pytestmark = pytest.mark.tf
KERAS_3 = metadata.version("keras").startswith("3.")


def softmax_model(keras: Any) -> Any:
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            keras.layers.Conv2D(3, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.LayerNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(4, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy")
    model.fit(np.zeros((4, 6, 6, 1)), np.zeros(4), verbose=0)
    return model


def two_branches(keras: Any) -> Any:
    inputs = keras.Input((5,))
    hidden = keras.layers.Dense(3, activation="tanh")(inputs)
    outputs = keras.layers.Dense(1, activation="sigmoid")(keras.layers.Concatenate()([hidden, inputs]))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.2, momentum=0.9), "binary_crossentropy")
    return model


def versions() -> list[Any]:
    from dpaudit.runtime.tensorflow import keras as keras_2

    if not KERAS_3:
        return [keras_2]
    return [keras_2, import_module("keras")]


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:.*HDF5.*")
def test_what_is_loaded_predicts_the_same(tmp_path: Path, suffix: str) -> None:
    """softmax of the loaded logits, sigmoid for one output, equals what was saved, to 1e-5, for both Keras versions."""
    from scipy.special import expit, softmax

    from dpaudit.training.load_model import load_model

    rng = np.random.default_rng(0)
    for keras in versions():
        model = softmax_model(keras)
        model.save(tmp_path / f"a{suffix}")
        loaded = load_model(tmp_path / f"a{suffix}")
        x = rng.random((5, 6, 6, 1), np.float32)
        np.testing.assert_allclose(softmax(loaded.predict(x), axis=1), np.asarray(model(x)), atol=1e-5)
        assert (loaded.task, loaded.outputs, loaded.compiled.optimizer) == ("multiclass", 4, "adam")
        assert loaded.compiled.learning_rate == 0.003
        model = two_branches(keras)
        model.save(tmp_path / f"b{suffix}")
        loaded = load_model(tmp_path / f"b{suffix}")
        y = rng.random((5, 5), np.float32)
        np.testing.assert_allclose(expit(loaded.predict(y)), np.asarray(model(y)), atol=1e-5)
        assert (loaded.task, loaded.compiled.optimizer, loaded.compiled.momentum) == ("binary", "sgd", 0.9)
        assert loaded.architecture((5,), 1).count_params() == loaded.parameters


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    """A Lambda layer is refused in .keras and in .h5, with the way to allow it; so is a class from outside Keras."""
    from dpaudit.runtime.tensorflow import keras
    from dpaudit.training.load_model import load_model

    model = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: 2 * x), keras.layers.Dense(2)])
    model.save(tmp_path / "a.keras")
    with pytest.warns(UserWarning, match="HDF5"):
        model.save(tmp_path / "a.h5")
    for name in ("a.keras", "a.h5"):
        with pytest.raises(InputError, match=r"Lambda layer.*--trust-code"):
            load_model(tmp_path / name)
    assert load_model(tmp_path / "a.keras", trust_code=True).outputs == 2
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    plain.save(tmp_path / "b.keras")
    with zipfile.ZipFile(tmp_path / "b.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    config["config"]["layers"][1]["config"]["kernel_initializer"] = {
        "module": "os", "class_name": "system", "config": {"command": "true"}, "registered_name": None,
    }  # fmt: skip
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(tmp_path / "c.keras", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(InputError, match="'system' from 'os'"):
        load_model(tmp_path / "c.keras")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.pb", b"", "must be a Keras model"),
        ("none.keras", None, "no such file"),
        ("broken.keras", b"no zip", "is not a Keras model"),
        ("broken.h5", b"no hdf", "is not a Keras model"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    """One line with the file and what is wrong."""
    from dpaudit.training.load_model import load_model

    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_model(tmp_path / name)
