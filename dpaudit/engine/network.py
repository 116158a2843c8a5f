"""A Keras model read into a program that runs many copies of it.

Parameters are a tuple of float32 tensors, one per Keras variable and in the order of ``model.weights``, each with a
leading model axis; those of adapters follow. A frozen variable is held once, with an axis of 1, where all copies have
the same. Everything a copy computes depends on its own slice only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dpaudit.engine.adapter import Adapter
from dpaudit.engine.initial_weights import initializers
from dpaudit.engine.layers import BatchNormalization
from dpaudit.engine.losses import token_losses
from dpaudit.engine.low_rank import Factors, with_adapters
from dpaudit.engine.randomness import Stream, uniform
from dpaudit.engine.read_keras import Node, Variable, read
from dpaudit.engine.recurrent_layers import Gru, Lstm
from dpaudit.engine.shapes import for_models
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import tf

Parameters = tuple[Any, ...]
LayerWatch = Callable[[Any], None]
TEXTS_AT_A_TIME = 128  # logits of all their positions are held together


@dataclass(frozen=True)
class Tap:
    """What a weighted layer did in one forward pass: what its weights met, and its output before the activation."""

    node: Node
    a: Any
    z: Any


class Pass(NamedTuple):
    """One forward pass: outputs (models, examples, ...), taps of the trained layers, and the running averages after it
    in the order of `Network.moving`.
    """

    outputs: Any
    taps: list[Tap]
    moved: list[Any]


@dataclass(frozen=True)
class Network:
    """Many copies of one Keras model as one TensorFlow program.

    >>> from dpaudit.runtime.tensorflow import keras
    >>> network = Network.from_keras(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]))
    >>> parameters = network.initial(seed=1, models=range(5))
    >>> network.forward(parameters, np.zeros((2, 4), np.float32)).shape.as_list()
    [5, 2, 3]
    """

    nodes: tuple[Node, ...]
    variables: tuple[Variable, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    model: Any
    is_started: bool = False
    factors: tuple[Factors, ...] = ()

    @classmethod
    def from_keras(cls, model: Any, *, is_started: bool = False, mixes_examples: bool = False) -> "Network":
        """Read a Sequential or acyclic Functional model with one input and one output.

        Args:
            model: the Keras model.
            is_started: whether every copy starts from the weights it has; otherwise they are drawn anew.
            mixes_examples: take a BatchNormalization that trains, which leaves no example a gradient of its own.

        Raises:
            InputError: a layer the stacked engine cannot run or that mixes examples, a regulariser, a layer used
                twice, or no trainable weights; the message names the layer and the trainer that can take it.
        """
        return cls(*read(model, mixes_examples=mixes_examples), model, is_started)

    def adapted(self, adapter: Adapter) -> "Network":
        """The network with its weights frozen and low-rank adapters beside its kernels, which alone are trained.

        Raises:
            InputError: no such layer with a kernel, or a rank above the smaller side of one.
        """
        nodes, variables, factors = with_adapters(self.nodes, self.variables, adapter)
        return replace(self, nodes=nodes, variables=variables, factors=factors)

    @property
    def trainable(self) -> tuple[int, ...]:
        """Positions of the variables that are trained."""
        return tuple(i for i, variable in enumerate(self.variables) if variable.trainable)

    @property
    def moving(self) -> tuple[int, ...]:
        """Positions of running averages that a training changes; with any, it mixes the examples of a batch."""
        return tuple(i for i, variable in enumerate(self.variables) if variable.moves)

    def copies(self, parameters: Parameters) -> int:
        """How many copies parameters are of."""
        return int(parameters[self.trainable[0]].shape[0])

    def trained(self, parameters: Parameters) -> Parameters:
        """Values of the variables that training changes: those that are trained, then the running averages."""
        return tuple(parameters[i] for i in (*self.trainable, *self.moving))

    def with_trained(self, parameters: Parameters, trained: Sequence[Any]) -> Parameters:
        """Parameters with other values of the variables that training changes, in the order of `trained`."""
        changed = list(parameters)
        for position, value in zip((*self.trainable, *self.moving), trained, strict=True):
            changed[position] = value
        return tuple(changed)

    def of_copies(self, parameters: Parameters, change: Callable[[Any], Any]) -> Parameters:
        """Parameters with a change of their model axis; a frozen variable that is held once stays as it is."""
        return tuple(
            value if value.shape[0] == 1 and not variable.is_own else change(value)
            for variable, value in zip(self.variables, parameters, strict=True)
        )

    def initial(self, *, seed: int, models: Sequence[int]) -> Parameters:
        """Copies at their start, each from (seed, model) alone; frozen variables keep the model's own values.

        So do all others where the network `is_started`; adapters begin at zero.

        Args:
            seed: of the whole family of models.
            models: number of each model in that family, for example ``range(64)`` or a part of it.
        """
        draws = [*initializers(self.model), *(draw for pair in self.factors for draw in pair.draws)]
        held = len(self.model.weights)
        values = []
        for position, variable in enumerate(self.variables):
            if position < held and (self.is_started or not variable.is_own):
                own = tf.convert_to_tensor(self.model.weights[position])[None]
                values.append(tf.repeat(own, len(models), axis=0) if variable.is_own else own)
                continue
            copies = [draws[position](variable.shape, seed, model, position) for model in models]
            values.append(tf.stack([tf.convert_to_tensor(copy) for copy in copies]))
        return tuple(values)

    def stack(self, weights: Sequence[Sequence[npt.NDArray[np.float32]]]) -> Parameters:
        """Parameters from each copy's weights, in the order of ``variables``."""
        for i, copy in enumerate(weights):
            shapes = [np.shape(value) for value in copy]
            wanted = [variable.shape for variable in self.variables]
            if shapes != wanted:
                raise InputError(f"weights of model {i} must have shapes {wanted}, got {shapes}.")
        columns = list(zip(*weights, strict=True))
        for i, variable in enumerate(self.variables):
            if not variable.is_own and all(value is columns[i][0] for value in columns[i]):
                columns[i] = columns[i][:1]
        return tuple(tf.constant(np.stack(column), tf.float32) for column in columns)

    def started(
        self, weights: Sequence[Sequence[npt.NDArray[np.float32]]], seed: int, models: Sequence[int]
    ) -> Parameters:
        """Copies that start from given weights, in the order of ``model.get_weights()``; adapters as in `initial`."""
        drawn = self.initial(seed=seed, models=models)[len(self.model.weights) :]
        own = [[*given, *(value[i].numpy() for value in drawn)] for i, given in enumerate(weights)]
        return self.stack(own)

    def weights(self, parameters: Parameters, index: int) -> list[npt.NDArray[np.float32]]:
        """Weights of one copy, in the order of ``variables``."""
        return [np.asarray(value[0]) for value in self.of_copies(parameters, lambda value: value[index][None])]

    def merged(self, parameters: Parameters, index: int) -> list[npt.NDArray[np.float32]]:
        """Weights of one copy in the order of ``model.get_weights()``, each adapter added to its kernel."""
        weights = self.weights(parameters, index)
        for pair in self.factors:
            weights[pair.kernel] = pair.added(weights)
        return weights[: len(self.model.weights)]

    def to_keras(self, parameters: Parameters, index: int) -> Any:
        """One copy as a new Keras model."""
        copy = self.model.__class__.from_config(self.model.get_config())
        copy.build((None, *self.input_shape))
        copy.set_weights(self.merged(parameters, index))
        return copy

    def forward(self, parameters: Parameters, x: Any, *, dropout: Stream | None = None) -> Any:
        """Outputs of every copy, shape (models, examples, ...).

        Args:
            parameters: of this network.
            x: inputs, either shared by the models (examples, ...) or their own (models, examples, ...).
            dropout: where dropout takes its randomness from; None is inference.
        """
        return self.traced(parameters, self.per_model(x), dropout, lambda _: None).outputs

    def predict(self, parameters: Parameters, x: npt.NDArray[np.float32], *, batch_size: int = 1024) -> FloatArray:
        """Outputs of every copy on shared inputs (examples, ...), float64, in batches."""
        inference = self.inference(self.copies(parameters))
        parts = [
            inference(parameters, tf.constant(x[start : start + batch_size], tf.float32)).numpy()
            for start in range(0, len(x), batch_size)
        ]
        outputs: FloatArray = np.concatenate(parts, axis=1).astype(np.float64)
        return outputs

    def predict_token_losses(self, parameters: Parameters, tokens: npt.NDArray[np.float32]) -> FloatArray:
        """The loss of each token but the first, of every copy on shared texts (examples, 1 + positions), float64."""
        inference = self.inference(self.copies(parameters))
        parts = []
        for start in range(0, len(tokens), TEXTS_AT_A_TIME):
            some = tf.constant(tokens[start : start + TEXTS_AT_A_TIME], tf.float32)
            logits = inference(parameters, some[:, :-1])
            parts.append(token_losses(logits, tf.broadcast_to(some[None], [logits.shape[0], *some.shape])).numpy())
        losses: FloatArray = np.concatenate(parts, axis=1).astype(np.float64)
        return losses

    def inference(self, models: int) -> Any:
        """`forward` as a graph for so many copies, traced once for all that are asked one after the other.

        A graph for any number of copies would have shapes that strided convolutions cannot take.
        """
        if models not in self._inferences:
            self._inferences[models] = tf.function(self.forward, reduce_retracing=True, autograph=False)
        return self._inferences[models]

    @cached_property
    def _inferences(self) -> dict[int, Any]:
        return {}

    def per_model(self, x: Any) -> Any:
        """Inputs with a leading model axis, of length 1 when they are shared."""
        tensor = tf.convert_to_tensor(x)
        rank = len(self.input_shape)
        if tuple(tensor.shape[tensor.shape.rank - rank :]) != self.input_shape or tensor.shape.rank not in (
            rank + 1,
            rank + 2,
        ):
            raise InputError(
                f"inputs must have shape (examples, *{self.input_shape}) or (models, examples, *{self.input_shape}), "
                f"got {tuple(tensor.shape)}."
            )
        return tensor if tensor.shape.rank == rank + 2 else tensor[None]

    @cached_property
    def head(self) -> int | None:
        """Position of the first weighted layer when all before it is a chain without weights or chance, else None.

        What such a layer's weights meet is the same at every step, so it can be prepared once for all records.
        """
        for position, node in enumerate(self.nodes):
            readers = [later for later in self.nodes if position in later.inputs]
            if node.inputs != (position,) or len(readers) != 1 or node.dropout:
                return None
            if node.weighted is not None:
                return position
        return None

    def prepared(self, x: Any) -> Any:
        """What the first weighted layer (`head`) meets for inputs with a leading model axis."""
        value = x
        for node in self.nodes[: self.head]:
            value = _plainly(node, [value], 1)
        weighted = self.nodes[self.head].weighted  # type: ignore[index]  # asked for only where there is a head
        return weighted.prepare(value)  # type: ignore[union-attr]  # the head has weights

    def traced(
        self,
        parameters: Parameters,
        x: Any,
        dropout: Stream | None,
        watch: LayerWatch,
        *,
        is_prepared: bool = False,
        batch: Any = None,
    ) -> Pass:
        """Outputs, and the taps of the trained layers; ``watch`` is called on each tap's z before it is used.

        With ``is_prepared``, x is what `prepared` gave. ``batch`` says which examples make the batch whose statistics a
        BatchNormalization takes, (models, examples); None is inference.
        """
        models = self.copies(parameters)
        first = self.head if is_prepared else 0
        values = [x] * ((first or 0) + 1)
        taps, moved = list[Tap](), list[Any]()
        for position, node in enumerate(self.nodes[first:], start=first or 0):
            inputs = [values[i] for i in node.inputs]
            if node.weighted is not None:
                met = inputs[0] if is_prepared and position == first else node.weighted.prepare(inputs[0])
                weights = [parameters[i] for i in node.variables]
                if isinstance(node.weighted, BatchNormalization):
                    met, averages = node.weighted.normalised(weights, met, batch)
                    moved += averages
                z = value = node.weighted.apply(weights, met)
                if node.trainable:
                    watch(z)
                if isinstance(node.weighted, Gru | Lstm):
                    value, met = node.weighted.unrolled(weights, met, z)
                if node.trainable:
                    taps.append(Tap(node, met, z))
                value = value if node.plain is None else node.plain(value)
            elif node.dropout:
                value = (
                    inputs[0]
                    if dropout is None
                    else _dropped(inputs[0], node.dropout, dropout.named(str(position)), models)
                )
            else:
                value = _plainly(node, inputs, models)
            values.append(value)
        return Pass(for_models(values[-1], models), taps, moved)


def _plainly(node: Node, inputs: list[Any], models: int) -> Any:
    return node.pooling.largest(inputs[0]) if node.pooling is not None else _merged(node.plain, inputs, models)


def _merged(layer: Any, inputs: list[Any], models: int) -> Any:
    """A Keras layer without weights, applied with models and examples merged into one batch axis."""
    if layer is None:
        return inputs[0]
    if len({value.shape[0] for value in inputs}) > 1:
        inputs = [for_models(value, models) for value in inputs]
    leading = inputs[0].shape[0]
    merged = [tf.reshape(value, [-1, *value.shape[2:]]) for value in inputs]
    value = layer(merged if len(merged) > 1 else merged[0])
    return tf.reshape(value, [leading, tf.shape(inputs[0])[1], *value.shape[1:]])


def _dropped(x: Any, rate: float, stream: Stream, models: int) -> Any:
    stack = for_models(x, models)
    width = int(stack.shape[2:].num_elements())
    kept = uniform(stream, tf.shape(stack)[1], width) >= rate
    return tf.where(tf.reshape(kept, tf.shape(stack)), stack / (1 - rate), 0.0)
