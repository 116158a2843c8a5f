"""Whole trainings: the same in any stack, noise as accounted, and as good as ``fit``."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import stats

from dpaudit.accounting.claim import FixedSize, Poisson, Sampling, Shuffled
from dpaudit.data.bundled import digits
from dpaudit.engine.network import Network, Parameters
from dpaudit.engine.optimizers import Adam, GradientDescent
from dpaudit.engine.randomness import Stream, normal, normals
from dpaudit.engine.schedules import Constant
from dpaudit.engine.training import Member, TrainingRecipe, _block, train
from dpaudit.runtime.errors import AuditFailed, InputError
from dpaudit.runtime.tensorflow import keras, tf

pytestmark = pytest.mark.tf
layers = keras.layers
RECORDS = 60


def small() -> Any:
    return keras.Sequential([keras.Input((4,)), layers.Dense(6, "tanh"), layers.Dropout(0.2), layers.Dense(3)])


@cache
def network_of_all() -> Network:
    """One network: its programs are traced and compiled once for all tests that ask for the same step."""
    return Network.from_keras(small())


def cloud() -> tuple[Any, Any]:
    rng = np.random.default_rng(2)
    labels = rng.integers(3, size=RECORDS)
    return (rng.normal(size=(RECORDS, 4)) + labels[:, None]).astype(np.float32), labels


def trained(models: Sequence[int], recipe: TrainingRecipe, network: Network | None = None) -> Parameters:
    network = network or network_of_all()
    features, labels = cloud()
    members = [Member(i, np.arange(i, RECORDS - 3 + i), Poisson(0.2)) for i in models]
    start = network.initial(seed=4, models=models)
    return train(network, start, recipe, members, features=features, targets=labels, seed=4)


@pytest.mark.parametrize(("batch_size", "optimizer", "decay"), [(12, GradientDescent(0.9), 0.0), (4000, Adam(), 0.01)])
def test_model_is_bit_for_bit_the_same_in_any_stack(batch_size: int, optimizer: Any, decay: float) -> None:
    """Model 2 trained alone, among five, and in another order has the same weights.

    At batches of 12 copies share a program, at (nominal) batches of 4000 every copy has its own.
    """
    recipe = TrainingRecipe("multiclass", 7, batch_size, optimizer, Constant(0.05), 1.0, 0.5, decay)
    alone, stack, other = trained([2], recipe), trained([0, 1, 2, 3, 4], recipe), trained([3, 2], recipe)
    for one, many, pair in zip(alone, stack, other, strict=True):
        np.testing.assert_array_equal(one[0], many[2])
        np.testing.assert_array_equal(one[0], pair[1])
        assert np.abs(many[0] - many[1]).max() > 1e-5


def test_model_is_the_same_in_any_stack_without_compilation() -> None:
    """The same to float rounding, without XLA: there a stack of another size is another program."""
    recipe = TrainingRecipe("multiclass", 7, 12, GradientDescent(0.9), Constant(0.1), 1.0, 0.5, compiled=False)
    for one, pair in zip(trained([2], recipe), trained([3, 2], recipe), strict=True):
        np.testing.assert_allclose(one[0], pair[1], atol=1e-6)
        assert np.abs(pair[0] - pair[1]).max() > 1e-3


def test_trainings_of_any_length_are_one_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 3, 5 and 12 steps in blocks of 8, watched or not, with much or little noise: traced once.

    The fifth step is the same bits in all that have one. Noise is added as stated: after one step of plain gradient
    descent from one start, models with noise multipliers 0.5 and 2 stand in a line with the one without (``clipped``).
    """
    made: list[Any] = []

    def block(*given: Any) -> Any:
        made.append(_block(*given))
        return made[-1]

    monkeypatch.setattr("dpaudit.engine.training._block", block)
    monkeypatch.setattr("dpaudit.engine.training.LONGEST_BLOCK", 8)
    network = Network.from_keras(small())
    features, labels = cloud()
    members = [Member(2, np.arange(RECORDS), Poisson(0.2))]
    start = network.initial(seed=4, models=[2])
    fifth: list[Parameters] = []

    def watch(models: Sequence[int], step: int, before: Parameters, after: Parameters) -> None:
        if step == 4:
            fifth.append(after)

    def run(steps: int, watch: Any = None, noise: float = 0.5, optimizer: Any = Adam()) -> Parameters:  # noqa: B008
        recipe = TrainingRecipe("multiclass", steps, 12, optimizer, Constant(0.05), 1.0, noise, compiled=False)
        return train(network, start, recipe, members, features=features, targets=labels, seed=4, watch=watch)

    run(3)
    five = run(5)
    run(12, watch)
    assert {id(program) for program in made[0::2]} == {id(made[0])}  # every other one leaves examples out
    run(3, noise=2.0)
    assert {id(program) for program in made[0::2]} == {id(made[0])}
    assert made[0].experimental_get_tracing_count() == 1
    for one, other in zip(five, fifth[0], strict=True):
        np.testing.assert_array_equal(one, other)
    clipped, little, much = (run(1, noise=noise, optimizer=GradientDescent()) for noise in (0.0, 0.5, 2.0))
    for without, some, more in zip(clipped, little, much, strict=True):
        np.testing.assert_allclose(np.subtract(more, without), 4 * np.subtract(some, without), atol=1e-6)
        assert np.abs(np.subtract(some, without)).max() > 1e-3


