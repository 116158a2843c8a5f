"""Optimisers as Keras defines them, on parameters with a leading model axis; the update is elementwise.

An optimiser is a value: ``start`` gives the state of a parameter, the call one update of it. Weight decay is added
by the caller's learning-rate times parameter, outside of what is clipped and noised.
"""

from dataclasses import dataclass
from typing import Any

from dpaudit.runtime import check
from dpaudit.runtime.tensorflow import tf

State = tuple[Any, ...]


@dataclass(frozen=True)
class GradientDescent:
    """Gradient descent, with momentum when it is above 0."""

    momentum: float = 0.0

    def __post_init__(self) -> None:
        check.probability("momentum", self.momentum)

    def start(self, parameter: Any) -> State:
        """The velocity, when there is one."""
        return (tf.zeros_like(parameter),) if self.momentum else ()

    def __call__(self, gradient: Any, state: State, rate: Any, step: Any) -> tuple[Any, State]:
        """What is added to the parameter, and the new state."""
        if not self.momentum:
            return -rate * gradient, ()
        velocity = self.momentum * state[0] - rate * gradient
        return velocity, (velocity,)


@dataclass(frozen=True)
class Adam:
    """Adam (`Kingma and Ba (2014) <https://arxiv.org/abs/1412.6980>`_)."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-7

    def __post_init__(self) -> None:
        check.open_unit("beta1", self.beta1)
        check.open_unit("beta2", self.beta2)
        check.positive("epsilon", self.epsilon)

    def start(self, parameter: Any) -> State:
        """First and second moment."""
        return tf.zeros_like(parameter), tf.zeros_like(parameter)

    def __call__(self, gradient: Any, state: State, rate: Any, step: Any) -> tuple[Any, State]:
        """What is added to the parameter, and the new state."""
        first = state[0] + (1 - self.beta1) * (gradient - state[0])
        second = state[1] + (1 - self.beta2) * (gradient * gradient - state[1])
        taken = tf.cast(step + 1, tf.float32)
        corrected = rate * tf.sqrt(1 - tf.pow(self.beta2, taken)) / (1 - tf.pow(self.beta1, taken))
        return -corrected * first / (tf.sqrt(second) + self.epsilon), (first, second)


Optimizer = GradientDescent | Adam
