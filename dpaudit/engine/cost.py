"""What a network costs per example: multiply-adds, and numbers held between the forward and the backward pass."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

from dpaudit.engine.network import Network
from dpaudit.engine.recurrent_layers import Gru, Lstm
from dpaudit.runtime.tensorflow import tf

# Below this many multiply-adds per step a copy is stacked with others, so that the cost of starting an operation is
# shared; above, one copy at a time keeps its parameters and activations in the cache (measured on two cores).
BUSY = 5e6
LARGEST_STACK = 64
# Of activations in one part of a batch: few enough to stay in a core's cache from one operation to the next.
PART_BYTES = 1_500_000
ROWS = 1024  # of a part of a batch of sequences, positions of all examples together
PREPARED_BYTES = 2**29  # of inputs prepared once for all records, such as the patches of a first convolution


@dataclass(frozen=True)
class Cost:
    """Per example of one copy: ``multiply_adds`` of a training step, ``floats`` held, and ``prepared`` of them that
    the first layer's weights meet and no copy changes; trained ``parameters`` per copy; ``positions`` of an output for
    each; and ``frozen`` parameters that all copies share. ``is_mixed``: a batch is taken whole, as its examples act on
    each other.
    """

    multiply_adds: int
    floats: int
    prepared: int
    parameters: int
    positions: int = 0
    frozen: int = 0
    is_mixed: bool = False

    def stack(self, batch_size: int) -> int:
        """How many copies to train as one program with batches of that length: a power of two."""
        wanted = min(LARGEST_STACK, math.ceil(BUSY / (self.multiply_adds * batch_size)))
        return 1 << (wanted - 1).bit_length()

    def part(self, batch_size: int, examples: int, *, at_least: int) -> int:
        """How many of that many examples to take at a time, in ``at_least`` parts."""
        if self.is_mixed:
            return examples
        held = 4 * self.floats * self.stack(batch_size) * examples
        length = -(-examples // max(at_least, -(-held // PART_BYTES)))
        # The products of a layer over positions are efficient from so many rows on.
        return length if not self.positions else min(examples, max(length, -(-ROWS // self.positions)))

    def data_bytes(self, records: int) -> int:
        """Predicted bytes of the inputs prepared for all records, while they are put together."""
        return 2 * 4 * self.prepared * records if is_prepared(self, records) else 0

    @property
    def model_bytes(self) -> int:
        """Predicted bytes of one copy between steps: its weights, what a program returns beside them, two moments."""
        return 4 * 6 * self.parameters

    def step_bytes(self, batch_size: int) -> int:
        """Predicted peak of one step of one program: activations and slopes, gradients, noise and state."""
        length = self.part(batch_size, batch_size, at_least=1)
        return 4 * self.stack(batch_size) * (3 * self.floats * length + 6 * self.parameters) + 4 * 2 * self.frozen


def is_prepared(cost: Cost, records: int) -> bool:
    """Whether the first layer's inputs are prepared once for all records."""
    return 0 < 4 * cost.prepared * records <= PREPARED_BYTES


@lru_cache(maxsize=16)
def cost(network: Network) -> Cost:
    """Measured on the shapes of one example."""
    parameters = tuple(tf.zeros([1, *variable.shape]) for variable in network.variables)
    x = tf.zeros([1, 1, *network.input_shape])
    # Frozen layers too: they are run forwards, and the gradient passes through them.
    every = replace(network, nodes=tuple(replace(node, trainable=node.weighted is not None) for node in network.nodes))
    taps = every.traced(parameters, x, None, lambda _: None).taps
    floats = multiply_adds = 0
    for tap in taps:
        floats += int(tf.size(tap.a)) + int(tf.size(tap.z))
        looked_up = not tap.a.dtype.is_floating
        shapes = [network.variables[i].shape for i in tap.node.variables]
        kernel = int(tap.z.shape[-1]) if looked_up else max(math.prod(shape) for shape in shapes)
        if isinstance(tap.node.weighted, Gru | Lstm):  # a step does both products
            kernel = math.prod(shapes[0]) + math.prod(shapes[1])
        positions = int(tf.size(tap.z)) // int(tap.z.shape[-1])
        is_trained = network.variables[tap.node.variables[0]].trainable
        multiply_adds += (3 if is_trained else 2) * positions * kernel
    prepared = 0 if network.head is None else int(tf.size(network.prepared(x)))
    trained, frozen = (
        sum(math.prod(variable.shape) for variable in network.variables if variable.is_own is kind)
        for kind in (True, False)
    )
    positions_each = network.output_shape[0] if len(network.output_shape) == 2 else 0
    return Cost(multiply_adds, floats, prepared, trained, positions_each, frozen, bool(network.moving))