def test_ways_to_sample_may_differ_in_a_stack() -> None:
    """A shuffled, a fixed-size and a Poisson member of one stack each train as they do alone."""
    network = Network.from_keras(small())
    features, labels = cloud()
    events: list[Sampling] = [Shuffled(5), FixedSize(12, RECORDS), Poisson(0.2)]
    members = [Member(i, np.arange(RECORDS), event) for i, event in enumerate(events)]
    recipe = TrainingRecipe("multiclass", 9, 12, GradientDescent(), Constant(0.1), 1.0, 0.5, compiled=False)

    def run(some: list[int]) -> Parameters:
        start = network.initial(seed=1, models=some)
        own = [members[i] for i in some]
        return train(network, start, recipe, own, features=features, targets=labels, seed=1)

    together = run([0, 1, 2])
    for i in range(3):
        for one, many in zip(run([i]), together, strict=True):
            np.testing.assert_allclose(one[0], many[i], atol=1e-6)


def test_progress_adds_up_and_errors_in_a_thread_surface() -> None:
    """Progress counts each copy's steps once, over groups of programs; what it raises ends the training."""
    recipe = TrainingRecipe("multiclass", 3, 40_000, GradientDescent(), Constant(0.1), compiled=False)
    network = Network.from_keras(small())
    features, labels = cloud()
    members = [Member(i, np.arange(RECORDS), Poisson(0.2)) for i in range(5)]
    start = network.initial(seed=1, models=range(5))
    done: list[int] = []

    def refuse(steps: int) -> None:
        raise AuditFailed(f"stopped after {steps} steps.")

    train(network, start, recipe, members, features=features, targets=labels, seed=1, progress=done.append)
    assert done == [3] * 5
    with pytest.raises(AuditFailed, match="stopped after 3 steps"):
        train(network, start, recipe, members, features=features, targets=labels, seed=1, progress=refuse)


