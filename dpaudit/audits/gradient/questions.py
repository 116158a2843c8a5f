"""Victims whose server asks again, and what an attack makes of several gradients of one victim."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from dpaudit.attacks.gradient.defences import Defence
from dpaudit.attacks.gradient.view import Arrays, BatchGradient, ClientUpdate, Reconstruction
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import AuditFailed

View = BatchGradient | ClientUpdate


@runtime_checkable
class AsksAgain(Protocol):
    """A server that asks each client several times, each time with other weights."""

    queries: int

    def isolated(
        self, sent: Arrays, ask: Callable[[Arrays], Arrays], *, batch_size: int, noise: float, box: tuple[float, float]
    ) -> list[BatchGradient]:
        """The gradients that it gets apart."""
        ...


def questioned(
    server: AsksAgain,
    victims: Any,
    records: FloatArray,
    labels: IntArray,
    *,
    box: tuple[float, float],
    defence: Defence,
    rng: np.random.Generator,
) -> list[View]:
    """What a server gets apart of one victim's records.

    Args:
        server: it.
        victims: a `dpaudit.attacks.gradient.victims.Victims` with the weights of the first question.
        records: of the victim, shape (batch, ...).
        labels: their classes, (batch,).
        box: smallest and largest value a feature can take.
        defence: what the victim does before it answers.
        rng: of the noise; new noise on every answer.
    """
    from dpaudit.runtime.tensorflow import tf

    gradients = tf.function(victims.gradients, autograph=victims.runs_keras)
    each, targets = tf.constant(records[:, None]), tf.constant(np.eye(victims.classes)[labels][:, None])

    def ask(weights: Arrays) -> Arrays:
        answers = tuple(part.numpy() for part in gradients(victims.at(weights), each, targets))
        return defence.compressed(defence.mean(answers, rng))[0]

    noise = defence.deviation / len(records)
    return list(server.isolated(victims.weights, ask, batch_size=len(records), noise=noise, box=box))


def attacked(
    together: Callable[[Sequence[View]], list[Reconstruction]], views: Sequence[Sequence[View]], shape: tuple[int, ...]
) -> list[Reconstruction]:
    """One reconstruction for each victim, of all gradients of it.

    Args:
        together: the attack.
        views: of each victim.
        shape: of a record.

    Raises:
        AuditFailed: no victim has any.
    """
    every = [view for each in views for view in each]
    if not every:
        raise AuditFailed("the server did not get a single record apart from the others.")
    found = iter(together(every))
    return [joined([next(found) for _ in each], shape) for each in views]


def joined(found: Sequence[Reconstruction], shape: tuple[int, ...]) -> Reconstruction:
    """Reconstructions of one victim as one; a single one stays as it is.

    >>> joined([Reconstruction(np.ones((1, 2))), Reconstruction(np.zeros((1, 2)))], (2,)).records.tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """
    if len(found) == 1:
        return found[0]
    return Reconstruction(
        np.concatenate([np.empty((0, *shape)), *(each.records.reshape(-1, *shape) for each in found)])
    )
