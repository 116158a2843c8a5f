"""What a network costs per example: multiply-adds, and numbers held between the forward and the backward pass."""

import math
from dataclasses import dataclass
from functools import lru_cache

from dpaudit._tensorflow import tf
from dpaudit.stacked.network import Network

# Below this many multiply-adds per step a copy is stacked with others, so that the cost of starting an operation is
# shared; above, one copy at a time keeps its parameters and activations in the cache (measured on two cores).
BUSY = 5e6
LARGEST_STACK = 64


@dataclass(frozen=True)
class Cost:
    """Per example of one copy: ``multiply_adds`` of a training step, ``floats`` held; ``parameters`` per copy."""

    multiply_adds: int
    floats: int
    parameters: int

    def stack(self, batch_size: int) -> int:
        """How many copies to train as one program with batches of that length: a power of two."""
        wanted = min(LARGEST_STACK, math.ceil(BUSY / (self.multiply_adds * batch_size)))
        return 1 << (wanted - 1).bit_length()

    @property
    def model_bytes(self) -> int:
        """Predicted bytes of one copy between steps: its weights, what a program returns beside them, two moments."""
        return 4 * 6 * self.parameters

    def step_bytes(self, copies: int, batch_length: int) -> int:
        """Predicted peak of one step of ``copies`` copies: activations and slopes, gradients, noise and state."""
        return 4 * copies * (3 * self.floats * batch_length + 6 * self.parameters)


@lru_cache(maxsize=16)
def cost(network: Network) -> Cost:
    """Measured on the shapes of one example."""
    parameters = tuple(tf.zeros([1, *variable.shape]) for variable in network.variables)
    x = tf.zeros([1, 1, *network.input_shape])
    _, taps = network.traced(parameters, x, None, lambda _: None)
    floats = multiply_adds = 0
    for tap in taps:
        floats += int(tf.size(tap.a)) + int(tf.size(tap.z))
        looked_up = not tap.a.dtype.is_floating
        shapes = [network.variables[i].shape for i in tap.node.variables]
        kernel = int(tap.z.shape[-1]) if looked_up else max(math.prod(shape) for shape in shapes)
        positions = int(tf.size(tap.z)) // int(tap.z.shape[-1])
        multiply_adds += 3 * positions * kernel
    return Cost(multiply_adds, floats, sum(math.prod(variable.shape) for variable in network.variables))
