"""Mechanisms from what people have: a training step, a federated aggregator. numpy only; Keras is in `keras`."""

from collections.abc import Callable, Sequence

import numpy as np

from dpaudit.inspection.mechanism import SHAPES, Array, Mechanism
from dpaudit.runtime import check

Step = Callable[[Sequence[Array], Sequence[Array]], Sequence[Array]]
Aggregate = Callable[[Sequence[Array], Sequence[Array], Array], Sequence[Array]]


def training_step(
    step: Step, *, learning_rate: float, shapes: tuple[tuple[int, ...], ...] = SHAPES, batch_size: int = 32
) -> Mechanism:
    """A mechanism from one step of plain SGD, in any framework.

    Args:
        step: (weights, data) -> new weights, where the model's loss on example i is Σ ⟨dataᵢ, weights⟩ over the
            variables, so that its gradient is dataᵢ itself. Weights have the shapes, data (batch, \\*shape).
        learning_rate: what the step multiplies the gradient with.
        shapes: shapes of the weights.
        batch_size: examples in an ordinary batch.

    >>> def step(weights, data):
    ...     return [w - 0.1 * x.sum(axis=0) for w, x in zip(weights, data)]
    >>> sgd = training_step(step, learning_rate=0.1)
    >>> float(sgd.release([np.ones((2, 12, 8)), np.ones((2, 12, 8)), np.ones((2, 80))])[2][0].round(6))
    2.0
    """
    rate = check.positive("learning_rate", learning_rate)

    def release(gradients: Sequence[Array]) -> list[Array]:
        start = [np.zeros(shape, np.float32) for shape in shapes]
        stop = step(start, gradients)
        return [-np.asarray(new, np.float64) / rate for new in stop]

    return Mechanism(release, shapes=shapes, batch_size=batch_size, name="training step")


def aggregator(
    aggregate: Aggregate, *, shapes: tuple[tuple[int, ...], ...] = SHAPES, clients: int = 32, weight: float = 1.0
) -> Mechanism:
    """A mechanism from a federated server's aggregation: one client is one example, its update the gradient.

    Args:
        aggregate: (model, updates, weights) -> new model, with updates (clients, \\*shape) and weights (clients,):
            the numbers of examples that clients report.
        shapes: shapes of the model's arrays.
        clients: clients in an ordinary round.
        weight: weight every client reports.
    """

    def release(updates: Sequence[Array]) -> list[Array]:
        model = [np.zeros(shape, np.float32) for shape in shapes]
        new = aggregate(model, updates, np.full(len(updates[0]), weight, np.float32))
        return [np.asarray(array, np.float64) for array in new]

    return Mechanism(release, shapes=shapes, batch_size=clients, name="aggregator")
