"""Federated training against SGD, against sums made by hand, and against itself."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dpaudit.data.dataset import Dataset
from dpaudit.engine.losses import per_example_loss
from dpaudit.engine.network import Network
from dpaudit.engine.optimizers import Adam, GradientDescent
from dpaudit.engine.schedules import Constant
from dpaudit.runtime.errors import AuditFailed, InputError
from dpaudit.runtime.tensorflow import keras, tensorflow_privacy_module, tf
from dpaudit.training.architecture import Mlp
from dpaudit.training.federated.aggregation import (
    AdaptiveClip,
    Aggregator,
    Distributed,
    FixedClip,
    LocalNoise,
    PlainMean,
    Tree,
)
from dpaudit.training.federated.compression import EightBit, RandomMask, Sign, TopK, Whole
from dpaudit.training.federated.local import Local
from dpaudit.training.federated.participation import AllClients, FixedClients, OncePerEpoch, PoissonClients, Trouble
from dpaudit.training.federated.public_data import Pretraining
from dpaudit.training.federated.queries import Aggregation
from dpaudit.training.federated.simulation import CanaryClients, FederationRecipe, Moment, simulate
from dpaudit.training.federated.trainer import Federated

pytestmark = pytest.mark.tf

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 5)).astype(np.float32)
Y = RNG.integers(3, size=48)
WHOLE = Local(batch_size="all")


def _model() -> Any:
    return keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(3)])


def _loss(outputs: Any, targets: Any) -> Any:
    return per_example_loss("multiclass", outputs, targets)


NETWORK = Network.from_keras(_model())
START = NETWORK.initial(seed=1, models=range(1))


def _clients(*sizes: int) -> list[npt.NDArray[np.int64]]:
    return np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])


def _train(
    recipe: FederationRecipe, rows: Sequence[npt.NDArray[np.int64]], **more: Any
) -> list[npt.NDArray[np.float32]]:
    models, _ = simulate(NETWORK, START, recipe, features=X, targets=Y, rows=[rows], loss=_loss, **{"seed": 3, **more})
    return NETWORK.weights(models, 0)


def _keras_sgd(rows: Any, *, steps: int, rate: float, optimizer: Any = None) -> list[npt.NDArray[np.float32]]:
    """Full-batch gradient descent as Keras does it, from the same start."""
    model = _model()
    model.set_weights(NETWORK.weights(START, 0))
    mean = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = optimizer or keras.optimizers.SGD(rate)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            value = mean(Y[rows], model(X[rows]))
        optimizer.apply_gradients(zip(tape.gradient(value, model.weights), model.weights, strict=True))
    return [np.asarray(w) for w in model.get_weights()]


def _close(found: Any, expected: Any, atol: float = 2e-6) -> None:
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=atol, rtol=1e-5)


def test_one_client_is_sgd() -> None:
    """One client, one full-batch local step, no DP: every round is one step of Keras' gradient descent."""
    found = _train(FederationRecipe(5, local=WHOLE, learning_rate=Constant(0.3)), _clients(48))
    _close(found, _keras_sgd(np.arange(48), steps=5, rate=0.3))


def test_equal_clients_are_centralised_sgd_on_the_union() -> None:
    """Full participation of equal clients with one local step is gradient descent on all records (FedSGD)."""
    found = _train(FederationRecipe(5, local=WHOLE, learning_rate=Constant(0.3)), _clients(12, 12, 12, 12))
    _close(found, _keras_sgd(np.arange(48), steps=5, rate=0.3))


def test_weights_by_records_make_unequal_clients_centralised_too() -> None:
    """Weighted by their records, unequal clients still give the union's gradient; weighted uniformly they do not."""
    rows = _clients(3, 30, 15)
    central = _keras_sgd(np.arange(48), steps=2, rate=0.3)
    _close(_train(FederationRecipe(2, local=WHOLE, learning_rate=Constant(0.3)), rows), central)
    uniform = _train(
        FederationRecipe(2, local=WHOLE, learning_rate=Constant(0.3), aggregator=PlainMean("uniform")), rows
    )
    assert np.abs(uniform[0] - central[0]).max() > 1e-3


