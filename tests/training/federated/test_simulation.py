"""Federated training against SGD, against sums made by hand, and against itself."""

from typing import Any

import numpy as np
import pytest

from dpaudit.data.dataset import Dataset
from dpaudit.engine.optimizers import Adam, GradientDescent
from dpaudit.engine.schedules import Constant
from dpaudit.runtime.errors import AuditFailed, InputError
from dpaudit.runtime.tensorflow import keras
from dpaudit.training.architecture import Mlp
from dpaudit.training.federated.aggregation import (
    AdaptiveClip,
    FixedClip,
    PlainMean,
    Tree,
)
from dpaudit.training.federated.local import Local
from dpaudit.training.federated.participation import AllClients, FixedClients, PoissonClients
from dpaudit.training.federated.public_data import Pretraining
from dpaudit.training.federated.simulation import CanaryClients, FederationRecipe, Moment, simulate
from dpaudit.training.federated.trainer import Federated
from tests.training.federated.small import NETWORK, RNG, WHOLE, X, Y, clients, close, keras_sgd, loss, train

pytestmark = pytest.mark.tf


def test_one_client_is_sgd() -> None:
    """One client, one full-batch local step, no DP: every round is one step of Keras' gradient descent."""
    found = train(FederationRecipe(5, local=WHOLE, learning_rate=Constant(0.3)), clients(48))
    close(found, keras_sgd(np.arange(48), steps=5, rate=0.3))


def test_equal_clients_are_centralised_sgd_on_the_union() -> None:
    """Full participation of equal clients with one local step is gradient descent on all records (FedSGD)."""
    found = train(FederationRecipe(5, local=WHOLE, learning_rate=Constant(0.3)), clients(12, 12, 12, 12))
    close(found, keras_sgd(np.arange(48), steps=5, rate=0.3))


def test_weights_by_records_make_unequal_clients_centralised_too() -> None:
    """Weighted by their records, unequal clients still give the union's gradient; weighted uniformly they do not."""
    rows = clients(3, 30, 15)
    central = keras_sgd(np.arange(48), steps=2, rate=0.3)
    close(train(FederationRecipe(2, local=WHOLE, learning_rate=Constant(0.3)), rows), central)
    uniform = train(
        FederationRecipe(2, local=WHOLE, learning_rate=Constant(0.3), aggregator=PlainMean("uniform")), rows
    )
    assert np.abs(uniform[0] - central[0]).max() > 1e-3


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
    expected = keras_sgd(np.arange(48), steps=4, rate=0.3, optimizer=reference())
    close(train(recipe, clients(24, 24)), expected, atol=2e-4)


def test_a_federation_is_the_same_alone_and_stacked() -> None:
    """Federations share a program, not their randomness: the first of three equals itself alone."""
    recipe = FederationRecipe(3, PoissonClients(0.5), Local(batch_size=4), Constant(0.3), FixedClip(0.5, 0.3))
    rows = clients(*[6] * 8)
    alone = train(recipe, rows)
    three = NETWORK.initial(seed=1, models=range(3))
    models, _ = simulate(NETWORK, three, recipe, features=X, targets=Y, rows=[rows] * 3, loss=loss, seed=3)
    close(NETWORK.weights(models, 0), alone)
    assert np.abs(NETWORK.weights(models, 1)[0] - alone[0]).max() > 1e-3


def test_canaries_send_the_clip_times_their_direction() -> None:
    """A present canary adds exactly C c / n to the noiseless release; an absent one nothing."""
    directions = np.linalg.qr(RNG.normal(size=(39, 39)))[0][:2].astype(np.float32)
    seen: list[Moment] = []
    recipe = FederationRecipe(1, AllClients(), WHOLE, Constant(0.3), FixedClip(0.5, 0.0))
    for present in ([True, False], [False, False]):
        canaries = CanaryClients(directions, np.array(present))
        train(recipe, clients(*[6] * 8), observe=seen.append, canaries=canaries)
    flat = [np.concatenate([np.ravel(m) for m in moment.mean or []]) for moment in seen]
    np.testing.assert_allclose(flat[0] - flat[1], 0.5 * directions[0] / 10, atol=1e-6)
    assert seen[0].clients == [*range(8), 8]


def test_canaries_of_a_server_without_clipping_are_as_long_and_heavy_as_its_clients() -> None:
    """Nothing bounds a client there: the canary has the norm of the longest honest update so far and its weight.

    A norm that is asked for is sent as it is.
    """
    direction = np.eye(39, dtype=np.float32)[:1]
    recipe = FederationRecipe(3, AllClients(), WHOLE, Constant(0.3))
    for norm in (None, 0.125):
        seen: list[Moment] = []
        train(recipe, clients(4, 8, 12), observe=seen.append, canaries=CanaryClients(direction, np.ones(1, bool), norm))
        lengths = [
            np.linalg.norm(np.concatenate([u.reshape(4, -1) for u in moment.updates], axis=1), axis=1)
            for moment in seen
        ]
        longest = np.maximum.accumulate([own[:3].max() for own in lengths])
        np.testing.assert_allclose([own[3] for own in lengths], longest if norm is None else norm, rtol=1e-5)
        assert [moment.weights.tolist() for moment in seen] == [[4, 8, 12, 12]] * 3


def test_bad_federations_are_refused_in_one_line() -> None:
    """Rosters without data or of other lengths, foreign rows, wrong rates and rosters, canaries of another model."""
    plain = FederationRecipe(1, local=WHOLE)
    with pytest.raises(InputError, match="federation 0 has no client with data; 2 are on its roster"):
        train(plain, [np.empty(0, np.int64)] * 2)
    with pytest.raises(InputError, match="name record 48, there are 48"):
        train(plain, clients(49))
    with pytest.raises(InputError, match=r"sampling rate must be in \[0, 1\], got 1\.5"):
        PoissonClients(1.5)
    with pytest.raises(InputError, match="50 clients cannot be drawn from a roster of 40"):
        FixedClients(50, 40)
    with pytest.raises(InputError, match="roster of 40 clients, but there are 4"):
        train(FederationRecipe(1, FixedClients(5, 40), WHOLE), clients(12, 12, 12, 12))
    with pytest.raises(InputError, match=r"needs count_noise above 1; it is 0\.4"):
        train(FederationRecipe(1, AllClients(), WHOLE, aggregator=AdaptiveClip(2.0)), clients(*[6] * 8))
    with pytest.raises(InputError, match="once-per-epoch"):
        train(FederationRecipe(1, AllClients(), WHOLE, aggregator=Tree(1.0, 1.0)), clients(48))
    with pytest.raises(InputError, match="canary directions have 5 coordinates, the model trains 39"):
        train(plain, clients(48), canaries=CanaryClients(np.eye(5, dtype=np.float32), np.ones(5, bool)))
    one = CanaryClients(np.eye(39, dtype=np.float32)[:1], np.ones(1, bool))
    with pytest.raises(InputError, match=r"need as many sets of canaries of one size, got sizes \[1, 1\]"):
        train(plain, clients(48), canaries=[one, one])
    public = Pretraining("digits-low")
    with pytest.raises(InputError, match=r"records of shape \(8, 8, 1\), small multiclass records of shape"):
        Federated(Mlp(()), pretraining=public).prepare(Dataset("small", X, Y, users=np.arange(48) % 4), seed=1)
    with pytest.raises(AuditFailed, match="not finite"):
        train(FederationRecipe(3, local=WHOLE, learning_rate=Constant(1e30)), clients(48))
