from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from dpaudit.accounting.claim import GaussianSteps, Poisson
from dpaudit.accounting.mechanism import trade_off
from dpaudit.attacks.gradient.candidate_attack import (
    CandidateAttack,
    PrivacyUnits,
    RecordContributions,
    UserContributions,
)
from dpaudit.attacks.gradient.candidate_game import Game, Played, play_games
from dpaudit.attacks.gradient.candidate_game_limits import equivalent_mu, orthogonal_success, simplex_success
from dpaudit.attacks.gradient.dense_network import DenseNetwork, inner_products, squared_norms, weighted_sum
from dpaudit.attacks.gradient.view import Arrays, BatchGradient, NoisyReleases
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import InputError
from tests.attacks.gradient import mlp
from tests.attacks.gradient.mlp import Images


def flat(arrays: Arrays) -> FloatArray:
    return np.concatenate([a.ravel() for a in arrays])


def small(seed: int, number: int) -> PrivacyUnits:
    rng = np.random.default_rng(seed)
    return PrivacyUnits(rng.uniform(-1, 1, (number, 12)), rng.integers(3, size=number))


@pytest.mark.parametrize("stack", [1, 3])
def test_ghost_sums_equal_per_record_gradients(stack: int) -> None:
    """Norms, weighted sums and inner products equal those of gradients written out one record at a time."""
    network = DenseNetwork((12, 7, 3))
    units, rng = small(0, 5), np.random.default_rng(1)
    models = [mlp.weights((12, 7, 3), seed=s) for s in range(stack)]
    stacked = np.stack([flat(m) for m in models])
    x = units.features.astype(np.float64)
    each = np.array([[flat(mlp.gradient(m, x[i : i + 1], units.labels[i : i + 1])) for i in range(5)] for m in models])
    signals = network.signals(stacked, x, units.labels)
    weight, direction = rng.random((stack, 5)), rng.normal(size=stacked.shape)
    assert squared_norms(signals) == pytest.approx((each**2).sum(2), rel=1e-9)
    assert weighted_sum(signals, weight) == pytest.approx(np.einsum("snp,sn->sp", each, weight), abs=1e-12)
    assert inner_products(network, signals, direction) == pytest.approx(np.einsum("snp,sp->sn", each, direction))


@pytest.mark.tf
def test_any_stacked_model_equals_keras() -> None:
    """Clipped sums, inner products and norms of a convolutional network at three weight vectors equal GradientTape's,
    one record at a time, to 1e-5 of their size; a frozen layer keeps its weights and has no place in the vector."""
    from dpaudit.attacks.gradient.keras_network import KerasNetwork
    from dpaudit.runtime.tensorflow import keras, tf

    layers = keras.layers
    frozen = layers.Conv2D(2, 2, trainable=False)
    model = keras.Sequential(
        [
            keras.Input((5, 5, 1)), frozen, layers.Conv2D(3, 3, activation="tanh"), layers.GroupNormalization(3),
            layers.Flatten(), layers.Dense(3),
        ]
    )  # fmt: skip
    network, rng = KerasNetwork.of(model), np.random.default_rng(0)
    flat = np.stack([network.initial(seed=s) for s in range(3)])
    assert network.parameters == flat.shape[1] == sum(int(tf.size(w)) for w in model.trainable_weights)
    x, y = rng.random((4, 5, 5, 1)).astype(np.float32), rng.integers(3, size=4)
    each = np.empty((3, 4, network.parameters))
    for s in range(3):
        at = 0
        for variable in model.trainable_weights:
            size = int(tf.size(variable))
            variable.assign(flat[s, at : at + size].reshape(variable.shape))
            at += size
        for i in range(4):
            with tf.GradientTape() as tape:
                loss = keras.losses.sparse_categorical_crossentropy(y[i : i + 1], model(x[i : i + 1]), from_logits=True)
            each[s, i] = np.concatenate([np.ravel(g) for g in tape.gradient(loss, model.trainable_weights)])
    norms, weight = np.linalg.norm(each, axis=2), rng.random((3, 4)).astype(np.float32)
    clip, direction = float(np.median(norms)), rng.normal(size=flat.shape).astype(np.float32)
    clipped = each * np.minimum(1, clip / norms)[:, :, None]
    found = network.weighted_sums(flat, x, y, weight, clip=clip)
    assert found == pytest.approx(np.einsum("snp,sn->sp", clipped, weight), abs=1e-5 * clip)
    plain = network.weighted_sums(flat, x, y, weight)
    assert plain == pytest.approx(np.einsum("snp,sn->sp", each, weight), abs=1e-5 * norms.max())
    inner, squared = network.products(flat, x, y, direction)
    assert squared == pytest.approx(norms**2, rel=1e-4)
    assert inner == pytest.approx(np.einsum("snp,sp->sn", each, direction), abs=1e-4 * norms.max())
    with pytest.raises(InputError, match="another network"):
        network.products(flat[:, 1:], x, y, direction)
    with pytest.raises(InputError, match="features must have shape"):
        network.products(flat, x[:, :4], y, direction)