def test_local_epochs_are_local_sgd_averaged() -> None:
    """Three full-batch local epochs at two clients: the average of two Keras runs of three steps each."""
    rows = _clients(24, 24)
    found = _train(FederationRecipe(1, local=Local(epochs=3, batch_size="all"), learning_rate=Constant(0.3)), rows)
    alone = [_keras_sgd(own, steps=3, rate=0.3) for own in rows]
    _close(found, [(a + b) / 2 for a, b in zip(*alone, strict=True)])


def test_fedprox_is_the_proximal_gradient() -> None:
    """FedProx pulls towards the model that was sent: two local steps by hand with mu = 0.7."""
    model = _model()
    start = NETWORK.weights(START, 0)
    model.set_weights(start)
    for _ in range(2):
        with tf.GradientTape() as tape:
            value = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(Y, model(X))
        slopes = tape.gradient(value, model.weights)
        model.set_weights(
            [w - 0.3 * (g.numpy() + 0.7 * (w - s)) for w, g, s in zip(model.get_weights(), slopes, start, strict=True)]
        )
    local = Local(epochs=2, batch_size="all", proximal=0.7)
    _close(_train(FederationRecipe(1, local=local, learning_rate=Constant(0.3)), _clients(48)), model.get_weights())


@pytest.mark.parametrize(
    ("server", "reference"),
    [
        (GradientDescent(momentum=0.9), lambda: keras.optimizers.SGD(0.3, momentum=0.9)),
        (Adam(), lambda: keras.optimizers.Adam(0.3)),
    ],
)
def test_server_optimisers_are_those_of_keras(server: Any, reference: Any) -> None:
    """FedSGD of rate 1 through a server optimiser is Keras' optimiser on the full gradient (FedAvgM, FedAdam)."""
    recipe = FederationRecipe(4, local=WHOLE, learning_rate=Constant(1.0), server=server, server_learning_rate=0.3)
    expected = _keras_sgd(np.arange(48), steps=4, rate=0.3, optimizer=reference())
    _close(_train(recipe, _clients(24, 24)), expected, atol=2e-4)


def _clipped_mean(updates: Any, clip: float, divisor: float) -> list[Any]:
    flat = np.concatenate([u.reshape(len(u), -1) for u in updates], axis=1).astype(np.float64)
    factor = np.minimum(1, clip / np.linalg.norm(flat, axis=1))
    return [np.tensordot(factor, u, axes=1) / divisor for u in updates]


@pytest.mark.parametrize(
    ("aggregator", "participation", "atol"),
    [
        (FixedClip(0.4, 0.0), PoissonClients(0.6), 1e-6),
        (AdaptiveClip(0.0, clip=0.4), PoissonClients(0.6), 1e-6),
        (LocalNoise(0.4, 0.0), AllClients(), 1e-6),
        (Tree(0.4, 0.0), OncePerEpoch(2), 1e-6),
        (Distributed(0.4, 0.0, scale=1e5, threshold=0.1), AllClients(), 2e-5),
    ],
)
def test_without_noise_dp_aggregates_are_clipped_averages_by_hand(
    aggregator: Aggregator, participation: Any, atol: float
) -> None:
    """At noise 0 every DP aggregator releases sum of min(1, C/|u|) u over the expected number of clients."""
    moments: list[Moment] = []
    recipe = FederationRecipe(3, participation, WHOLE, Constant(0.5), aggregator)
    _train(recipe, _clients(*[6] * 8), observe=moments.append)
    norms = []
    for moment in moments:
        assert moment.mean is not None
        assert moment.entry.clip is not None
        expected = _clipped_mean(moment.updates, moment.entry.clip, participation.expected(8))
        _close(moment.mean, expected, atol=atol)
        norms += list(np.sqrt(sum((u.reshape(len(u), -1) ** 2).sum(1) for u in moment.updates)))
    assert min(norms) < 0.4 < max(norms)


