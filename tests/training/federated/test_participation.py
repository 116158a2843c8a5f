"""Who takes part in a round, and what absence and trouble change."""

import numpy as np
import pytest

from dpaudit.engine.schedules import Constant
from dpaudit.training.federated.aggregation import (
    FixedClip,
)
from dpaudit.training.federated.local import Local
from dpaudit.training.federated.participation import AllClients, FixedClients, OncePerEpoch, PoissonClients, Trouble
from dpaudit.training.federated.simulation import FederationRecipe, Moment
from tests.training.federated.small import WHOLE, clients, clipped_mean, close, keras_sgd, train

pytestmark = pytest.mark.tf


def test_an_absent_client_changes_nothing_for_the_others() -> None:
    """Taking a client's records away changes neither who is asked nor what the others send in the first round."""
    recipe = FederationRecipe(1, PoissonClients(0.7), Local(batch_size=4), Constant(0.3), FixedClip(0.5, 0.0))
    rows = clients(*[6] * 8)
    seen: list[Moment] = []
    train(recipe, rows, observe=seen.append)
    gone = seen[0].clients[2]
    without = [own if c != gone else own[:0] for c, own in enumerate(rows)]
    train(recipe, without, observe=seen.append)
    assert seen[1].clients == [c for c in seen[0].clients if c != gone]
    kept = [i for i, c in enumerate(seen[0].clients) if c != gone]
    close(seen[1].updates, [u[kept] for u in seen[0].updates])


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
    rows = clients(*[6] * 8)
    recipe = FederationRecipe(1, AllClients(), WHOLE, Constant(0.3), FixedClip(0.5, 0.0), trouble=Trouble(drop_out=0.5))
    train(recipe, rows, observe=seen.append)
    answered = seen[0].entry.answered
    assert 0 < answered < 8
    assert seen[0].mean is not None
    close(seen[0].mean, clipped_mean(seen[0].updates, 0.5, 8.0))
    slow = FederationRecipe(
        1, local=Local(epochs=4, batch_size="all"), trouble=Trouble(straggle=1.0), learning_rate=Constant(0.3)
    )
    close(train(slow, clients(48)), keras_sgd(np.arange(48), steps=2, rate=0.3))
