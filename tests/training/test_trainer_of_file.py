"""References are trained as the file says: its optimizer, schedule, loss and kept layers, or the recipe states them."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpaudit.data.dataset import Dataset
from dpaudit.runtime.errors import InputError
from tests.training.test_load_model import versions

pytestmark = [pytest.mark.tf, pytest.mark.filterwarnings("ignore:.*HDF5.*")]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 4)).astype(np.float32)
DATA = Dataset("data", X, np.arange(64) % 3)
EVERY = np.ones(64, bool)
RECIPE = {"epochs": 2, "batch_size": 16}


def network(keras: Any, *first: Any) -> Any:
    return keras.Sequential([keras.Input((4,)), *first, keras.layers.Dense(3, "softmax", name="last")])


def trainer_of(path: Path, recipe: dict[str, Any] = RECIPE, task: str = "multiclass") -> Any:
    from dpaudit.training.load_model import load_model
    from dpaudit.training.trainer_of_file import trainer_from

    return trainer_from(recipe, load_model(path).settled(X, task=task), task)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_the_optimizer_of_the_file_trains_the_references(tmp_path: Path, suffix: str) -> None:
    """By hand: the same seed, the same compile and fit of Keras give the same outputs, to 1e-5, for a schedule of
    RMSprop and a smoothed loss; with another optimizer they differ."""
    from scipy.special import softmax

    for keras in versions():
        schedule = keras.optimizers.schedules.CosineDecay(0.02, 8)

        def compiled(optimizer: Any, keras: Any = keras) -> Any:
            model = network(keras)
            model.compile(optimizer, keras.losses.CategoricalCrossentropy(label_smoothing=0.3), jit_compile=False)
            return model

        model = compiled(keras.optimizers.RMSprop(schedule))
        one_hot = np.eye(3)[DATA.classes]
        model.fit(X, one_hot, epochs=1, verbose=0)
        model.save(tmp_path / f"m{suffix}")
        trainer = trainer_of(tmp_path / f"m{suffix}")
        assert (trainer.loaded.compiled.optimizer, trainer.loaded.compiled.schedule) == ("rmsprop", "CosineDecay")
        assert trainer.loaded.steps == 2
        found = softmax(trainer(DATA, EVERY, seed=5).predict(X), axis=1)

        def by_hand(optimizer: Any, keras: Any = keras, compiled: Any = compiled, one_hot: Any = one_hot) -> Any:
            keras.utils.set_random_seed(5)
            model = compiled(optimizer)
            model.fit(X, one_hot, epochs=2, batch_size=16, verbose=0)
            return np.asarray(model(X))

        np.testing.assert_allclose(found, by_hand(keras.optimizers.RMSprop(schedule)), atol=1e-5)
        assert np.abs(found - by_hand(keras.optimizers.SGD(0.02))).max() > 1e-3


def test_the_engine_trains_where_it_knows_the_optimizer_exactly(tmp_path: Path) -> None:
    """Adam and SGD with their usual settings; one setting more and Keras trains."""
    from dpaudit.training.as_compiled import AsCompiled
    from dpaudit.training.sgd import Sgd

    loss = "sparse_categorical_crossentropy"
    for keras in versions():
        o = keras.optimizers
        for optimizer, expected in (
            (o.Adam(0.02), Sgd), (o.SGD(0.02, momentum=0.9), Sgd), (o.Adam(0.02, beta_1=0.5), AsCompiled),
            (o.SGD(0.02, nesterov=True, momentum=0.9), AsCompiled), (o.Adam(0.02, clipnorm=1.0), AsCompiled),
            (o.AdamW(0.02), AsCompiled), (o.Nadam(0.02), AsCompiled),
        ):  # fmt: skip
            model = network(keras)
            model.compile(optimizer, loss)
            model.save(tmp_path / "m.keras")
            trainer = trainer_of(tmp_path / "m.keras")
            assert isinstance(trainer, expected), optimizer
            if isinstance(trainer, Sgd):
                assert (trainer.optimizer, trainer.learning_rate) == (type(optimizer).__name__.lower(), 0.02)


def test_what_training_does_not_make_is_copied(tmp_path: Path) -> None:
    """Adapted and frozen layers are those of the file in every reference, also in an inner model; the last layer is
    drawn anew."""
    from dpaudit.training.as_compiled import afresh, kept_state

    for keras in versions():
        scale = keras.layers.Normalization(name="scale")
        scale.adapt(10 + 3 * X)
        inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5, "relu", name="frozen")], name="inner")
        inner.trainable = False
        model = network(keras, scale, inner)
        model.compile("adam", "sparse_categorical_crossentropy")
        model.save(tmp_path / "m.keras")
        trainer = trainer_of(tmp_path / "m.keras")
        assert kept_state(trainer.loaded) == ["scale", "frozen"]
        keras.utils.set_random_seed(7)
        again = afresh(trainer.loaded)
        np.testing.assert_allclose(again.layers[0](X), model.layers[0](X), atol=1e-6)
        np.testing.assert_array_equal(again.layers[1].get_weights()[0], inner.get_weights()[0])
        assert np.abs(again.layers[2].get_weights()[0] - model.layers[2].get_weights()[0]).max() > 0.01
        trained = trainer(DATA, EVERY, seed=1).predict(X)
        assert trained.shape == (64, 3)


def test_a_class_weight_of_the_recipe_is_used(tmp_path: Path) -> None:
    """A class of weight zero is never learned: after long training its records are given to others."""
    keras = versions()[0]
    data = Dataset("easy", np.eye(3, dtype=np.float32)[np.arange(60) % 3], np.arange(60) % 3)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, "softmax")])
    model.compile(keras.optimizers.Adam(0.3), "sparse_categorical_crossentropy")
    model.save(tmp_path / "m.keras")
    from dpaudit.training.load_model import load_model
    from dpaudit.training.trainer_of_file import trainer_from

    loaded = load_model(tmp_path / "m.keras").settled(data.features, task="multiclass")
    for weights, right in (([1.0, 1.0, 1.0], 1.0), ([1.0, 1.0, 0.0], 2 / 3)):
        trainer = trainer_from({"epochs": 40, "class_weight": weights}, loaded, "multiclass")
        outputs = trainer(data, np.ones(60, bool), seed=1).predict(data.features)
        assert (outputs.argmax(axis=1) == data.classes).mean() == pytest.approx(right)


@pytest.mark.parametrize(
    ("optimizer", "loss", "recipe", "message"),
    [
        ("adam", "sparse_categorical_crossentropy", {}, "does not say how long it was trained; 'epochs'"),
        (None, None, RECIPE, "without optimizer and loss; 'optimizer', 'learning_rate', 'loss' must state them"),
        ("rmsprop", "sparse_categorical_crossentropy", {"trainer": "dp-sgd", "epochs": 1}, "'optimizer' must state"),
        (
            "schedule",
            "sparse_categorical_crossentropy",
            {"trainer": "dp-sgd", "epochs": 1},
            "CosineDecay schedule; 'lea",
        ),
        (
            "rmsprop",
            "sparse_categorical_crossentropy",
            {**RECIPE, "optimizer": "adam"},
            "'learning_rate' must be stated",
        ),
        ("rmsprop", "sparse_categorical_crossentropy", {**RECIPE, "until_accuracy": 0.9}, "'until_accuracy' needs SGD"),
        ("rmsprop", "sparse_categorical_crossentropy", {**RECIPE, "epoch": 1}, "'epoch' is not known.*'epochs'"),
        (
            "rmsprop",
            "sparse_categorical_crossentropy",
            {**RECIPE, "optimizer": "no", "learning_rate": 1.0},
            "not know the",
        ),
    ],
)
def test_what_cannot_be_taken_over_is_refused_with_its_key(
    tmp_path: Path, optimizer: str | None, loss: str | None, recipe: dict[str, Any], message: str
) -> None:
    """One line that names the key of the recipe."""
    keras = versions()[0]
    model = network(keras)
    if optimizer is not None:
        schedule = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.02, 8))
        model.compile(schedule if optimizer == "schedule" else optimizer, loss)
    model.save(tmp_path / "m.keras")
    with pytest.raises(InputError, match=message):
        trainer_of(tmp_path / "m.keras", recipe)


def test_an_optimizer_given_by_name_has_the_rate_of_keras(tmp_path: Path) -> None:
    """``compile("adam")`` and ``compile("sgd")`` store no rate; Keras's own objects say which it is."""
    for keras in versions():
        for name, cls in (("adam", keras.optimizers.Adam), ("sgd", keras.optimizers.SGD)):
            model = network(keras)
            model.compile(name, "sparse_categorical_crossentropy")
            model.save(tmp_path / "m.keras")
            assert trainer_of(tmp_path / "m.keras").learning_rate == pytest.approx(float(cls().learning_rate))


