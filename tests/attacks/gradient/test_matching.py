from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from dpaudit.attacks.gradient.batched_lbfgs import minimise
from dpaudit.attacks.gradient.defences import Defence
from dpaudit.attacks.gradient.metrics import assignment, psnr
from dpaudit.attacks.gradient.view import BatchGradient, ClientUpdate, NoisyReleases, Reconstruction
from dpaudit.data.bundled import digits
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import InputError
from tests.attacks.gradient.mlp import Images

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def data() -> Images:
    found = digits()
    return found.features.astype(np.float64), found.classes


def lenet(activation: str, *, seed: int = 0, uniform: bool = False) -> Any:
    """The DLG network for 8x8 digits: three convolutions of 12 channels and a dense layer, 4,666 weights or so."""
    from dpaudit.runtime.tensorflow import keras

    layers = keras.layers

    def start(number: int) -> Any:
        return (
            keras.initializers.RandomUniform(-0.5, 0.5, seed=seed + number)
            if uniform
            else keras.initializers.GlorotUniform(seed=seed + number)
        )

    convolutions = [
        layers.Conv2D(12, 5, s, "same", activation=activation, kernel_initializer=start(i))
        for i, s in enumerate((2, 2, 1))
    ]
    head = layers.Dense(10, kernel_initializer=start(9))
    return keras.Sequential([keras.Input((8, 8, 1)), *convolutions, layers.Flatten(), head])


def matched(found: Reconstruction, x: FloatArray) -> FloatArray:
    return psnr(found.records[assignment(found.records, x)], x)


def test_victims_gradients_equal_keras(data: Images) -> None:
    """The stacked gradients of two victims equal Keras and GradientTape, in float64, for every weight."""
    from dpaudit.attacks.gradient.differentiable import in_double
    from dpaudit.attacks.gradient.victims import Victims
    from dpaudit.runtime.tensorflow import tf

    x, y = data
    model = lenet("tanh")
    victims, double = Victims.of(model), in_double(model)
    targets = np.eye(10)[y[:6]].reshape(2, 3, 10)
    ours = victims.gradients(victims.at(victims.weights), x[:6].reshape(2, 3, 8, 8, 1), targets)
    for v in range(2):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets[v], double(x[3 * v : 3 * v + 3])))
        for mine, keras_gradient in zip(ours, tape.gradient(loss, double.trainable_variables), strict=True):
            assert np.abs(mine[v].numpy() - keras_gradient.numpy()).max() < 1e-12


def test_idlg_is_exact_on_digits(data: Images) -> None:
    """tanh, Glorot: one image to 110 dB and better, a batch of four to 100 dB and better, two victims stacked."""
    from dpaudit.attacks.gradient.gradient_matching import GradientMatching
    from dpaudit.attacks.gradient.observed_gradient import batch_gradient
    from dpaudit.attacks.gradient.victims import Victims

    x, y = data
    model = lenet("tanh")
    victims, attack = Victims.of(model), GradientMatching(model, restarts=2)
    single = [batch_gradient(victims, x[i : i + 1], y[i : i + 1]) for i in (0, 7)]
    for i, found in zip((0, 7), attack.together(single), strict=True):
        assert matched(found, x[i : i + 1])[0] >= 110
        assert found.labels == [y[i]]
    batch = attack(batch_gradient(victims, x[:4], y[:4], knows=("labels",)))
    assert matched(batch, x[:4]).min() >= 100


def test_views_of_other_weights_are_not_attacked_with_the_first(data: Images) -> None:
    """Each view says which weights it is of: one that differs in a number, in a layer or in its mask is refused."""
    from dpaudit.attacks.gradient.objective import stack_views
    from dpaudit.attacks.gradient.observed_gradient import batch_gradient
    from dpaudit.attacks.gradient.victims import Victims

    x, y = data
    victims = Victims.of(lenet("tanh"))
    one, two = (batch_gradient(victims, x[i : i + 1], y[i : i + 1]) for i in (0, 7))
    observed, _, _ = stack_views(victims, [one, two])
    assert observed.arrays[0].shape[0] == 2
    moved = replace(two, weights=(two.weights[0] + 1e-9, *two.weights[1:]))
    shorter = replace(two, weights=two.weights[:-2], gradient=two.gradient[:-2])
    masked = replace(two, sent=tuple(np.ones(array.shape, bool) for array in two.gradient))
    for other, said in (
        (moved, "same weights; attack each"),
        (shorter, "same weights"),
        (masked, "coordinates were sent"),
    ):
        for views in ([one, other], [other, one]):
            with pytest.raises(InputError, match=said):
                stack_views(victims, views)