@pytest.mark.parametrize(
    ("aggregator", "participation", "deviation"),
    [
        (FixedClip(0.5, 2.0), AllClients(), 2.0 * 0.5 / 8),
        (AdaptiveClip(2.0, clip=0.5, count_noise=4.0), AllClients(), (2.0**-2 - 8.0**-2) ** -0.5 * 0.5 / 8),
        (LocalNoise(0.5, 2.0), AllClients(), 2.0 * 0.5 * 8**0.5 / 8),
        (Distributed(0.5, 2.0, threshold=1.0), AllClients(), 2.0 * 0.5 / 8),
    ],
)
def test_noise_has_the_stated_deviation(aggregator: Aggregator, participation: Any, deviation: float) -> None:
    """On zero updates of 20,000 coordinates the release has the stated deviation within 3 % (chance 2e-9)."""
    aggregation = Aggregation(aggregator, ((100, 200),), participation.expected(8), participation, seed=5)
    zero = [tf.zeros((8, 100, 200))]
    released = aggregation(aggregation.start(), zero, np.ones(8), range(8), round_number=0)
    assert released.mean is not None
    assert np.std(released.mean[0]) == pytest.approx(deviation, rel=0.03)
    again = aggregation(aggregation.start(), zero, np.ones(8), range(8), round_number=1)
    assert again.mean is not None
    # Two rounds never share their noise: correlation of 20,000 pairs within 5 standard errors.
    assert abs(np.corrcoef(np.ravel(released.mean[0]), np.ravel(again.mean[0]))[0, 1]) < 5 / 20_000**0.5


def test_tree_noise_over_a_whole_epoch_is_small_and_new_in_the_next() -> None:
    """Prefix sums carry at most log2(T)+1 node noises, far less than T independent ones, and trees differ.

    With T = 8 and the variance reduction of Honaker the last prefix's deviation is below z C; independent noise would
    have z C sqrt(8). 20,000 coordinates put the estimate within 3 %.
    """
    aggregation = Aggregation(Tree(1.0, 1.0), ((100, 200),), 1.0, OncePerEpoch(8), seed=5)
    state = aggregation.start()
    sums = []
    for epoch in range(2):
        total = np.zeros((100, 200))
        for part in range(8):
            released = aggregation(state, [tf.zeros((1, 100, 200))], np.ones(1), [0], round_number=8 * epoch + part)
            state = released.state
            assert released.mean is not None
            total += released.mean[0].numpy()
        sums.append(total)
    assert 0.3 < sums[0].std() < 1.0
    assert abs(np.corrcoef(sums[0].ravel(), sums[1].ravel())[0, 1]) < 5 / 20_000**0.5


def test_adaptive_clip_finds_the_quantile() -> None:
    """On norms 1 to 40 the clip settles at the 0.3 quantile, within 15 %, from far below and from far above.

    From 0.1 that takes about 60 rounds, without noise too; of 2,000 simulated clips none was outside after 70.
    """
    norms = np.arange(1.0, 41.0)
    updates = [tf.constant(np.eye(40, dtype=np.float32) * norms.astype(np.float32))]
    for first in (0.1, 200.0):
        aggregator = AdaptiveClip(0.5, clip=first, quantile=0.3, rate=0.4, count_noise=0.5)
        aggregation = Aggregation(aggregator, ((40,),), 40.0, AllClients(), seed=5)
        state = aggregation.start()
        for number in range(70):
            state = aggregation(state, updates, np.ones(40), range(40), round_number=number).state
        assert aggregation.clip(state) == pytest.approx(12, rel=0.15)


