"""What every round released, and the ε it adds up to. numpy and dp-accounting only."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dpaudit.accounting.claim import Adjacency, GaussianSteps
from dpaudit.accounting.mechanism import Accounted, epsilon
from dpaudit.runtime.errors import InputError


@dataclass(frozen=True)
class Entry:
    """One round in the ledger.

    Args:
        number: of the round, from 0.
        asked: clients that were asked.
        answered: clients whose update arrived.
        expected: what the noisy sum is divided by.
        clip: L2 norm updates were clipped to; None without clipping.
        noise_multiplier: of the round as its aggregator reports it; None without noise.
        refused: updates that were not finite and counted as zero.
        given_up: whether nothing was released.
        bytes_sent: by all clients together.
    """

    number: int
    asked: int
    answered: int
    expected: float
    clip: float | None
    noise_multiplier: float | None
    refused: int
    given_up: bool
    bytes_sent: int


def epsilon_by_round(
    mechanism: GaussianSteps,
    rounds: Sequence[int],
    *,
    total: int,
    delta: float,
    adjacency: Adjacency = "add-remove",
) -> list[Accounted]:
    """ε after some numbers of rounds.

    Args:
        mechanism: of the whole training of ``total`` rounds.
        rounds: how many rounds are done, each from 1 to ``total``.
        total: rounds of the training.
        delta: δ.
        adjacency: of users.

    >>> from dpaudit.accounting.claim import Poisson
    >>> whole = GaussianSteps(1.0, 100, Poisson(0.1), unit="user")
    >>> [round(found.epsilon, 2) for found in epsilon_by_round(whole, [1, 100], total=100, delta=1e-5)]
    [1.68, 7.05]
    """
    found = []
    for done in rounds:
        if not 1 <= done <= total:
            raise InputError(f"rounds must be from 1 to {total}, got {done}.")
        # One release may last for several rounds (a tree over an epoch): a begun one counts whole.
        steps = -(-done * mechanism.steps // total)
        found.append(epsilon(replace(mechanism, steps=steps), delta=delta, adjacency=adjacency))
    return found