def test_a_file_of_tensorflow_privacy_asks_for_a_dp_trainer(tmp_path: Path) -> None:
    """Its optimizer is no plain one; the DP trainer asks which it stands for, and then the rate is the file's."""
    import dataclasses

    from dpaudit.training.load_model import load_model
    from dpaudit.training.trainer_of_file import trainer_from

    model = network(versions()[0])
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.save(tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras").settled(X, task="multiclass")
    private = dataclasses.replace(loaded.compiled, optimizer="dpoptimizerclass", plain=False)
    loaded = dataclasses.replace(loaded, description=dataclasses.replace(loaded.description, compiled=private))
    with pytest.raises(InputError, match="'trainer' must be 'dp-sgd' or 'tf-privacy'"):
        trainer_from({"epochs": 1}, loaded, "multiclass")
    with pytest.raises(InputError, match="'optimizer' must state"):
        trainer_from({"trainer": "dp-sgd", "epochs": 1}, loaded, "multiclass")
    trainer = trainer_from({"trainer": "dp-sgd", "epochs": 1, "optimizer": "adam"}, loaded, "multiclass")
    assert (trainer.optimizer, trainer.learning_rate) == ("adam", 0.01)  # type: ignore[attr-defined]


def test_kept_layers_are_refused_where_they_would_be_drawn_anew(tmp_path: Path) -> None:
    """DP-SGD on the engine starts every layer afresh."""
    keras = versions()[0]
    model = network(keras, keras.layers.Dense(4, trainable=False, name="frozen"))
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.save(tmp_path / "m.keras")
    with pytest.raises(InputError, match=r"layer 'frozen'.*'trainer' must be 'sgd'"):
        trainer_of(tmp_path / "m.keras", {"trainer": "dp-sgd", "epochs": 1})


def test_a_model_that_keras_2_cannot_hold_is_trained_by_keras_3(tmp_path: Path) -> None:
    """RMSNormalization exists in Keras 3 alone; Adam and the usual loss notwithstanding, Keras 3 trains it."""
    if len(versions()) < 2:
        pytest.skip("TensorFlow 2.15, a lane of make test-matrix, comes with Keras 2 alone")
    from dpaudit.training.as_compiled import AsCompiled

    keras = import_module("keras")
    model = network(keras, keras.layers.RMSNormalization())
    model.compile("adam", "sparse_categorical_crossentropy")
    model.save(tmp_path / "m.keras")
    trainer = trainer_of(tmp_path / "m.keras")
    assert isinstance(trainer, AsCompiled)
    first, again, other = (trainer(DATA, EVERY, seed=seed).predict(X) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
