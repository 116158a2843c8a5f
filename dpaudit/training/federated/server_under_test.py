"""A server under test from a federation of our own: its aggregator, round after round."""

from collections.abc import Sequence
from itertools import count

import numpy as np

from dpaudit.accounting.claim import Adjacency
from dpaudit.bounds.lower_bound import Skipped
from dpaudit.inspection.array_adapters import Aggregate
from dpaudit.inspection.mechanism import Array, Stated
from dpaudit.inspection.server import Server
from dpaudit.inspection.under_test import UnderTest
from dpaudit.runtime.tensorflow import tf
from dpaudit.training.federated.aggregation import AdaptiveClip, FixedClip, NamedAggregator
from dpaudit.training.federated.participation import FixedClients, Participation
from dpaudit.training.federated.queries import Aggregation

# Small arrays, for a question costs a pass over them; two of one shape, as in `dpaudit.inspection.mechanism`.
SHAPES: tuple[tuple[int, ...], ...] = ((6, 8), (6, 8), (48,))


def server_of(
    aggregator: NamedAggregator, participation: Participation, clients: int, *, seed: int
) -> UnderTest | Skipped:
    """The aggregator of a federation as a server, and what it states; a reason where no round stands for itself.

    Args:
        aggregator: of the federation.
        participation: how its clients are sampled.
        clients: on its roster.
        seed: of the noise of the first start; later starts count up.
    """
    expected = participation.expected(clients)
    if not isinstance(aggregator, FixedClip | AdaptiveClip):
        return Skipped(
            f"aggregation of kind {aggregator.kind!r} has no server that clips, sums and adds fresh noise in every "
            "round; write a factory for it and use `dpaudit inspect`"
        )
    seeds = [count(seed)]

    def reset() -> None:
        seeds[0] = count(seed)

    def start() -> Aggregate:
        aggregation = Aggregation(aggregator, SHAPES, expected, participation, next(seeds[0]))
        state, rounds = aggregation.start(), count()

        def aggregate(model: Sequence[Array], updates: Sequence[Array], weights: Array) -> list[Array]:
            nonlocal state
            sent = [tf.constant(update, tf.float32) for update in updates]
            answering = range(len(weights))
            found = aggregation(state, sent, np.asarray(weights, np.float64), answering, round_number=next(rounds))
            state = found.state
            assert found.mean is not None  # only rounds of other aggregators are given up
            return [old + np.asarray(change, np.float64) for old, change in zip(model, found.mean, strict=True)]

        return aggregate

    count_noise = aggregator.count_stddev(expected) if isinstance(aggregator, AdaptiveClip) else None
    adaptive, size = isinstance(aggregator, AdaptiveClip), max(4, round(expected))
    # Rounds of a fixed number of clients have no add-remove accounting.
    adjacency: Adjacency = "zero-out" if isinstance(participation, FixedClients) else "add-remove"
    return UnderTest(
        Server(start, adaptive, size, SHAPES, reset=reset, count_noise=count_noise),
        Stated(aggregator.clip, aggregator.noise_multiplier, expected, adjacency),
    )
