"""What the server releases: clipped averages by hand, the stated noise, and the adaptive clip of TensorFlow Privacy."""

from typing import Any

import numpy as np
import pytest

from dpaudit.engine.schedules import Constant
from dpaudit.runtime.errors import AuditFailed
from dpaudit.runtime.tensorflow import tensorflow_privacy_module, tf
from dpaudit.training.federated.aggregation import (
    AdaptiveClip,
    Aggregator,
    Distributed,
    FixedClip,
    LocalNoise,
    PlainMean,
    Tree,
)
from dpaudit.training.federated.participation import AllClients, OncePerEpoch, PoissonClients
from dpaudit.training.federated.queries import Aggregation
from dpaudit.training.federated.simulation import FederationRecipe, Moment
from tests.training.federated.small import WHOLE, clients, clipped_mean, close, train

pytestmark = pytest.mark.tf


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
    train(recipe, clients(*[6] * 8), observe=moments.append)
    norms = []
    for moment in moments:
        assert moment.mean is not None
        assert moment.entry.clip is not None
        expected = clipped_mean(moment.updates, moment.entry.clip, participation.expected(8))
        close(moment.mean, expected, atol=atol)
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
    """Below the threshold a distributed round releases nothing; at it the realised noise is what was claimed."""
    aggregator = Distributed(1.0, 1.0, threshold=0.5)
    aggregation = Aggregation(aggregator, ((50,),), 8.0, AllClients(), seed=5)
    few = aggregation(aggregation.start(), [tf.zeros((3, 50))], np.ones(3), range(3), round_number=0)
    assert few.mean is None
    enough = aggregation(aggregation.start(), [tf.zeros((4, 50))], np.ones(4), range(4), round_number=0)
    assert enough.noise_multiplier is not None
    assert 1.0 <= enough.noise_multiplier < 1.01