def test_dlg_finds_labels_with_the_image(data: Images) -> None:
    """Joint optimisation returns the optimised label, not the start's: right for whatever seed."""
    from dpaudit.attacks.gradient.gradient_matching import GradientMatching
    from dpaudit.attacks.gradient.observed_gradient import batch_gradient
    from dpaudit.attacks.gradient.victims import Victims

    x, y = data
    model = lenet("sigmoid", uniform=True)
    view = batch_gradient(Victims.of(model), x[3:4], y[3:4])
    found = GradientMatching(model, labels="joint", restarts=3, seed=1)(view)
    assert found.labels == [y[3]]
    assert matched(found, x[3:4])[0] >= 60


def test_one_step_of_fedavg_is_the_gradient_attack(data: Images) -> None:
    """One full-batch step with rate η is -η times the gradient to 1e-12, and three steps are unrolled to 60 dB."""
    from dpaudit.attacks.gradient.gradient_matching import GradientMatching
    from dpaudit.attacks.gradient.observed_gradient import batch_gradient, fedavg_update
    from dpaudit.attacks.gradient.victims import Victims

    x, y = data
    model = lenet("tanh")
    victims = Victims.of(model)
    gradient = batch_gradient(victims, x[:2], y[:2])
    one = fedavg_update(victims, x[:2], y[:2], learning_rate=0.1, epochs=1, local_batch=2).as_gradient()
    assert max(np.abs(a - b).max() for a, b in zip(one.gradient, gradient.gradient, strict=True)) < 1e-12
    three = fedavg_update(victims, x[:1], y[:1], learning_rate=0.1, epochs=3, local_batch=1)
    assert matched(GradientMatching(model, restarts=1)(three), x[:1])[0] >= 60


def test_an_update_in_unknown_order_is_inverted(data: Images) -> None:
    """Two epochs over two records, one per step, shuffled: matched across epochs and averaged, both above 20 dB."""
    from dpaudit.attacks.gradient.gradient_matching import GradientMatching
    from dpaudit.attacks.gradient.observed_gradient import fedavg_update
    from dpaudit.attacks.gradient.victims import Victims

    x, y = data
    model = lenet("tanh")
    view = fedavg_update(
        Victims.of(model), x[:2], y[:2], learning_rate=0.05, epochs=2, local_batch=1, knows=("labels",), seed=3
    )
    assert matched(GradientMatching(model, restarts=2, iterations=300)(view), x[:2]).min() > 20


def test_pruned_gradients_are_matched_where_they_were_sent(data: Images) -> None:
    """Half of the coordinates pruned: matching only what was sent keeps 60 dB; ignoring that zeros mean "not sent"
    loses it."""
    from dpaudit.attacks.gradient.gradient_matching import GradientMatching
    from dpaudit.attacks.gradient.observed_gradient import batch_gradient
    from dpaudit.attacks.gradient.victims import Victims

    x, y = data
    model = lenet("tanh")
    view = batch_gradient(Victims.of(model), x[:1], y[:1], defence=Defence(keep=0.5), knows=("labels",))
    naive = BatchGradient(view.weights, view.gradient, 1, view.labels, view.box)
    attack = GradientMatching(model, restarts=1, iterations=300)
    assert matched(attack(view), x[:1])[0] >= 60 > matched(attack(naive), x[:1])[0]


def test_clipping_alone_hides_nothing(data: Images) -> None:
    """Clipping each record's gradient to a tenth of its norm or less only scales it: an attacker who knows the clip
    norm still gets a batch of two to 60 dB and an update to 60 dB."""
    from dpaudit.attacks.gradient.gradient_matching import GradientMatching
    from dpaudit.attacks.gradient.observed_gradient import batch_gradient, fedavg_update
    from dpaudit.attacks.gradient.victims import Victims

    x, y = data
    model = lenet("tanh")
    victims, attack = Victims.of(model), GradientMatching(model, restarts=2, iterations=400)
    batch = batch_gradient(victims, x[:2], y[:2], defence=Defence(clip=0.1), knows=("labels",))
    assert matched(attack(batch), x[:2]).min() >= 60
    update = fedavg_update(
        victims, x[:1], y[:1], learning_rate=0.1, epochs=2, local_batch=1, defence=Defence(clip=0.01)
    )
    assert matched(attack(update), x[:1])[0] >= 60


def test_cosine_attack_works_on_relu(data: Images) -> None:
    """Inverting gradients on ReLU: above 17 dB, where the mean image has about 12; the same starts, the same result."""
    from dpaudit.attacks.gradient.inverting_gradients import InvertingGradients
    from dpaudit.attacks.gradient.observed_gradient import batch_gradient
    from dpaudit.attacks.gradient.victims import Victims

    x, y = data
    model = lenet("relu")
    view = batch_gradient(Victims.of(model), x[:1], y[:1])
    attack = InvertingGradients(model, iterations=400, variation=1e-3)
    first, second = attack(view), attack(view)
    assert matched(first, x[:1])[0] > 17
    assert (first.records == second.records).all()
    short = InvertingGradients(model, iterations=50, signed=True)(view)
    assert first.objective is not None
    assert short.objective is not None
    assert short.objective > first.objective


