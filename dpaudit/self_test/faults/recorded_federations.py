"""Federations as their traces show them: right servers of several kinds, and what goes wrong in them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dpaudit.accounting.claim import FixedSize, GaussianSteps, Poisson
from dpaudit.accounting.mechanism import epsilon
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.trace import DpClaim, Manifest, Round, ServerStep, Trace

PARAMETERS, ROUNDS, CLIP, CLIENTS, PLANNED = 200, 40, 0.5, 400, 20
BY_COINS = DpClaim(
    epsilon=epsilon(GaussianSteps(1.0, ROUNDS, Poisson(PLANNED / CLIENTS)), delta=1e-5).epsilon,
    delta=1e-5,
    clip=CLIP,
    noise_multiplier=1.0,
    sampler="poisson",
    clients=PLANNED,
    of=CLIENTS,
    rounds=ROUNDS,
)
OF_FIXED_SIZE = replace(
    BY_COINS,
    sampler="fixed-size",
    adjacency="replace-one",
    epsilon=epsilon(
        GaussianSteps(1.0, ROUNDS, FixedSize(PLANNED, CLIENTS)), delta=1e-5, adjacency="replace-one"
    ).epsilon,
)
Pick = Callable[[np.random.Generator], IntArray]
ServerRule = Callable[[FloatArray, dict[str, FloatArray]], FloatArray]


def coins(rng: np.random.Generator) -> IntArray:
    """Each client by a coin, as accounted."""
    return np.flatnonzero(rng.random(CLIENTS) < PLANNED / CLIENTS)


def so_many(rng: np.random.Generator, number: int = PLANNED) -> IntArray:
    """A fixed number of clients."""
    return rng.choice(CLIENTS, number, replace=False)


def with_a_favourite(rng: np.random.Generator) -> IntArray:
    """Coins, and one client in every round."""
    return np.union1d(coins(rng), [7])


def sgd(rate: float) -> ServerRule:
    """Adds the average times a rate."""
    return lambda average, _: rate * average


def momentum(average: FloatArray, state: dict[str, FloatArray]) -> FloatArray:
    """Momentum 0.9 at a rate of 0.1."""
    state["v"] = 0.9 * state.get("v", np.zeros_like(average)) + average
    return 0.1 * state["v"]


def adam(average: FloatArray, state: dict[str, FloatArray]) -> FloatArray:
    """Adam without correction of the bias."""
    state["m"] = 0.9 * state.get("m", np.zeros_like(average)) + 0.1 * average
    state["v"] = 0.99 * state.get("v", np.zeros_like(average)) + 0.01 * average**2
    return 0.01 * state["m"] / (np.sqrt(state["v"]) + 1e-3)


def federation(
    rng: np.random.Generator,
    *,
    claim: DpClaim = BY_COINS,
    pick: Pick = coins,
    noise: float = 1.0,
    step: ServerRule | None = None,
    server: ServerStep | None = None,
    updates: bool = False,
    averages: bool = False,
    examples: tuple[int, int] | None = None,
) -> Trace:
    """A DP-FedAvg whose clients send random directions of the clip norm.

    Args:
        rng: of everything.
        claim: in the manifest.
        pick: the clients of a round.
        noise: multiplier that is really added.
        step: the server's own, plain addition unless given.
        server: what the manifest says of it.
        updates: whether the trace shows them.
        averages: whether the trace shows the noisy averages.
        examples: fewest and most examples of a client, by which updates are weighted; None where they count alike.
    """
    state: dict[str, FloatArray] = {}
    model, rounds = np.zeros(PARAMETERS), []
    moved = step if step is not None else sgd(1.0)
    for number in range(ROUNDS):
        clients = pick(rng)
        sent = rng.normal(size=(clients.size, PARAMETERS))
        sent *= CLIP / np.linalg.norm(sent, axis=1, keepdims=True)
        weights = (
            np.ones(clients.size) if examples is None else rng.integers(examples[0], examples[1] + 1, clients.size)
        )
        total = (sent * (weights / weights.mean())[:, None]).sum(axis=0) if clients.size else np.zeros(PARAMETERS)
        average = (total + noise * CLIP * rng.normal(size=PARAMETERS)) / PLANNED
        after = model + moved(average, state)
        shown: dict[str, tuple[FloatArray, ...]] = {
            str(client): (update,) for client, update in zip(clients, sent, strict=True)
        }
        rounds.append(
            Round(
                number,
                (model,),
                (after,),
                CLIP,
                clients.size,
                weights.astype(np.float64),
                shown if updates else None,
                average=(average,) if averages else None,
            )
        )
        model = after
    manifest = Manifest("self-test", ("w",), ((PARAMETERS,),), (True,), dp_claim=claim, rounds=ROUNDS, server=server)
    return Trace(manifest, tuple(rounds))
