"""Mechanisms from Keras: an optimizer (TensorFlow Privacy's too) or a model with its own training step.

The probe model's loss on example i is Σ ⟨xᵢ, w⟩ over its variables, so its gradient for example i is xᵢ itself: the
optimizer sees exactly the per-example gradients the audit chooses.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dpaudit.inspection.mechanism import SHAPES, Array, Mechanism
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import keras, tf


def optimizer(
    build: Callable[[], Any],
    *,
    shapes: tuple[tuple[int, ...], ...] = SHAPES,
    batch_size: int = 32,
    learning_rate: float | None = None,
    partial: bool = True,
    seed: int,
) -> Mechanism:
    """A mechanism from a Keras optimizer that minimises a vector of per-example losses.

    Args:
        build: returns a new optimizer.
        shapes: shapes of the probe's variables.
        batch_size: examples in an ordinary batch.
        learning_rate: of a plain SGD optimizer: the release is then read off the weights, so that whatever happens
            after the gradient is seen too. Without it the release is what arrives at ``apply_gradients``.
        partial: whether it takes batches of other sizes: not with a fixed number of microbatches.
        seed: TensorFlow's global seed, without which its noise cannot be replayed; the audit sets it anew at will.
    """
    rate = None if learning_rate is None else check.positive("learning_rate", learning_rate)
    tf.random.set_seed(seed)
    built = _checked_optimizer(build())
    variables = [tf.Variable(tf.zeros(shape)) for shape in shapes]
    applied: list[Any] = []
    steps = built.iterations
    if rate is None:

        def record(pairs: Any, *_: Any, **__: Any) -> None:
            applied[:] = [(gradient, variable.ref()) for gradient, variable in pairs]
            steps.assign_add(1)  # as applying them would

        built.apply_gradients = record
    elif hasattr(built, "build"):
        built.build(variables)

    @tf.function(input_signature=[[tf.TensorSpec((None, *shape)) for shape in shapes]])  # type: ignore[untyped-decorator]
    def step(data: Any) -> Any:
        def losses() -> Any:
            rows = tf.shape(data[0])[0]
            terms = [
                tf.linalg.matvec(tf.reshape(x, [rows, v.shape.num_elements()]), tf.reshape(v, [-1]))
                for x, v in zip(data, variables, strict=True)
            ]
            return tf.add_n(terms)

        tape = tf.GradientTape()
        with tape:
            loss = losses()
        built.minimize(loss, variables, tape=tape)
        if rate is not None:
            return []
        by_variable = {reference: gradient for gradient, reference in applied}
        return [tf.zeros_like(v) if by_variable[v.ref()] is None else by_variable[v.ref()] for v in variables]

    start = _values(built)

    def reset() -> None:
        tf.random.set_seed(seed)
        _restore(built, start, counter=True)

    def release(gradients: Sequence[Array]) -> list[Array]:
        _restore(built, start)
        for variable in variables:
            variable.assign(tf.zeros_like(variable))
        recorded = _run(step, [tf.constant(g, tf.float32) for g in gradients])
        if rate is None:
            return [gradient.numpy() for gradient in recorded]
        return [-variable.numpy() / rate for variable in variables]

    return Mechanism(
        release,
        shapes=shapes,
        batch_size=batch_size,
        partial=partial,
        reset=reset,
        name=type(built).__name__,
    )


def model(
    build: Callable[[list[Any]], Any], *, inputs: int = 96, batch_size: int = 32, registered: bool = False, seed: int
) -> Mechanism:
    """A mechanism from a Keras model with a training step of its own, such as TensorFlow Privacy's ``DPModel``.

    Args:
        build: an input and the layer that follows it -> the uncompiled model, for example
            ``lambda layers: DPSequential(l2_norm_clip=1.0, noise_multiplier=1.1, layers=layers)``; a functional
            ``DPModel`` takes ``inputs=layers[0], outputs=layers[1](layers[0])``.
        inputs: numbers in one example; the probe has three variables of this many weights, or one when ``registered``.
        batch_size: examples in an ordinary batch.
        registered: probe with a ``Dense`` layer, which a layer registry for fast clipping knows.
        seed: TensorFlow's global seed, without which its noise cannot be replayed.
    """
    tf.random.set_seed(seed)
    count = 1 if registered else len(SHAPES)
    layer = keras.layers.Dense(1, use_bias=False) if registered else _Linear(count, inputs)
    width = inputs * count
    built = build([keras.Input((width,)), layer])
    # Fast clipping refuses a loss for each example, the other path needs one.
    reduction = keras.losses.Reduction.SUM_OVER_BATCH_SIZE if registered else keras.losses.Reduction.NONE
    built.compile(optimizer=keras.optimizers.SGD(1.0), loss=_Output(reduction=reduction))
    if not built.built:  # a subclass with a ``call`` of its own makes its variables when it sees a shape
        built.build((None, width))
    variables = built.trainable_variables
    built.optimizer.build(variables)
    start = _values(built.optimizer)

    # What ``train_on_batch`` calls, without a data set for each batch, and traced once for batches of any size: under
    # one global seed every trace draws the same noise.
    @tf.function(input_signature=[tf.TensorSpec((None, width)), tf.TensorSpec((None, 1))])  # type: ignore[untyped-decorator]
    def step(features: Any, targets: Any) -> None:
        built.train_step((features, targets))

    def reset() -> None:
        tf.random.set_seed(seed)
        _restore(built.optimizer, start, counter=True)

    def release(gradients: Sequence[Array]) -> list[Array]:
        _restore(built.optimizer, start)
        for variable in variables:
            variable.assign(tf.zeros_like(variable))
        features = np.concatenate([np.reshape(g, (len(g), inputs)) for g in gradients], axis=1).astype(np.float32)
        _run(step, tf.constant(features), tf.zeros((len(features), 1)))
        return [-variable.numpy() for variable in variables]

    _run(step.get_concrete_function)  # before the time of an inspection begins
    return Mechanism(
        release,
        shapes=tuple(tuple(variable.shape) for variable in variables),
        batch_size=batch_size,
        reset=reset,
        name=type(built).__name__,
    )


class _Output(keras.losses.Loss):  # type: ignore[misc]  # Keras has no types
    """The output itself, one value per example, so that an example is its own gradient."""

    def call(self, _: Any, output: Any) -> Any:
        """Outputs (batch, 1) -> losses (batch,)."""
        return output[:, 0]


class _Linear(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Σ ⟨x, w⟩ over several variables of one shape."""

    def __init__(self, count: int, inputs: int) -> None:
        super().__init__()
        self._weights_of_each = [self.add_weight(name=f"w{i}", shape=(inputs,)) for i in range(count)]

    def call(self, x: Any) -> Any:
        """Features (batch, count·inputs) -> (batch, 1)."""
        return tf.linalg.matvec(x, tf.concat(self._weights_of_each, axis=0))[:, None]


