"""Trainers through Keras `fit`: repeatable, and private in the way their accountant is told."""

import json
from pathlib import Path

import numpy as np
import pytest

from dpaudit.accounting.claim import GaussianSteps, Shuffled
from dpaudit.data.bundled import digits
from dpaudit.data.dataset import Dataset
from dpaudit.data.inclusion import fair_coins
from dpaudit.runtime.errors import AuditFailed, InputError
from dpaudit.training.architecture import Architecture, Cnn, KerasJson, Mlp
from dpaudit.training.sgd import Sgd, classes
from dpaudit.training.tf_privacy import TFPrivacy
from dpaudit.training.trainer import Trainer

pytestmark = pytest.mark.tf
DIGITS = digits()
MEMBER = fair_coins(len(DIGITS), seed=3)


@pytest.mark.parametrize(
    ("trainer", "least"),
    [
        (Sgd(Mlp((32,)), epochs=10, learning_rate=0.5), 0.9),
        (Sgd(Mlp((32,)), epochs=10, learning_rate=0.01, optimizer="adam"), 0.9),
        (Sgd(Cnn((8,), (3,), (1,), hidden=()), epochs=5, learning_rate=0.3), 0.85),
        (TFPrivacy(Mlp((32,)), 1.0, 0.5, epochs=5, learning_rate=0.5), 0.6),
        pytest.param(
            TFPrivacy(Mlp((32,)), 1.0, 0.5, epochs=5, learning_rate=0.01, optimizer="adam"),
            0.6,
            marks=pytest.mark.slow,  # the same optimizer around another of Keras
            id="adam-0.6",
        ),
        pytest.param(
            TFPrivacy(Mlp((32,)), 1.0, 0.5, epochs=5, learning_rate=0.1, optimizer="adagrad"),
            0.5,
            marks=pytest.mark.slow,  # the same optimizer around another of Keras
            id="adagrad-0.5",
        ),
        (TFPrivacy(Mlp((32,)), 1.0, 0.5, epochs=5, learning_rate=0.5, optimizer="vectorized-sgd"), 0.6),
        (TFPrivacy(Mlp((32,)), 1.0, 0.5, epochs=5, learning_rate=0.5, optimizer="dp-sequential"), 0.6),
    ],
    ids=lambda value: getattr(value, "optimizer", None),
)
def test_every_trainer_learns_and_repeats(trainer: Trainer, least: float) -> None:
    """Ten classes, so guessing gives 0.1; the same seed gives the same weights, another seed others."""
    models = [trainer(DIGITS, MEMBER, seed=seed) for seed in (1, 1, 2)]
    outside = DIGITS.take(~MEMBER)
    assert (classes(models[0].predict(outside.features)) == outside.classes).mean() > least
    first, second, other = (model.weights for model in models)
    for name, again, different in zip(first, second, other, strict=True):
        np.testing.assert_array_equal(first[name], second[again])
        assert not np.array_equal(first[name], other[different]), name


def test_a_stored_model_predicts_the_same() -> None:
    """Weights by position survive the names Keras counts up."""
    trainer = Sgd(Cnn((4,), (3,), (1,)), epochs=1)
    model = trainer(DIGITS, MEMBER, seed=1)
    again = trainer.restore(model.weights, DIGITS)
    np.testing.assert_array_equal(model.predict(DIGITS.features), again.predict(DIGITS.features))
    with pytest.raises(InputError, match="do not fit the architecture"):
        Sgd(Mlp((3,))).restore(model.weights, DIGITS)


def test_noise_of_tensorflow_privacy_has_the_claimed_size() -> None:
    """With zero gradients one step moves every weight by learning rate times noise: sd = σ·C·lr / batch.

    4,810 weights, so the sample standard deviation has a relative error of 1 %; 5 % fails by chance below 1e-5.
    """
    flat = Dataset("constant", np.zeros((100, 64), np.float32), np.zeros(100, np.int64))
    trainer = TFPrivacy(Mlp((64,), activation="linear"), 3.0, 2.0, epochs=1, batch_size=50, learning_rate=1.0)
    start = Sgd(Mlp((64,), activation="linear"), epochs=1, batch_size=50, learning_rate=1e-9)
    one = np.ones(100, bool)
    moved = trainer(flat, one, seed=1).weights
    initial = start(flat, one, seed=1).weights
    difference = np.concatenate(
        [(b - a).ravel() for a, b in zip(initial.values(), moved.values(), strict=True) if a.shape == (64, 64)]
    )
    assert difference.std() == pytest.approx(np.sqrt(2) * 2.0 * 3.0 / 50, rel=0.05)


def test_mechanism_counts_steps_and_halves_the_noise_of_microbatches() -> None:
    """One record can turn the clipped mean of a microbatch around: sensitivity 2C, half the noise."""
    alone = TFPrivacy(Mlp(), 1.0, 2.0, epochs=3, batch_size=50)
    assert alone.mechanism(1020) == GaussianSteps(2.0, 60, Shuffled(20))
    grouped = TFPrivacy(Mlp(), 1.0, 2.0, epochs=3, batch_size=50, num_microbatches=10)
    assert grouped.mechanism(1020) == GaussianSteps(1.0, 60, Shuffled(20))
    assert Sgd(Mlp()).mechanism(1020) is None
    with pytest.raises(InputError, match="larger than the 40 training records"):
        alone.mechanism(40)


def test_architectures_refuse_what_does_not_fit(tmp_path: Path) -> None:
    """Shapes, Lambda layers and files that are none."""
    with pytest.raises(InputError, match="a cnn needs images"):
        Cnn()((30,), 2)
    with pytest.raises(InputError, match="one value per convolution"):
        Cnn(filters=(1, 2), kernels=(3,), strides=(1,))
    from dpaudit.runtime.tensorflow import keras

    good = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    (tmp_path / "good.json").write_text(good.to_json())
    built: Architecture = KerasJson(str(tmp_path / "good.json"))
    assert built((8, 8, 1), 10).output_shape == (None, 10)
    with pytest.raises(InputError, match=r"the data needs \(8, 8, 1\) to \(3,\)"):
        built((8, 8, 1), 3)
    sly = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x)])
    (tmp_path / "sly.json").write_text(sly.to_json())
    with pytest.raises(InputError, match="Lambda layer"):
        KerasJson(str(tmp_path / "sly.json"))((3,), 3)
    hidden = keras.Sequential([keras.Input((3,)), keras.Sequential([keras.layers.Lambda(lambda x: x)])])
    (tmp_path / "hidden.json").write_text(hidden.to_json())
    with pytest.raises(InputError, match="Lambda layer"):
        KerasJson(str(tmp_path / "hidden.json"))((3,), 3)
    foreign = json.loads(good.to_json())
    foreign["config"]["layers"][-1].update(module="subprocess", class_name="Popen", config={"args": ["touch", "ran"]})
    (tmp_path / "foreign.json").write_text(json.dumps(foreign))
    with pytest.raises(InputError, match="'Popen' from 'subprocess', which is not part of Keras"):
        KerasJson(str(tmp_path / "foreign.json"))((8, 8, 1), 10)
    (tmp_path / "text.json").write_text("no")
    with pytest.raises(InputError, match=r"model\.to_json"):
        KerasJson(str(tmp_path / "text.json"))((3,), 3)


def test_divergence_is_a_failure() -> None:
    """A loss that is not finite stops the training."""
    with pytest.raises(AuditFailed, match="learning_rate"):
        Sgd(Mlp((32,)), epochs=3, learning_rate=1e30)(DIGITS, MEMBER, seed=1)
