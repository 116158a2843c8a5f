"""Keras 2 and Keras 3 files and SavedModels predict the same once loaded; code in a file is not run."""

import json
import zipfile
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpaudit.runtime.errors import InputError, MissingDependency
from tests.training.keras_3_layers import WORDS, models

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
        x = rng.random((5, 6, 6, 1), np.float32)
        loaded = load_model(tmp_path / f"a{suffix}").settled(x, task="multiclass")
        assert loaded.kind == "logits"
        np.testing.assert_allclose(softmax(loaded.predict(x), axis=1), np.asarray(model(x)), atol=1e-5)
        assert (loaded.task, loaded.outputs, loaded.compiled.optimizer) == ("multiclass", 4, "adam")
        assert loaded.compiled.learning_rate == 0.003
        model = two_branches(keras)
        model.save(tmp_path / f"b{suffix}")
        y = rng.random((5, 5), np.float32)
        loaded = load_model(tmp_path / f"b{suffix}").settled(y, task="binary")
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


def predicted(path: Path, x: Any, **options: Any) -> Any:
    """The probabilities of a file on records, whatever kind of outputs was read."""
    from scipy.special import softmax

    from dpaudit.training.load_model import load_model

    loaded = load_model(path, **options).settled(x, task="multiclass")
    outputs = loaded.predict(x)
    return softmax(outputs, axis=1) if loaded.kind == "logits" else outputs


FEW = ("random flip", "bidirectional", "masked lstm", "transfer", "x / 255")


def of_keras_3(name: str, suffix: str, folder: Path) -> None:
    """What Keras 3 saved predicts the same to 1e-5."""
    K = import_module("keras")
    K.utils.set_random_seed(0)
    model = models(K)[name]()
    rng = np.random.default_rng(0)
    shape = (7, *model.input_shape[1:])
    x = (rng.integers(0, 9, shape) if name in WORDS else rng.random(shape)).astype(np.float32)
    model.save(folder / f"model{suffix}")
    np.testing.assert_allclose(predicted(folder / f"model{suffix}", x), np.asarray(model(x, training=False)), atol=1e-5)


@pytest.mark.skipif(not KERAS_3, reason="needs Keras 3")
@pytest.mark.filterwarnings("ignore:.*HDF5.*")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("name", FEW)
def test_layers_of_keras_3_predict(tmp_path: Path, name: str, suffix: str) -> None:
    """Keras 3 runs its own files: augmentation in inference mode, masks, inner models, operations."""
    of_keras_3(name, suffix, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not KERAS_3, reason="needs Keras 3")
@pytest.mark.filterwarnings("ignore:.*HDF5.*")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_every_layer_of_keras_3_predicts(tmp_path: Path, suffix: str) -> None:
    """48 kinds of layers and operations; Keras 3.15 itself cannot write RandomBrightness as HDF5."""
    for name in models(import_module("keras")):
        if (name, suffix) != ("random brightness", ".h5"):
            of_keras_3(name, suffix, tmp_path)