def _adaptive_query(aggregator: AdaptiveClip, expected: float) -> Any:
    """TensorFlow Privacy's own, with the noise that the aggregator states."""
    module = tensorflow_privacy_module("privacy.dp_query.quantile_adaptive_clip_sum_query")
    return module.QuantileAdaptiveClipSumQuery(
        initial_l2_norm_clip=aggregator.clip,
        noise_multiplier=aggregator.sum_multiplier(expected),
        target_unclipped_quantile=aggregator.quantile,
        learning_rate=aggregator.rate,
        clipped_count_stddev=aggregator.count_stddev(expected),
        expected_num_records=expected,
        geometric_update=True,
    )


def test_the_sum_and_the_count_together_cost_what_was_asked() -> None:
    """The adaptive query's event, two Gaussians, composes to the stated multiplier (Andrew et al. 2019, theorem 1)."""
    aggregator = AdaptiveClip(1.3)
    query = _adaptive_query(aggregator, 100.0)
    state = query.initial_global_state()
    _, _, event = query.get_noised_result(query.initial_sample_state([tf.zeros(3)]), state)
    composed = sum(float(part.noise_multiplier) ** -2 for part in event.events) ** -0.5
    assert composed == pytest.approx(1.3, rel=1e-5)
    aggregation = Aggregation(aggregator, ((3,),), 100.0, AllClients(), seed=5)
    released = aggregation(aggregation.start(), [tf.zeros((4, 3))], np.ones(4), range(4), round_number=0)
    assert released.noise_multiplier == 1.3


def test_an_adaptive_clip_without_noise_is_that_of_tensorflow_privacy() -> None:
    """Sums and clips of eight rounds, some of them without clients, against the query asked one record at a time."""
    aggregator = AdaptiveClip(0.0, clip=0.7, quantile=0.4, rate=0.3, count_noise=1e-12)
    query, rng = _adaptive_query(aggregator, 6.0), np.random.default_rng(3)
    aggregation = Aggregation(aggregator, ((3, 2), (4,)), 6.0, AllClients(), seed=5)
    state, theirs = aggregation.start(), query.initial_global_state()
    for number in range(8):
        clients = 0 if number % 4 == 2 else 5 + number
        updates = [tf.constant(rng.normal(size=(clients, *shape)), tf.float32) for shape in ((3, 2), (4,))]
        params = query.derive_sample_params(theirs)
        sample = query.initial_sample_state([tf.zeros((3, 2)), tf.zeros(4)])
        for client in range(clients):
            sample = query.accumulate_record(params, sample, [update[client] for update in updates])
        total, theirs, _ = query.get_noised_result(sample, theirs)
        released = aggregation(state, updates, np.ones(clients), range(clients), round_number=number)
        state = released.state
        assert released.mean is not None
        for mine, their in zip(released.mean, total, strict=True):
            np.testing.assert_allclose(mine * 6, their, atol=1e-5)
        assert aggregation.clip(state) == pytest.approx(float(theirs.sum_state.l2_norm_clip), rel=1e-6)


def test_an_adaptive_clip_gets_the_noise_that_tensorflow_privacy_would_add() -> None:
    """Its deviation follows the clip, that of the count does not, and both are new in every round.

    Half of 40 clients are above any clip and half below, so the logarithm of a change of the clip is the noise on the
    count. Five standard errors each; fixed seed.
    """
    aggregator = AdaptiveClip(1.0, clip=2.0, rate=0.4, count_noise=3.0)
    query, rounds = _adaptive_query(aggregator, 40.0), 200
    update = np.zeros((40, 500), np.float32)
    update[:20, 0] = 1e6
    aggregation = Aggregation(aggregator, ((500,),), 40.0, AllClients(), seed=5)
    state, drawn, counts = aggregation.start(), [], []
    for number in range(rounds):
        released = aggregation(state, [tf.constant(update)], np.ones(40), range(40), round_number=number)
        assert released.mean is not None
        assert released.clip is not None
        deviation = query.initial_global_state().sum_state.stddev * released.clip / aggregator.clip
        drawn.append(released.mean[0].numpy()[1:] * 40 / deviation)
        counts.append(-40 / 0.4 * np.log(aggregation.clip(released.state) / released.clip))  # type: ignore[operator]
        state = released.state
    noise = np.array(drawn)
    assert noise.std() == pytest.approx(1, abs=5 / (2 * noise.size) ** 0.5)
    assert np.std(counts) == pytest.approx(3, abs=5 * 3 / (2 * rounds) ** 0.5)
    assert abs(np.mean(counts)) < 5 * 3 / rounds**0.5
    assert abs(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]) < 5 / noise[1:].size ** 0.5


