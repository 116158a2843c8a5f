"""A short training whose every gradient or update goes through a defence, to see what the defence costs."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dpaudit.attacks.gradient.view import Arrays
from dpaudit.audits.gradient.settings import DefenceSettings
from dpaudit.runtime.check import FloatArray


def train_under(
    victims: Any,
    chosen: DefenceSettings,
    delta: float,
    draw: Callable[[], tuple[FloatArray, FloatArray]],
    rng: np.random.Generator,
    *,
    start: Arrays,
    rate: float,
    steps: int,
) -> Any:
    """Parameters after some steps.

    A defence that asks for local epochs gets them.

    Args:
        victims: a `dpaudit.attacks.gradient.victims.Victims`.
        chosen: the defence.
        delta: of its ε.
        draw: records and targets of the next batch.
        rng: of the noise.
        start: the weights to begin with.
        rate: learning rate.
        steps: how many.
    """
    from dpaudit.runtime.tensorflow import tf

    defence = chosen.build(delta)
    parameters = victims.at(start)
    gradients = tf.function(victims.gradients, autograph=victims.runs_keras)
    for _ in range(steps):
        x, y = draw()
        if chosen.epochs:
            local = parameters
            for _ in range(chosen.epochs):
                slopes = gradients(local, tf.constant(x[None]), tf.constant(y[None]))
                local = tuple(p - rate * g for p, g in zip(local, slopes, strict=True))
            moved = tuple((after - before).numpy() for after, before in zip(local, parameters, strict=True))
            sent, _ = defence.compressed(defence.mean(moved, rng))
            parameters = tuple(p + u[None] for p, u in zip(parameters, sent, strict=True))
            continue
        each = tuple(g.numpy() for g in gradients(parameters, tf.constant(x[:, None]), tf.constant(y[:, None])))
        sent, _ = defence.compressed(defence.mean(each, rng))
        parameters = tuple(p - rate * g[None] for p, g in zip(parameters, sent, strict=True))
    return parameters