@pytest.mark.parametrize("installed", ["2.15.0", None])
def test_keras_3_files_name_what_they_need_where_only_keras_2_is(
    installed: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorFlow 2.15, which tensorflow-privacy pins, brings Keras 2.15: one line, before anything is loaded."""
    from dpaudit.training.load_model import load_model

    def version(name: str) -> str:
        if installed is None:
            raise metadata.PackageNotFoundError(name)
        return installed

    monkeypatch.setattr("dpaudit.training.load_model.metadata.version", version)
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"layers": []}}))
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
    wanted = rf"m.keras was written by Keras 3.15.1.*TensorFlow 2.16 or later \(installed: {installed or 'none'}\)"
    with pytest.raises(MissingDependency, match=wanted):
        load_model(tmp_path / "m.keras")


def ended(keras: Any, how: str) -> Any:
    """Probabilities of three classes that are made in different places."""
    L, inputs = keras.layers, keras.Input((4,))
    if how == "inner":
        inner = keras.Input((4,))
        return keras.Model(inputs, keras.Model(inner, L.Dense(3, "softmax")(inner))(inputs))
    if how == "reshape":
        return keras.Model(inputs, L.Reshape((3,))(L.Dense(3, "softmax")(L.Reshape((1, 4))(inputs))))
    if how == "layer":
        return keras.Sequential([inputs, L.Dense(3), L.Softmax(), L.Activation("linear")])
    halves = [L.Dense(3, "softmax")(inputs) for _ in range(2)]  # a mean of probabilities: nothing to take off
    return keras.Model(inputs, L.Average()(halves))


@pytest.mark.parametrize(
    ("how", "kind"), [("inner", "logits"), ("reshape", "logits"), ("layer", "logits"), ("mean", "probabilities")]
)
def test_probabilities_are_known_wherever_they_are_made(tmp_path: Path, how: str, kind: str) -> None:
    """Logits where a softmax can be taken off and the outputs prove it; else the outputs stay probabilities."""
    from dpaudit.training.load_model import load_model

    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    for keras in versions():
        model = ended(keras, how)
        model.compile("adam", "sparse_categorical_crossentropy")
        model.save(tmp_path / "model.keras")
        loaded = load_model(tmp_path / "model.keras").settled(x, task="multiclass")
        assert loaded.kind == kind
        np.testing.assert_allclose(predicted(tmp_path / "model.keras", x), np.asarray(model(x)), atol=1e-5)


@pytest.mark.parametrize(
    ("activation", "from_logits", "message"),
    [("softmax", True, "are probabilities, but its loss"), ("linear", False, "lie between"), ("linear", True, "")],
)
def test_outputs_and_loss_that_disagree_are_refused(
    tmp_path: Path, activation: str, from_logits: bool, message: str
) -> None:
    """Probabilities for a loss of logits, and the other way round, need a word; what the user says is taken."""
    from dpaudit.runtime.tensorflow import keras
    from dpaudit.training.load_model import load_model

    x = 5 * np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits))
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    if not message:
        assert loaded.settled(x, task="multiclass").kind == "logits"
        return
    with pytest.raises(InputError, match=f"{message}.*--outputs"):
        loaded.settled(x, task="multiclass")
    assert loaded.settled(x, task="multiclass", stated="logits").kind == "logits"


def test_a_sigmoid_of_a_regression_stays(tmp_path: Path) -> None:
    """Its outputs are compared with the labels as they are."""
    from dpaudit.runtime.tensorflow import keras
    from dpaudit.training.load_model import load_model

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "sigmoid")])
    model.compile("adam", "mse")
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    x = np.ones((3, 2), np.float32)
    assert loaded.task == "regression"
    np.testing.assert_allclose(loaded.settled(x, task="regression").predict(x), np.asarray(model(x)), atol=1e-6)


def two_inputs(keras: Any) -> Any:
    left, right = keras.Input((2,), name="left"), keras.Input((2, 2), name="right")
    joined = keras.layers.Concatenate()([left, keras.layers.Flatten()(right)])
    return keras.Model([left, right], keras.layers.Dense(3, "softmax")(joined))


def test_several_inputs(tmp_path: Path) -> None:
    """An array each, in Python and in an NPZ file; one that is missing, and one array for all, are one clear line."""
    from dpaudit.audits.attack import attack_model

    rng = np.random.default_rng(0)
    for keras in versions():
        model = two_inputs(keras)
        model.save(tmp_path / "two.keras")
        sides = []
        for name in ("in", "out"):
            parts = {"left": rng.normal(size=(60, 2)), "right": rng.normal(size=(60, 2, 2))}
            labels = np.tile([0, 1, 2], 20)
            np.savez(tmp_path / f"{name}.npz", **parts, labels=labels)
            sides.append((parts, labels))
        results = [
            attack_model(tmp_path / "two.keras", *given, attacks=["loss"])
            for given in (sides, [tmp_path / "in.npz", tmp_path / "out.npz"])
        ]
        both = {name: np.concatenate([side[0][name] for side in sides]) for name in ("left", "right")}
        own = np.asarray(model([both["left"], both["right"]])).argmax(axis=1) == np.tile([0, 1, 2], 40)
        for result in results:
            assert result.models[0].utility is not None
            assert result.models[0].utility.train == pytest.approx(own[:60].mean())
    with pytest.raises(InputError, match=r"no array 'right': the model's inputs are left, right"):
        attack_model(tmp_path / "two.keras", ({"left": parts["left"]}, labels), sides[1])
    with pytest.raises(InputError, match=r"has 2 inputs \(left, right\); give members"):
        attack_model(tmp_path / "two.keras", (np.zeros((60, 6)), labels), sides[1])


def test_several_outputs_are_one_line(tmp_path: Path) -> None:
    """An audit needs one output."""
    from dpaudit.training.load_model import load_model

    for keras in versions():
        inputs = keras.Input((2,))
        keras.Model(inputs, [keras.layers.Dense(2)(inputs), keras.layers.Dense(3)(inputs)]).save(tmp_path / "m.keras")
        with pytest.raises(InputError, match="has 2 outputs, and an audit needs one"):
            load_model(tmp_path / "m.keras")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:.*HDF5.*")
def test_mixed_precision(tmp_path: Path, suffix: str) -> None:
    """Half precision is Keras too; its probabilities agree to 2e-3."""
    x = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    for keras in versions():
        policy = (
            keras.mixed_precision.Policy("mixed_float16")
            if hasattr(keras.mixed_precision, "Policy")
            else "mixed_float16"
        )
        layers = [keras.layers.Dense(3, activation, dtype=policy) for activation in ("relu", "softmax")]
        model = keras.Sequential([keras.Input((4,)), *layers])
        model.save(tmp_path / f"m{suffix}")
        np.testing.assert_allclose(predicted(tmp_path / f"m{suffix}", x), np.asarray(model(x), np.float64), atol=2e-3)


def test_classes_of_the_user_are_found_where_they_are_registered(tmp_path: Path, monkeypatch: Any) -> None:
    """A model of one's own predicts once its module is named; without it the message says how."""
    if not KERAS_3:
        pytest.skip("TensorFlow 2.15, a lane of make test-matrix, comes with Keras 2 alone")
    (tmp_path / "own_layers_of_test.py").write_text(
        "import keras\n\n\n@keras.saving.register_keras_serializable('own')\nclass Twice(keras.layers.Layer):\n"
        "    def call(self, x):\n        return 2 * x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    keras = import_module("keras")
    own = import_module("own_layers_of_test")
    model = keras.Sequential([keras.Input((4,)), own.Twice(), keras.layers.Dense(3, "softmax")])
    model.save(tmp_path / "own.keras")
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    wanted = np.asarray(model(x))
    keras.saving.get_custom_objects().clear()
    monkeypatch.delitem(__import__("sys").modules, "own_layers_of_test")
    with pytest.raises(InputError, match=r"'Twice' from 'own_layers_of_test', which is not part of Keras.*--import"):
        predicted(tmp_path / "own.keras", x)
    np.testing.assert_allclose(predicted(tmp_path / "own.keras", x, imports=["own_layers_of_test"]), wanted, atol=1e-5)
    with pytest.raises(InputError, match="--import none_of_that_name"):
        predicted(tmp_path / "own.keras", x, imports=["none_of_that_name"])


def test_saved_models(tmp_path: Path) -> None:
    """A SavedModel runs when it is trusted, predicts the same, and cannot tell how it was trained."""
    from dpaudit.audits.attack import attack_model
    from dpaudit.audits.references import References
    from dpaudit.runtime.tensorflow import keras
    from dpaudit.training.saved_model import load_saved_model

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
    model.export(str(tmp_path / "saved"))
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    labels = np.arange(50) % 3
    loaded = load_saved_model(tmp_path / "saved", trust_code=True).settled(x, task="multiclass")
    assert (loaded.kind, loaded.task) == ("probabilities", "multiclass")
    np.testing.assert_allclose(loaded.predict(x), np.asarray(model(x)), atol=1e-6)
    sides = ((x[:25], labels[:25]), (x[25:], labels[25:]))
    with pytest.raises(InputError, match=r"a program that may read and write files.*--trust-code"):
        attack_model(tmp_path / "saved", *sides)
    result = attack_model(tmp_path / "saved", *sides, attacks=["loss"], trust_code=True)
    assert result.models[0].trainer == "given model, SavedModel"
    with pytest.raises(InputError, match="does not say how it was trained"):
        attack_model(tmp_path / "saved", *sides, references=References({"epochs": 1}, models=4), trust_code=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"without a saved_model\.pb"):
        attack_model(tmp_path / "empty", *sides)