def test_a_broken_update_counts_as_none_under_dp_and_fails_without() -> None:
    """One NaN or infinite update must not pass the clip: the release is that of the other clients."""
    updates = np.ones((3, 4), np.float32)
    updates[1] = np.nan
    updates[2, 0] = np.inf
    aggregation = Aggregation(FixedClip(1.0, 0.0), ((4,),), 3.0, AllClients(), seed=5)
    released = aggregation(aggregation.start(), [tf.constant(updates)], np.ones(3), range(3), round_number=0)
    assert released.mean is not None
    assert released.refused == 2
    np.testing.assert_allclose(released.mean[0], np.full(4, 0.5 / 3), rtol=1e-6)
    plain = Aggregation(PlainMean(), ((4,),), 3.0, AllClients(), seed=5)
    with pytest.raises(AuditFailed, match="update of client 1 is not finite"):
        plain(plain.start(), [tf.constant(updates)], np.ones(3), range(3), round_number=0)


def test_rounds_with_too_few_noise_shares_are_given_up() -> None:
    """Below the threshold a distributed round releases nothing; at it the realised noise is what was promised."""
    aggregator = Distributed(1.0, 1.0, threshold=0.5)
    aggregation = Aggregation(aggregator, ((50,),), 8.0, AllClients(), seed=5)
    few = aggregation(aggregation.start(), [tf.zeros((3, 50))], np.ones(3), range(3), round_number=0)
    assert few.mean is None
    enough = aggregation(aggregation.start(), [tf.zeros((4, 50))], np.ones(4), range(4), round_number=0)
    assert enough.noise_multiplier is not None
    assert 1.0 <= enough.noise_multiplier < 1.01


def test_a_federation_is_the_same_alone_and_stacked() -> None:
    """Federations share a program, not their randomness: the first of three equals itself alone."""
    recipe = FederationRecipe(3, PoissonClients(0.5), Local(batch_size=4), Constant(0.3), FixedClip(0.5, 0.3))
    rows = _clients(*[6] * 8)
    alone = _train(recipe, rows)
    three = NETWORK.initial(seed=1, models=range(3))
    models, _ = simulate(NETWORK, three, recipe, features=X, targets=Y, rows=[rows] * 3, loss=_loss, seed=3)
    _close(NETWORK.weights(models, 0), alone)
    assert np.abs(NETWORK.weights(models, 1)[0] - alone[0]).max() > 1e-3


def test_an_absent_client_changes_nothing_for_the_others() -> None:
    """Taking a client's records away changes neither who is asked nor what the others send in the first round."""
    recipe = FederationRecipe(1, PoissonClients(0.7), Local(batch_size=4), Constant(0.3), FixedClip(0.5, 0.0))
    rows = _clients(*[6] * 8)
    seen: list[Moment] = []
    _train(recipe, rows, observe=seen.append)
    gone = seen[0].clients[2]
    without = [own if c != gone else own[:0] for c, own in enumerate(rows)]
    _train(recipe, without, observe=seen.append)
    assert seen[1].clients == [c for c in seen[0].clients if c != gone]
    kept = [i for i, c in enumerate(seen[0].clients) if c != gone]
    _close(seen[1].updates, [u[kept] for u in seen[0].updates])