@pytest.mark.tf
@pytest.mark.parametrize("unit", ["record", "user"])
def test_candidates_are_found_through_a_convolution(unit: str) -> None:
    """Without noise the hidden image, or the hidden user with three of them, is named every time."""
    from dpaudit.attacks.gradient.keras_network import KerasNetwork
    from dpaudit.runtime.tensorflow import keras

    layers = keras.layers
    network = KerasNetwork.of(
        keras.Sequential(
            [keras.Input((4, 4, 1)), layers.Conv2D(3, 3, activation="relu"), layers.Flatten(), layers.Dense(3)]
        )
    )
    rng, each = np.random.default_rng(0), () if unit == "record" else (3,)
    known, candidates = (
        PrivacyUnits(rng.random((n, *each, 4, 4, 1)), rng.integers(3, size=(n, *each))) for n in (6, 5)
    )  # fmt: skip
    contributions: RecordContributions | UserContributions = RecordContributions(network, 0.1)
    if unit == "user":
        contributions = UserContributions(network, 0.1, learning_rate=0.1, local_steps=2)
    game = Game(contributions, known, 0.0, steps=3, learning_rate=1.0, direction=-1 if unit == "record" else 1)
    won = play_games(game, CandidateAttack(contributions, "sum"), network.initial(seed=0), candidates, runs=6, seed=0)
    assert won.successes == 6


def test_user_contributions_equal_local_training() -> None:
    """A user's contribution is the clipped change of the weights under local SGD, done here step by step."""
    users = PrivacyUnits(
        np.random.default_rng(0).uniform(-1, 1, (2, 4, 12)), np.random.default_rng(1).integers(3, size=(2, 4))
    )
    start = mlp.weights((12, 7, 3), seed=0)
    contributions = UserContributions(DenseNetwork((12, 7, 3)), clip=0.05, learning_rate=0.1, local_steps=3)
    total = np.zeros(start[0].size + start[1].size + start[2].size + start[3].size)
    for user in range(2):
        local = start
        for _ in range(3):
            step = mlp.gradient(local, users.features[user].astype(np.float64), users.labels[user])
            local = tuple(w - 0.1 * g for w, g in zip(local, step, strict=True))
        update = flat(local) - flat(start)
        total += update * min(1.0, 0.05 / float(np.linalg.norm(update)))
    found = contributions.total(flat(start)[None], users, np.ones((1, 2), bool))
    assert found[0] == pytest.approx(total, abs=1e-12)


def published(
    x: FloatArray, y: IntArray, *, sizes: tuple[int, ...], records: int, runs: int, seed: int
) -> tuple[Played, GaussianSteps]:
    """The published setting: inputs in [-1, 1], clip 0.1, σ = 5, 100 full batches, M = 8."""
    units = PrivacyUnits(2 * x - 1, y)
    network = DenseNetwork(sizes)
    contributions = RecordContributions(network, 0.1)
    candidates = PrivacyUnits(units.features[1000:1008], y[1000:1008])
    known = PrivacyUnits(units.features[: records - 1], y[: records - 1])
    game = Game(contributions, known, noise_multiplier=5.0, steps=100, learning_rate=9.0)
    attack = CandidateAttack(contributions)
    return play_games(game, attack, network.initial(seed=1), candidates, runs=runs, seed=seed), game.mechanism


