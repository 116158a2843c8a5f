"""Recurrent layers with weights: the input of all steps times its kernel is one product, the rest runs step by step.

With z_t = x_t W + b as what `apply` gives, a step adds h U to it, h the state before. The gradient with respect to z_t
is therefore also that of the recurrent product, so that per-example gradients of U follow from the states alone: they
are part of what the weights meet, once `unrolled` has run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dpaudit.engine.per_example_clipping import Contribution, kernel
from dpaudit.engine.shapes import affine, for_models, require_settings
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import tf

# The part of z that belongs to a step, and the states before it -> states after it, and what is kept of it; the first
# state is the output.
OneStep = Callable[[Any, tuple[Any, ...]], tuple[tuple[Any, ...], Any]]


@dataclass(frozen=True)
class Recurrent:
    """What both layers share.

    Args:
        units: width of a state.
        bias: there is one.
        sequences: the states of all steps are the output; otherwise the last.
        activation: of a state.
        gate: activation of the gates.
    """

    units: int
    bias: bool
    sequences: bool
    activation: Any
    gate: Any

    @classmethod
    def read(cls, layer: Any) -> Any:
        """From the Keras layer, refused with a setting that the stacked engine does not have."""
        refused = ("return_state", "go_backwards", "stateful", "time_major", "reset_after")
        wanted = {name: name == "reset_after" for name in refused if hasattr(layer, name)}
        require_settings(layer, **wanted)
        for name in ("dropout", "recurrent_dropout"):
            if getattr(layer, name):
                raise InputError(
                    f"layer {layer.name!r} has {name}={getattr(layer, name)!r}; the stacked engine drops out between "
                    "layers only: set it to 0 and put a Dropout layer before this one."
                )
        settings = (layer.units, layer.use_bias, layer.return_sequences, layer.activation, layer.recurrent_activation)
        return cls(*settings)

    def prepare(self, x: Any) -> Any:
        """The input, (models, examples, steps, channels)."""
        return x

    def _run(self, step: OneStep, a: Any, z: Any, states: int) -> tuple[Any, Any]:
        """The output, and the input beside what is kept of every step."""
        first = tuple(tf.zeros_like(z[:, :, 0, : self.units]) for _ in range(states))
        by_step = tf.transpose(z, [2, 0, 1, 3])

        def body(t: Any, held: tuple[Any, ...], outputs: Any, kept: Any) -> Any:
            after, what = step(by_step[t], held)
            return t + 1, after, outputs.write(t, after[0]), kept.write(t, what)

        steps = z.shape[2]
        empty = [tf.TensorArray(z.dtype, steps) for _ in range(2)]
        _, last, outputs, kept = tf.while_loop(
            lambda t, *_: t < steps, body, (tf.constant(0), first, *empty), maximum_iterations=steps
        )
        outputs, kept = (tf.transpose(each.stack(), [1, 2, 0, 3]) for each in (outputs, kept))
        output = outputs if self.sequences else last[0]
        return output, tf.concat([for_models(a, z.shape[0]), kept], axis=-1)


class Lstm(Recurrent):
    """Long short-term memory; gates in the order of Keras: input, forget, candidate, output."""

    def apply(self, weights: list[Any], a: Any) -> Any:
        """Shape (models, examples, steps, 4 units)."""
        return affine(a, weights[0], weights[2] if self.bias else None)

    def unrolled(self, weights: list[Any], a: Any, z: Any) -> tuple[Any, Any]:
        """The output, and the input beside the state before each step."""

        def step(z: Any, held: tuple[Any, ...]) -> tuple[tuple[Any, ...], Any]:
            state, memory = held
            entry, forget, candidate, exit_ = tf.split(z + tf.matmul(state, weights[1]), 4, axis=-1)
            memory = self.gate(forget) * memory + self.gate(entry) * self.activation(candidate)
            return (self.gate(exit_) * self.activation(memory), memory), state

        return self._run(step, a, z, 2)

    def contribution(self, a: Any, d: Any) -> Contribution:
        """One position for each step; both kernels have the same gradient of their product."""
        sums = kernel(a, d, bias=self.bias)
        channels = a.shape[-1] - self.units

        def weighted_sum(weights: Any) -> list[Any]:
            both, *rest = sums.weighted_sum(weights)
            return [both[:, :channels], both[:, channels:], *rest]

        return Contribution(sums.squared_norms, weighted_sum)


class Gru(Recurrent):
    """Gated recurrent unit with the reset after the product; gates in the order of Keras: update, reset, candidate."""

    def apply(self, weights: list[Any], a: Any) -> Any:
        """Shape (models, examples, steps, 3 units)."""
        return affine(a, weights[0], weights[2][:, 0] if self.bias else None)

    def unrolled(self, weights: list[Any], a: Any, z: Any) -> tuple[Any, Any]:
        """The output, and the input beside the state before each step and its reset gate."""

        def step(z: Any, held: tuple[Any, ...]) -> tuple[tuple[Any, ...], Any]:
            (state,) = held
            product = affine(state, weights[1], weights[2][:, 1] if self.bias else None)
            given, recurrent = tf.split(z, 3, axis=-1), tf.split(product, 3, axis=-1)
            update, reset = (self.gate(given[i] + recurrent[i]) for i in range(2))
            candidate = self.activation(given[2] + reset * recurrent[2])
            return (update * state + (1 - update) * candidate,), tf.concat([state, reset], axis=-1)

        return self._run(step, a, z, 1)

    def contribution(self, a: Any, d: Any) -> Contribution:
        """One position for each step; the recurrent candidate is met through the reset gate."""
        x, state, reset = tf.split(a, [a.shape[-1] - 2 * self.units, self.units, self.units], axis=-1)
        gates, candidate = tf.split(d, [2 * self.units, self.units], axis=-1)
        given = kernel(x, d, bias=self.bias)
        recurrent = kernel(state, tf.concat([gates, candidate * reset], axis=-1), bias=self.bias)

        def weighted_sum(weights: Any) -> list[Any]:
            first, second = given.weighted_sum(weights), recurrent.weighted_sum(weights)
            biases = [tf.stack([first[1], second[1]], axis=1)] if self.bias else []
            return [first[0], second[0], *biases]

        return Contribution(given.squared_norms + recurrent.squared_norms, weighted_sum)