def test_poisson_fixed_and_once_per_epoch_ask_who_they_say() -> None:
    """4,000 Poisson draws of rate 0.3 hold 1,200 +- 150 (5 s.e.); fixed size is exact; once per epoch is once."""
    assert sum(PoissonClients(0.3)(40, round_number=r, seed=1).sum() for r in range(100)) == pytest.approx(
        1200, abs=150
    )
    assert {int(FixedClients(7, 40)(40, round_number=r, seed=1).sum()) for r in range(20)} == {7}
    epochs = [[OncePerEpoch(5)(40, round_number=5 * e + r, seed=1) for r in range(5)] for e in range(3)]
    assert all((np.sum(epoch, axis=0) == 1).all() for epoch in epochs)


def test_drop_outs_leave_the_divisor_alone_and_stragglers_do_less() -> None:
    """Drop-outs do not change what the DP sum is divided by. A straggler's update is a prefix of its work."""
    seen: list[Moment] = []
    rows = _clients(*[6] * 8)
    recipe = FederationRecipe(1, AllClients(), WHOLE, Constant(0.3), FixedClip(0.5, 0.0), trouble=Trouble(drop_out=0.5))
    _train(recipe, rows, observe=seen.append)
    answered = seen[0].entry.answered
    assert 0 < answered < 8
    assert seen[0].mean is not None
    _close(seen[0].mean, _clipped_mean(seen[0].updates, 0.5, 8.0))
    slow = FederationRecipe(
        1, local=Local(epochs=4, batch_size="all"), trouble=Trouble(straggle=1.0), learning_rate=Constant(0.3)
    )
    _close(_train(slow, _clients(48)), _keras_sgd(np.arange(48), steps=2, rate=0.3))


def test_local_dp_sgd_is_the_clipped_gradient_and_noise_at_each_client() -> None:
    """Record-level DP inside a client: per-example clipping by hand without noise, another model with it."""
    model = _model()
    model.set_weights(NETWORK.weights(START, 0))
    total: list[Any] = [0.0] * 4
    for x, y in zip(X, Y, strict=True):
        with tf.GradientTape() as tape:
            value = keras.losses.sparse_categorical_crossentropy([y], model(x[None]), from_logits=True)
        slope = [g.numpy() for g in tape.gradient(value, model.weights)]
        norm = np.sqrt(sum((g**2).sum() for g in slope))
        total = [t + g * min(1, 0.4 / norm) for t, g in zip(total, slope, strict=True)]
    expected = [w - 0.3 * t / 48 for w, t in zip(model.get_weights(), total, strict=True)]
    clipped = Local(batch_size="all", clip=0.4)
    _close(_train(FederationRecipe(1, local=clipped, learning_rate=Constant(0.3)), _clients(48)), expected)
    noisy = Local(batch_size="all", clip=0.4, noise_multiplier=3.0)
    found = _train(FederationRecipe(1, local=noisy, learning_rate=Constant(0.3)), _clients(48))
    difference = np.concatenate([np.ravel(a - b) for a, b in zip(found, expected, strict=True)])
    # 39 coordinates: the deviation is within 45 % of 0.3 * 0.4 * 3 / 48 with probability 0.9999.
    assert difference.std() == pytest.approx(0.3 * 0.4 * 3 / 48, rel=0.45)


def test_canaries_send_the_clip_times_their_direction() -> None:
    """A present canary adds exactly C c / n to the noiseless release; an absent one nothing."""
    directions = np.linalg.qr(RNG.normal(size=(39, 39)))[0][:2].astype(np.float32)
    seen: list[Moment] = []
    recipe = FederationRecipe(1, AllClients(), WHOLE, Constant(0.3), FixedClip(0.5, 0.0))
    for present in ([True, False], [False, False]):
        canaries = CanaryClients(directions, np.array(present))
        _train(recipe, _clients(*[6] * 8), observe=seen.append, canaries=canaries)
    flat = [np.concatenate([np.ravel(m) for m in moment.mean or []]) for moment in seen]
    np.testing.assert_allclose(flat[0] - flat[1], 0.5 * directions[0] / 10, atol=1e-6)
    assert seen[0].clients == [*range(8), 8]


