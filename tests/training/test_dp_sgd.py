"""The dp-sgd trainer: one model is the model of a stack, and the accountant is told what ran."""

import math
from dataclasses import replace
from typing import Any

import dp_accounting
import numpy as np
import pytest
from dp_accounting.pld import PLDAccountant

from dpaudit.accounting.claim import FixedSize, GaussianSteps, Poisson, Shuffled
from dpaudit.accounting.mechanism import epsilon
from dpaudit.data.bundled import breast_cancer, digits
from dpaudit.data.dataset import Dataset
from dpaudit.data.inclusion import complementary_pairs
from dpaudit.engine.batches import TOLERANCE
from dpaudit.engine.schedules import Cosine
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.plugins import build
from dpaudit.training.architecture import Mlp
from dpaudit.training.dp_sgd import DpSgd


def test_mechanism_states_sampler_steps_and_slack() -> None:
    """What the accountant is told follows from the recipe, without TensorFlow."""
    poisson = DpSgd(Mlp(), 1.0, 1.2, epochs=4, batch_size=50).mechanism(500)
    assert poisson is not None
    assert (poisson.noise_multiplier, poisson.steps, poisson.sampling) == (1.2, 40, Poisson(0.1))
    assert 0 < poisson.slack <= TOLERANCE
    fixed = DpSgd(Mlp(), 1.0, 1.2, epochs=4, batch_size=50, sampling="fixed-size").mechanism(500)
    assert fixed == GaussianSteps(1.2, 40, FixedSize(50, 500))
    shuffled = DpSgd(Mlp(), 1.0, 1.2, epochs=4, batch_size=50, sampling="shuffled").mechanism(510)
    assert shuffled == GaussianSteps(1.2, 44, Shuffled(11))
    dropped = DpSgd(Mlp(), 1.0, 1.2, epochs=4, batch_size=50, sampling="shuffled", drop_remainder=True)
    assert dropped.mechanism(510) == GaussianSteps(1.2, 40, Shuffled(10))
    assert dropped.steps(510) == 40
    assert DpSgd(Mlp(), None).mechanism(500) is None