def _checked_optimizer(built: Any) -> Any:
    if not hasattr(built, "minimize") or not hasattr(built, "apply_gradients"):
        raise InputError(f"build must return a Keras optimizer, got {type(built).__name__}.")
    return built


def _values(built: Any) -> list[Any]:
    variables = built.variables() if callable(built.variables) else built.variables
    return [variable.numpy() for variable in variables]


def _restore(built: Any, start: list[Any], *, counter: bool = False) -> None:
    """Slots back to their start, so that a NaN canary does not live on in a momentum; the counter of steps when asked.

    A generator of noise may be keyed by the counter, so it runs on from call to call, as in a training.
    """
    variables = built.variables() if callable(built.variables) else built.variables
    steps = getattr(built, "iterations", None)
    for index, variable in enumerate(variables):
        if variable is steps and not counter:
            continue
        variable.assign(start[index] if index < len(start) else tf.zeros_like(variable))


def _run(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except tf.errors.OpError as error:
        raise RuntimeError(_reason(str(error.message))) from error


def _reason(message: str) -> str:
    """The line of TensorFlow's message that says what was wrong: the first one, or the last that names no node."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if not lines or not lines[0].endswith(":"):
        return lines[0] if lines else "TensorFlow gave no reason"
    said = [line for line in lines[1:] if not line.startswith(("[[", "Detected at node", "File "))]
    return said[-1] if said else lines[0]