def test_compression_keeps_what_it_says_and_counts_its_bytes() -> None:
    """Top-k keeps the largest, mask and 8-bit are unbiased (4,000 draws, 5 s.e.), sign keeps signs; bytes count."""
    row = np.linspace(-1, 1, 20, dtype=np.float32) ** 3
    from dpaudit.engine.randomness import Stream

    many = tf.constant(np.tile(row, (4000, 1)))
    keys = Stream.start(1, range(4000), "test").keys
    top = TopK(0.2)(many, keys=keys).numpy()[0]
    assert set(np.flatnonzero(top)) == {0, 1, 18, 19}
    np.testing.assert_array_equal(top[[0, 1, 18, 19]], row[[0, 1, 18, 19]])
    masked = RandomMask(0.25)(many, keys=keys).numpy()
    assert (masked != 0).mean() == pytest.approx(0.25, abs=0.01)
    assert np.abs(masked.mean(axis=0) - row).max() < 5 * 3**0.5 / 4000**0.5
    coarse = EightBit()(many, keys=keys).numpy()
    assert np.abs(coarse - row).max() <= 2 / 255 + 1e-6
    assert np.abs(coarse.mean(axis=0) - row).max() < 5 * (2 / 255) / 4000**0.5
    np.testing.assert_allclose(Sign()(many, keys=keys).numpy()[0], np.sign(row) * np.abs(row).mean(), rtol=1e-5)
    sizes = [c.bytes_per_client(1000) for c in (Whole(), TopK(0.1), RandomMask(0.1), EightBit(), Sign())]
    assert sizes == [4000, 800, 408, 1008, 129]


def test_bad_federations_are_refused_in_one_line() -> None:
    """Rosters without data or of other lengths, foreign rows, wrong rates and rosters, canaries of another model."""
    plain = FederationRecipe(1, local=WHOLE)
    with pytest.raises(InputError, match="federation 0 has no client with data; 2 are on its roster"):
        _train(plain, [np.empty(0, np.int64)] * 2)
    with pytest.raises(InputError, match="name record 48, there are 48"):
        _train(plain, _clients(49))
    with pytest.raises(InputError, match=r"sampling rate must be in \[0, 1\], got 1\.5"):
        PoissonClients(1.5)
    with pytest.raises(InputError, match="50 clients cannot be drawn from a roster of 40"):
        FixedClients(50, 40)
    with pytest.raises(InputError, match="roster of 40 clients, but there are 4"):
        _train(FederationRecipe(1, FixedClients(5, 40), WHOLE), _clients(12, 12, 12, 12))
    with pytest.raises(InputError, match=r"needs count_noise above 1; it is 0\.4"):
        _train(FederationRecipe(1, AllClients(), WHOLE, aggregator=AdaptiveClip(2.0)), _clients(*[6] * 8))
    with pytest.raises(InputError, match="once-per-epoch"):
        _train(FederationRecipe(1, AllClients(), WHOLE, aggregator=Tree(1.0, 1.0)), _clients(48))
    with pytest.raises(InputError, match="canary directions have 5 coordinates, the model trains 39"):
        _train(plain, _clients(48), canaries=CanaryClients(np.eye(5, dtype=np.float32), np.ones(5, bool)))
    one = CanaryClients(np.eye(39, dtype=np.float32)[:1], np.ones(1, bool))
    with pytest.raises(InputError, match=r"need as many sets of canaries of one size, got sizes \[1, 1\]"):
        _train(plain, _clients(48), canaries=[one, one])
    public = Pretraining("digits-low")
    with pytest.raises(InputError, match=r"records of shape \(8, 8, 1\), small multiclass records of shape"):
        Federated(Mlp(()), pretraining=public).prepare(Dataset("small", X, Y, users=np.arange(48) % 4), seed=1)
    with pytest.raises(AuditFailed, match="not finite"):
        _train(FederationRecipe(3, local=WHOLE, learning_rate=Constant(1e30)), _clients(48))