def test_noise_of_a_real_epsilon_leaves_nothing(data: Images) -> None:
    """Clip 1 and noise multiplier 1 (ε about 4.4 at 1e-5 for one release): the image is not better than the mean."""
    from dpaudit.attacks.gradient.inverting_gradients import InvertingGradients
    from dpaudit.attacks.gradient.observed_gradient import batch_gradient
    from dpaudit.attacks.gradient.victims import Victims

    x, y = data
    model = lenet("tanh")
    view = batch_gradient(Victims.of(model), x[:1], y[:1], defence=Defence(clip=1.0, noise_multiplier=1.0), seed=1)
    found = InvertingGradients(model, iterations=200, variation=1e-3)(view)
    assert matched(found, x[:1])[0] < psnr(x[500:].mean(0)[None], x[:1])[0] + 2


@pytest.mark.parametrize("seed", range(3))
def test_lockstep_equals_separate_runs(seed: int) -> None:
    """Minimising eight problems together gives each the point it gets alone, bit for bit."""
    rng = np.random.default_rng(seed)
    centres, starts = rng.random((2, 8, 5))

    def evaluate(x: FloatArray, which: IntArray) -> tuple[FloatArray, FloatArray]:
        d = x - centres[which]
        return (d**4).sum(1) + (d**2).sum(1), 4 * d**3 + 2 * d

    def evaluate_one(i: int, x: FloatArray, _: IntArray) -> tuple[FloatArray, FloatArray]:
        return evaluate(x, np.array([i]))

    box = (np.full(5, 0.2), np.full(5, 0.8))
    together = minimise(evaluate, starts, bounds=box, iterations=50, tolerance=0.0)
    for i in range(8):
        alone = minimise(partial(evaluate_one, i), starts[i : i + 1], bounds=box, iterations=50, tolerance=0.0)
        assert (together[i].x == alone[0].x).all()
    assert np.stack([m.x for m in together]) == pytest.approx(np.clip(centres, 0.2, 0.8), abs=1e-4)


def test_lockstep_passes_an_error_on() -> None:
    """What the function raises ends all problems and reaches the caller."""

    def evaluate(x: FloatArray, which: IntArray) -> tuple[FloatArray, FloatArray]:
        raise InputError("broken")

    with pytest.raises(InputError, match="broken"):
        minimise(evaluate, np.ones((3, 2)), bounds=(np.zeros(2), np.ones(2)), iterations=5, tolerance=0.0)


def test_a_layer_that_does_not_differentiate_twice_is_named() -> None:
    """Local response normalisation has no second derivative in TensorFlow; the layer is named."""
    from dpaudit.attacks.gradient.victims import Victims
    from dpaudit.runtime.tensorflow import keras, tf

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3),
            layers.Lambda(tf.nn.local_response_normalization, name="lrn"),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )
    with pytest.raises(InputError, match=r"layer 'lrn' \(Lambda\) does not differentiate twice"):
        Victims.of(model)


def test_bad_input_gets_one_clear_line(data: Images) -> None:
    """Another model's gradient, an unknown batch size, no box, a final model, images outside the box."""
    from dpaudit.attacks.gradient.gradient_matching import GradientMatching
    from dpaudit.attacks.gradient.observed_gradient import batch_gradient
    from dpaudit.attacks.gradient.victims import Victims

    x, y = data
    model = lenet("tanh")
    victims, attack = Victims.of(model), GradientMatching(model)
    view = batch_gradient(victims, x[:1], y[:1])
    small = (np.ones((2, 2)),)
    for bad, message in (
        (BatchGradient(small, small, 1, box=(0.0, 1.0)), "the view's weights have shapes"),
        (BatchGradient(view.weights, view.gradient, box=(0.0, 1.0)), "does not know it"),
        (BatchGradient(view.weights, view.gradient, 1), "needs box"),
        (NoisyReleases(np.ones((1, 2)), np.ones((1, 2)), 1.0, 1.0), "got a NoisyReleases"),
        (ClientUpdate(view.weights, view.gradient, 0.1, None, 1, 1, box=(0.0, 1.0)), "needs epochs"),
    ):
        with pytest.raises(InputError, match=message):
            attack(bad)
    with pytest.raises(InputError, match=r"must lie in the box \[0.0, 1.0\]"):
        batch_gradient(victims, 255 * x[:1], y[:1])
    with pytest.raises(InputError, match="records have shape"):
        batch_gradient(victims, x[:1, :4], y[:1])