@pytest.mark.parametrize("sampling", [Poisson(0.3), Shuffled(4)])
def test_a_batch_in_parts_is_the_whole_batch(sampling: Sampling, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taking a few examples at a time changes rounding only, dropout included."""
    network = Network.from_keras(small())
    features, labels = cloud()
    recipe = TrainingRecipe("multiclass", 6, 15, GradientDescent(), Constant(0.1), 1.0, 0.5, compiled=False)
    members = [Member(i, np.arange(RECORDS), sampling) for i in range(2)]
    start = network.initial(seed=1, models=range(2))
    ends = []
    for length in (4, RECORDS):
        monkeypatch.setattr("dpaudit.engine.training.part_length", lambda *_, length=length: length)
        ends.append(train(network, start, recipe, members, features=features, targets=labels, seed=1))
    for small_parts, whole in zip(*ends, strict=True):
        np.testing.assert_allclose(small_parts, whole, atol=1e-6)


def test_compiled_or_not_is_the_same_training() -> None:
    """XLA changes the speed and nothing but rounding."""
    plain = TrainingRecipe("multiclass", 5, 12, GradientDescent(0.9), Constant(0.1), 1.0, 0.5, compiled=False)
    compiled = TrainingRecipe("multiclass", 5, 12, GradientDescent(0.9), Constant(0.1), 1.0, 0.5)
    for one, other in zip(trained([0, 1], plain), trained([0, 1], compiled), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_noise_has_the_accounted_size() -> None:
    """With a clip norm so small that the signal vanishes, one step moves every weight by N(0, (rate σ C / batch)²).

    Each of the four checks has a false-alarm rate below 1e-4 over the choice of the seed, which is fixed.
    """
    network = Network.from_keras(keras.Sequential([keras.Input((50,)), layers.Dense(40), layers.Dense(3)]))
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(30, 50)).astype(np.float32), rng.integers(3, size=30)
    models = range(4)
    members = [Member(i, np.arange(30), Poisson(0.5)) for i in models]
    start = network.initial(seed=1, models=models)
    clip, noise, rate, batch = 1e-3, 2000.0, 0.7, 15
    moves = []
    for steps in (1, 2):
        recipe = TrainingRecipe("multiclass", steps, batch, GradientDescent(), Constant(rate), clip, noise)
        end = train(network, start, recipe, members, features=features, targets=labels, seed=1)
        moves.append([(np.asarray(b) - np.asarray(a)) for a, b in zip(start, end, strict=True)])
    expected = rate * noise * clip / batch
    first = [move.reshape(4, -1) for move in moves[0]]
    second = [(two - one).reshape(4, -1) for one, two in zip(*moves, strict=True)]
    for move in first + second:  # standard deviation of every variable of every model
        for row in move:
            spread = row.size * row.var() / expected**2
            assert 1e-5 < stats.chi2(row.size).cdf(spread) < 1 - 1e-5
    flat = np.concatenate([*(np.concatenate(first, axis=1)), *(np.concatenate(second, axis=1))])
    assert stats.kstest(flat / expected, "norm").pvalue > 1e-4
    rows = np.concatenate([np.concatenate(first, axis=1), np.concatenate(second, axis=1)])
    correlations = np.corrcoef(rows)[np.triu_indices(8, 1)]  # over models and over steps
    assert np.abs(correlations).max() * np.sqrt(rows.shape[1]) < 5
    kernels = np.concatenate([first[0][:, :120], first[2]])  # over variables
    assert np.abs(np.corrcoef(kernels)[:4, 4:]).max() * np.sqrt(120) < 5


def test_noise_of_many_variables_is_that_of_each() -> None:
    """One program for several variables draws, bit for bit, what one for each named stream draws."""
    stream, counts = Stream.start(3, [0, 4], "noise"), [100, 1, 33]
    each = [normal(stream.named(f"{place}"), count).numpy() for place, count in enumerate(counts)]
    for one, other in zip(normals(stream, counts), each, strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_noise_and_clipping_a_step_is_keras() -> None:
    """Five steps of momentum and of Adam on the full batch end where Keras ends."""
    features, labels = cloud()
    model = keras.Sequential([keras.Input((4,)), layers.Dense(6, "tanh"), layers.Dense(3)])
    network = Network.from_keras(model)
    members = [Member(0, np.arange(RECORDS), FixedSize(RECORDS, RECORDS))]
    for ours, theirs in (
        (GradientDescent(0.9), keras.optimizers.SGD(0.1, momentum=0.9)),
        (Adam(), keras.optimizers.Adam(0.1)),
    ):
        start = network.initial(seed=3, models=[0])
        recipe = TrainingRecipe("multiclass", 5, RECORDS, ours, Constant(0.1))
        end = train(network, start, recipe, members, features=features, targets=labels, seed=3)
        copy = network.to_keras(start, 0)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        for _ in range(5):
            with tf.GradientTape() as tape:
                value = loss(labels, copy(features))
            theirs.apply_gradients(
                zip(tape.gradient(value, copy.trainable_variables), copy.trainable_variables, strict=True)
            )
        for one, other in zip(end, copy.get_weights(), strict=True):
            np.testing.assert_allclose(one[0], other, atol=2e-5)


def test_as_good_as_fit() -> None:
    """Eight stacked models and four trained by ``fit`` with the same recipe differ in mean accuracy by less than 3
    standard errors and 2 points.
    """
    data = digits()
    rng = np.random.default_rng(0)
    order = rng.permutation(len(data))
    inside, outside = order[:900], order[900:]

    def fresh() -> Any:
        return keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(32, "relu"), layers.Dense(10)])

    network = Network.from_keras(fresh())
    members = [Member(i, inside, Shuffled(18)) for i in range(8)]
    recipe = TrainingRecipe("multiclass", 10 * 18, 50, GradientDescent(), Constant(0.3), compiled=False)
    end = train(
        network, network.initial(seed=5, models=range(8)), recipe, members,
        features=data.features, targets=data.labels, seed=5,
    )  # fmt: skip
    found = network.predict(end, data.features[outside]).argmax(axis=2)
    ours = (found == data.labels[outside]).mean(axis=1)
    theirs = []
    model = fresh()  # traced once; plain SGD keeps nothing from one training to the next
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.3), loss, steps_per_execution=18)
    model.optimizer.build(model.trainable_variables)  # else its first step is traced twice
    for seed in range(4):
        keras.utils.set_random_seed(seed)
        model.set_weights(fresh().get_weights())
        model.fit(data.features[inside], data.labels[inside], epochs=10, batch_size=50, verbose=0)
        theirs.append((model.predict(data.features[outside], verbose=0).argmax(1) == data.labels[outside]).mean())
    error = np.hypot(np.std(ours) / np.sqrt(8), np.std(theirs) / np.sqrt(4))
    assert abs(ours.mean() - np.mean(theirs)) < min(0.02, 3 * error + 0.002)


def test_divergence_is_said() -> None:
    """A learning rate that blows up is an error that names the model, never a NaN passed on."""
    network = Network.from_keras(keras.Sequential([keras.Input((4,)), layers.Dense(1)]))
    features, _ = cloud()
    member = Member(8, np.arange(RECORDS), Shuffled(6))
    recipe = TrainingRecipe("regression", 200, 10, GradientDescent(), Constant(50.0))
    with pytest.raises(AuditFailed, match=r"model 8 diverged: .*kernel.* is not finite"):
        train(
            network, network.initial(seed=1, models=[8]), recipe, [member],
            features=features, targets=features[:, :1], seed=1,
        )  # fmt: skip


def broken(rows: slice, *, compiled: bool) -> Parameters:
    """Two trainings on records of which some overflow; model 1 does not hold the first two."""
    network = network_of_all()
    features, labels = cloud()
    features[rows] = 3e38
    recipe = TrainingRecipe("multiclass", 5, 12, GradientDescent(0.9), Constant(0.1), 1.0, 0.5, compiled=compiled)
    members = [Member(i, np.arange(2 * i, RECORDS), Poisson(0.2)) for i in range(2)]
    return train(
        network, network.initial(seed=4, models=range(2)), recipe, members,
        features=features, targets=labels, seed=4,
    )  # fmt: skip


@pytest.mark.parametrize("compiled", [True, False])
def test_records_that_overflow_do_not_pass_the_clip(compiled: bool) -> None:
    """The training stays finite, and a model beside it that does not hold them is as without them."""
    features = [value.numpy() for value in broken(slice(0, 2), compiled=compiled)]
    assert all(np.isfinite(value).all() for value in features)
    for with_them, without in zip(features, broken(slice(0), compiled=compiled), strict=True):
        np.testing.assert_array_equal(with_them[1], without[1])


@pytest.mark.parametrize("compiled", [True, False])
def test_a_batch_without_a_finite_gradient_is_a_divergence(compiled: bool) -> None:
    """Counting every example as zero would leave a model of noise alone, and say nothing."""
    with pytest.raises(AuditFailed, match=r"model 0 diverged: .*kernel.* is not finite"):
        broken(slice(0, RECORDS), compiled=compiled)


def test_a_clipped_training_that_diverges_is_said_too() -> None:
    """Clipping bounds a step of learning rate 1e38 by about 1e38, until the weights overflow."""
    network = Network.from_keras(keras.Sequential([keras.Input((4,)), layers.Dense(1)]))
    features, _ = cloud()
    recipe = TrainingRecipe("regression", 50, 10, GradientDescent(), Constant(1e38), 1.0, 1.0)
    with pytest.raises(AuditFailed, match=r"model 8 diverged: .*kernel.* is not finite"):
        train(
            network, network.initial(seed=1, models=[8]), recipe, [Member(8, np.arange(RECORDS), Shuffled(6))],
            features=features, targets=features[:, :1], seed=1,
        )  # fmt: skip


def test_bad_recipes() -> None:
    """Noise without a clip norm and members that do not match the copies are refused."""
    with pytest.raises(InputError, match=r"noise_multiplier 1\.0 needs a clip norm"):
        TrainingRecipe("multiclass", 1, 1, noise_multiplier=1.0)
    network = Network.from_keras(small())
    with pytest.raises(InputError, match="2 copies need as many members, got 0"):
        train(
            network, network.initial(seed=1, models=range(2)), TrainingRecipe("multiclass", 1, 1), [],
            features=np.zeros((3, 4), np.float32), targets=np.zeros(3, np.int64), seed=1,
        )  # fmt: skip
