"""Learning rates over a training, as values: steps -> the rate of each step, without TensorFlow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError


class Schedule(Protocol):
    """The learning rate of every step of a training."""

    def __call__(self, steps: int) -> FloatArray:
        """Rates, shape (steps,)."""
        ...


@dataclass(frozen=True)
class Constant:
    """The same rate at every step.

    >>> Constant(0.1)(3)
    array([0.1, 0.1, 0.1])
    """

    rate: float

    def __post_init__(self) -> None:
        check.positive("learning rate", self.rate)

    def __call__(self, steps: int) -> FloatArray:
        """Rates, shape (steps,)."""
        return np.full(steps, float(self.rate))


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from ``rate`` down to ``final`` times it, after a linear rise over ``warmup`` of the steps.

    Source: `Loshchilov and Hutter (2016) <https://arxiv.org/abs/1608.03983>`_.

    >>> Cosine(1.0)(4).round(3)
    array([1.   , 0.854, 0.5  , 0.146])
    """

    rate: float
    final: float = 0.0
    warmup: float = 0.0

    def __post_init__(self) -> None:
        check.positive("learning rate", self.rate)
        check.probability("final", self.final)
        check.probability("warmup", self.warmup)

    def __call__(self, steps: int) -> FloatArray:
        """Rates, shape (steps,)."""
        rising = round(self.warmup * steps)
        rise = np.arange(1, rising + 1) / max(rising, 1)
        turn = np.arange(steps - rising) / max(steps - rising, 1)
        fall = self.final + (1 - self.final) * (1 + np.cos(np.pi * turn)) / 2
        return np.asarray(np.concatenate([rise, fall]) * self.rate, np.float64)


@dataclass(frozen=True)
class Steps:
    """``rate`` times ``factor`` for every share of the training in ``at`` that has passed.

    >>> Steps(1.0, at=(0.5, 0.75), factor=0.1)(4)
    array([1.  , 1.  , 0.1 , 0.01])
    """

    rate: float
    at: Sequence[float]
    factor: float = 0.1

    def __post_init__(self) -> None:
        check.positive("learning rate", self.rate)
        check.positive("factor", self.factor)
        if list(self.at) != sorted(check.open_unit("at", share) for share in self.at):
            raise InputError(f"at must be increasing shares of the training, got {tuple(self.at)}.")

    def __call__(self, steps: int) -> FloatArray:
        """Rates, shape (steps,)."""
        passed = sum((np.arange(steps) >= share * steps).astype(int) for share in self.at)
        return np.asarray(self.rate * self.factor**passed * np.ones(steps), np.float64)