@pytest.mark.long
def test_prior_attack_is_where_it_was_published(images: Images) -> None:
    """σ = 5, T = 100, M = 8: success in [0.60, 0.78] and not above γ(1/8) = 0.80 beyond chance (Hayes et al. 2023).

    On 8x8 digits, 120 runs with 500 records: the ceiling for orthogonal candidates is 0.711, its standard error
    0.041."""
    won, mechanism = published(*images, sizes=(64, 10, 10), records=500, runs=120, seed=0)
    assert 0.60 <= won.successes / 120 <= 0.78
    gamma = trade_off(mechanism).reconstruction(1 / 8)
    assert binomtest(won.successes, 120, gamma, alternative="greater").pvalue > 1e-4


@pytest.mark.slow
def test_prior_attack_on_mnist(mnist: Images) -> None:
    """The same on MNIST and 1,000 records, as published, 300 runs."""
    won, mechanism = published(*mnist, sizes=(784, 10, 10), records=1000, runs=300, seed=0)
    assert 0.60 <= won.successes / 300 <= 0.78
    gamma = trade_off(mechanism).reconstruction(1 / 8)
    assert binomtest(won.successes, 300, gamma, alternative="greater").pvalue > 1e-4


def test_noise_that_hides_everything_leaves_guessing() -> None:
    """σ = 1e6: success is 1/M; two-sided exact test at 0.1 % false alarms, 400 runs."""
    contributions = RecordContributions(DenseNetwork((12, 7, 3)), 0.1)
    game = Game(contributions, small(1, 20), noise_multiplier=1e6, steps=5, learning_rate=0.1)
    initial = contributions.network.initial(seed=0)
    won = play_games(game, CandidateAttack(contributions), initial, small(2, 4), runs=400, seed=0)
    assert binomtest(won.successes, 400, 1 / 4).pvalue > 1e-3


@pytest.mark.parametrize("unit", ["record", "user"])
def test_without_noise_the_candidate_is_always_found(unit: str) -> None:
    """No noise, no privacy: every run names the hidden record or user."""
    network = DenseNetwork((12, 7, 3))
    rng = np.random.default_rng(0)
    contributions: RecordContributions | UserContributions
    if unit == "record":
        contributions, direction = RecordContributions(network, 0.1), -1
        known, candidates = small(1, 20), small(2, 6)
    else:
        contributions, direction = UserContributions(network, 0.1, learning_rate=0.1, local_steps=2), 1
        known, candidates = (PrivacyUnits(rng.uniform(-1, 1, (n, 5, 12)), rng.integers(3, size=(n, 5))) for n in (8, 6))
    game = Game(contributions, known, 0.0, steps=3, learning_rate=1.0, direction=direction)
    won = play_games(game, CandidateAttack(contributions, "sum"), network.initial(seed=0), candidates, runs=20, seed=0)
    assert won.successes == 20


@pytest.mark.long
def test_sampled_runs_stay_below_the_bound_and_the_ratio_beats_the_sum() -> None:
    """Poisson batches, q = 0.1: success is above guessing and never above γ; the likelihood ratio is no worse than the
    plain sum (Neyman and Pearson), up to two standard errors of 150 paired runs."""
    contributions = RecordContributions(DenseNetwork((12, 7, 3)), 0.05)
    known, candidates = small(1, 50), small(2, 8)
    game = Game(contributions, known, noise_multiplier=0.7, steps=30, learning_rate=0.1, rate=0.1)
    initial = contributions.network.initial(seed=0)
    ratio, total = (
        play_games(game, CandidateAttack(contributions, score), initial, candidates, runs=150, seed=0)
        for score in ("likelihood-ratio", "sum")
    )
    gamma = trade_off(game.mechanism).reconstruction(1 / 8)
    assert binomtest(ratio.successes, 150, 1 / 8, alternative="greater").pvalue < 1e-6
    assert binomtest(ratio.successes, 150, gamma, alternative="greater").pvalue > 1e-4
    assert ratio.successes >= total.successes - 2 * np.sqrt(150 * 0.25)