@pytest.mark.long
def test_little_noise_has_a_finite_epsilon() -> None:
    """At σ = 0.5 the figure is that of dp_accounting, which knows of no cut batch; a slack of 1e-9 allows no figure."""
    trainer = DpSgd(Mlp(), 1.0, 0.5, epochs=20, batch_size=50)
    mechanism, coarse = trainer.mechanism(1000), replace(trainer, tolerance=1e-9).mechanism(1000)
    assert mechanism is not None
    assert coarse is not None
    accountant = PLDAccountant(value_discretization_interval=1e-3)
    step = dp_accounting.PoissonSampledDpEvent(0.05, dp_accounting.GaussianDpEvent(0.5))
    accountant.compose(dp_accounting.SelfComposedDpEvent(step, 400))
    assert epsilon(mechanism, delta=1e-5).epsilon == pytest.approx(accountant.get_epsilon(1e-5), rel=5e-3)
    assert math.isinf(epsilon(coarse, delta=1e-5).epsilon)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"l2_norm_clip": None, "noise_multiplier": 1.0}, "needs an l2_norm_clip, got None"),
        ({"l2_norm_clip": -1.0}, "l2_norm_clip must be above 0"),
        ({"optimizer": "adam", "momentum": 0.9}, "momentum belongs to the sgd optimizer"),
        ({"optimizer": "sdg"}, "Did you mean 'sgd'"),
        ({"sampling": "poison"}, "Did you mean 'poisson'"),
        ({"drop_remainder": True}, "drop_remainder belongs to shuffled batches, got it with sampling 'poisson'"),
        ({"largest_batch": 60}, "largest_batch belongs to truncated-poisson batches, which need it; got 60"),
        ({"sampling": "truncated-poisson"}, "got None with sampling 'truncated-poisson'"),
        ({"tolerance": 0.0}, "tolerance must be in"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    """Bad settings are refused with the value and what would be right."""
    with pytest.raises(InputError, match=message):
        DpSgd(Mlp(), **settings)


def test_from_a_plan() -> None:
    """A plan's table becomes a trainer, with a schedule where a learning rate may stand."""
    made = build(
        "trainers",
        "dp-sgd",
        {"l2_norm_clip": 1.0, "noise_multiplier": 0.5, "learning_rate": {"rate": 0.3, "warmup": 0.1}},
        where="model",
        architecture=Mlp((8,)),
    )
    assert made.learning_rate == Cosine(0.3, warmup=0.1)


@pytest.mark.tf
@pytest.mark.parametrize("clip", [1.0, None])
def test_a_model_alone_is_the_model_of_a_stack(clip: float | None) -> None:
    """``train_many`` and single calls with the same seeds give the same models, also when sizes differ or the start
    that the seed draws is given.
    """
    data = digits().take(np.arange(301))
    masks = complementary_pairs(4, 301, seed=1)
    trainer = DpSgd(Mlp((8,)), clip, 0.5 if clip else 0.0, epochs=2, batch_size=30, compiled=False)
    many = trainer.train_many(data, masks, seeds=[5, 6, 7, 8])
    for i in (0, 3):
        one = trainer(data, masks[i], seed=5 + i)
        np.testing.assert_allclose(one.predict(data.features), many[i].predict(data.features), atol=1e-4)
        assert one.mechanism == many[i].mechanism == trainer.mechanism(int(masks[i].sum()))
    given = trainer.train_many(data, masks[:1], seeds=[5], start=[trainer.initial_weights(data, seed=5)])[0]
    np.testing.assert_allclose(given.predict(data.features), many[0].predict(data.features), atol=1e-4)
    restored = trainer.restore(many[1].weights, data)
    np.testing.assert_allclose(restored.predict(data.features), many[1].predict(data.features), atol=1e-4)


@pytest.mark.tf
@pytest.mark.parametrize("task", ["binary", "multilabel", "regression"])
def test_every_task_learns(task: Any) -> None:
    """Each task's loss falls well below that of a constant prediction."""
    cancer = breast_cancer()
    labels: Any = cancer.classes
    if task == "multilabel":
        labels = np.stack([cancer.classes, 1 - cancer.classes], axis=1)
    elif task == "regression":
        labels = cancer.features[:, :2] * 4
    data = Dataset("cancer", cancer.features, labels, task)
    trainer = DpSgd(Mlp((16,)), None, epochs=20, batch_size=32, learning_rate=0.3, sampling="shuffled", compiled=False)
    outputs = trainer(data, np.ones(len(data), bool), seed=1).predict(data.features)
    truth = np.asarray(data.labels, float).reshape(len(data), -1)
    if task == "regression":
        assert ((outputs - truth) ** 2).mean() < 0.3 * truth.var(axis=0).mean()
    else:
        assert ((outputs > 0) == truth).mean() > 0.85


@pytest.mark.tf
def test_dp_costs_accuracy_and_still_learns() -> None:
    """At ε near 3 digits reach more than 60 percent, less than without noise."""
    data = digits()
    inside = np.arange(len(data)) < 1200
    accuracy = {}
    for noise in (0.0, 1.0):
        trainer = DpSgd(Mlp((32,)), 1.0, noise, epochs=15, batch_size=100, learning_rate=1.0, compiled=False)
        outputs = trainer(data, inside, seed=3).predict(data.features[~inside])
        accuracy[noise] = (outputs.argmax(axis=1) == data.labels[~inside]).mean()
    assert 0.6 < accuracy[1.0] < accuracy[0.0]


@pytest.mark.tf
def test_softmax_outputs_are_refused() -> None:
    """A model that ends in a softmax does not return logits."""
    from dpaudit.engine.network import Network
    from dpaudit.engine.training import Member, TrainingRecipe, train
    from dpaudit.runtime.tensorflow import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    network = Network.from_keras(model)
    with pytest.raises(InputError, match="must return logits: it ends in softmax"):
        train(
            network, network.initial(seed=1, models=[0]), TrainingRecipe("multiclass", 1, 2),
            [Member(0, np.arange(4), Poisson(0.5))],
            features=np.zeros((4, 4), np.float32), targets=np.zeros(4, np.int64), seed=1,
        )  # fmt: skip