def test_too_little_noise_is_seen_above_the_bound() -> None:
    """The accountant is told σ = 10, the training adds σ = 1: success certainly exceeds the claimed γ."""
    contributions = RecordContributions(DenseNetwork((12, 7, 3)), 0.05)
    game = Game(contributions, small(1, 50), noise_multiplier=1.0, steps=10, learning_rate=0.1)
    initial = contributions.network.initial(seed=0)
    won = play_games(game, CandidateAttack(contributions), initial, small(2, 8), runs=100, seed=0)
    gamma = trade_off(GaussianSteps(10.0, 10, Poisson(1.0))).reconstruction(1 / 8)
    assert binomtest(won.successes, 100, gamma, alternative="greater").pvalue < 1e-6


def test_the_hidden_index_does_not_reach_the_attack() -> None:
    """Games that differ in nothing but who was hidden give views whose fields say nothing of it: the trace holds
    weights, releases and published parameters only."""
    assert set(NoisyReleases.__dataclass_fields__) == {
        "weights", "releases", "clip", "noise_multiplier", "rate", "known_took_part",
    }  # fmt: skip


# √100 / σ at M = 8, from two independent computations of ∫ φ(x - μ) Φ(x)^7 dx, quoted to three digits.
@pytest.mark.parametrize(
    ("sigma", "simplex", "orthogonal"),
    [(75, 0.152, 0.150), (40, 0.179, 0.175), (21, 0.238, 0.230), (9.5, 0.427, 0.403), (5, 0.749, 0.711)],
)
def test_reference_curves(sigma: float, simplex: float, orthogonal: float) -> None:
    """Best success for a simplex and for orthogonal candidates; both below γ(1/8)."""
    mu = 10 / sigma
    assert simplex_success(mu, 8) == pytest.approx(simplex, abs=6e-4)
    assert orthogonal_success(mu, 8) == pytest.approx(orthogonal, abs=6e-4)
    gamma = trade_off(GaussianSteps(float(sigma), 100, Poisson(1.0))).reconstruction(1 / 8)
    assert orthogonal_success(mu, 8) <= simplex_success(mu, 8) <= gamma
    assert equivalent_mu(gamma, 1 / 8) == pytest.approx(mu, rel=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda a, t: a(BatchGradient((np.ones(2),), (np.ones(2),)), known=small(1, 3), candidates=small(2, 2)),
         "reads a trace"),
        (lambda a, t: a(t(noise_multiplier=0.0), known=small(1, 3), candidates=small(2, 2)), "use score='sum'"),
        (lambda a, t: a(t(clip=2.0), known=small(1, 3), candidates=small(2, 2)), "clipped to 2, the attack assumes"),
        (lambda a, t: a(t(known_took_part=np.ones((2, 9))), known=small(1, 3), candidates=small(2, 2)), "known_took_"),
        (lambda a, t: a(t(weights=np.ones((2, 9)), releases=np.ones((2, 9))), known=small(1, 3),
                        candidates=small(2, 2)), "another network"),
        (lambda a, t: t(releases=np.full((2, 115), np.nan)), "must be finite"),
    ],
)  # fmt: skip
def test_bad_traces_get_one_clear_line(make: Any, message: str) -> None:
    """What does not go with the attack is refused by name."""
    network = DenseNetwork((12, 7, 3))
    attack = CandidateAttack(RecordContributions(network, 0.1))

    def trace(**changes: Any) -> NoisyReleases:
        size = (2, network.parameters)
        base = {"weights": np.ones(size), "releases": np.ones(size), "clip": 0.1, "noise_multiplier": 1.0}
        return NoisyReleases(**{**base, **changes})

    with pytest.raises(InputError, match=message):
        make(attack, trace)


def test_repeated_candidates_are_refused() -> None:
    """Two equal candidates cannot be told apart, so 1/M would not be the chance of guessing."""
    contributions = RecordContributions(DenseNetwork((12, 7, 3)), 0.1)
    twice = small(2, 2)
    twice = PrivacyUnits(np.concatenate([twice.features] * 2), np.concatenate([twice.labels] * 2))
    game = Game(contributions, small(1, 5), 1.0, steps=1, learning_rate=0.1)
    with pytest.raises(InputError, match="2 are repeated"):
        play_games(game, CandidateAttack(contributions), contributions.network.initial(seed=0), twice, runs=1, seed=0)
