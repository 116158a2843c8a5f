"""Low-rank adapters: a frozen kernel W works as W + (α/r) A B, and only A and B are trained (LoRA, `Hu et al. (2021)
<https://arxiv.org/abs/2106.09685>`_).

An adapter is two products without bias beside the frozen one. They are layers like any other, so that per-example
gradients of A and B, their norms and their clipped sums are as exact as those of a whole kernel.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.engine.adapter import Adapter, is_named
from dpaudit.engine.initial_weights import Draw
from dpaudit.engine.keys import generator
from dpaudit.engine.layers import Dense
from dpaudit.engine.read_keras import Node, Variable
from dpaudit.engine.sequence_layers import EinsumDense
from dpaudit.runtime.errors import InputError


@dataclass(frozen=True)
class Factors:
    """The two factors of one adapter, by position among the variables of a network.

    Args:
        kernel: of the frozen kernel.
        down: of A, (inputs, rank).
        up: of B, (rank, outputs).
        scale: times their product.
    """

    kernel: int
    down: int
    up: int
    scale: float

    @property
    def draws(self) -> tuple[Draw, Draw]:
        """Initial values: A normal with variance 1 over its inputs, B zero, so that a copy starts as the network."""

        def normal(shape: tuple[int, ...], seed: int, model: int, position: int) -> Any:
            drawn = generator(seed, model, "initial", position).standard_normal(shape, np.float32)
            return drawn / np.float32(math.sqrt(math.prod(shape[:-1])))

        return normal, lambda shape, seed, model, position: np.zeros(shape, np.float32)

    def added(self, weights: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        """The kernel with the adapter in it, of one copy's weights."""
        product = np.tensordot(weights[self.down], weights[self.up], axes=1)
        return weights[self.kernel] + np.float32(self.scale) * product


@dataclass(frozen=True)
class _Sum:
    """What the frozen layer gives, plus what its adapter does, and the layer's activation."""

    scale: float
    activation: Any

    def __call__(self, parts: Sequence[Any]) -> Any:
        z = parts[0] + self.scale * parts[1]
        return z if self.activation is None else self.activation(z)


def with_adapters(
    nodes: Sequence[Node], variables: Sequence[Variable], adapter: Adapter
) -> tuple[tuple[Node, ...], tuple[Variable, ...], tuple[Factors, ...]]:
    """Nodes and variables of a network, frozen, with an adapter beside each kernel that is wanted, and their factors.

    Raises:
        InputError: no such layer with a kernel, or a rank above the smaller side of one.
    """
    paths = {
        at: variables[node.variables[0]].name.partition(":")[0].rpartition("/")[0]
        for at, node in enumerate(nodes)
        if isinstance(node.weighted, Dense | EinsumDense)
    }
    if not paths:
        raise InputError("[adapter] stands beside kernels of dense layers and attention, and the network has none.")
    for wanted in adapter.layers:
        if not any(is_named(path, wanted) for path in paths.values()):
            known = ", ".join(map(repr, paths.values()))
            raise InputError(f"adapter.layers: {wanted!r} is no layer with a kernel; there are {known}.")
    chosen = [at for at, path in paths.items() if not adapter.layers or any(is_named(path, w) for w in adapter.layers)]
    kept = [replace(variable, trainable=False) for variable in variables]
    moved, made, factors = [0], list[Node](), list[Factors]()
    for at, node in enumerate(nodes):
        inputs = tuple(moved[i] for i in node.inputs)
        frozen = replace(node, inputs=inputs, trainable=False)
        if at not in chosen:
            made.append(frozen)
        else:
            pair = _factors(paths[at], node, kept, adapter)
            made += [replace(frozen, plain=None), *_beside(frozen, pair, kept, len(made))]
            factors.append(pair)
        moved.append(len(made))
    return tuple(made), tuple(kept), tuple(factors)


def _factors(path: str, node: Node, variables: list[Variable], adapter: Adapter) -> Factors:
    """Append the two variables of an adapter."""
    kernel = variables[node.variables[0]].shape
    contracted = node.weighted.contracted if isinstance(node.weighted, EinsumDense) else kernel[:1]
    made = kernel[len(contracted) :]
    smaller = min(math.prod(contracted), math.prod(made))
    if adapter.rank > smaller:
        raise InputError(
            f"adapter.rank {adapter.rank} is above the smaller side of layer {path!r} ({math.prod(contracted)} to "
            f"{math.prod(made)}); lower it, or name other layers in adapter.layers."
        )
    variables.append(Variable(f"{path}/lora_a:0", (*contracted, adapter.rank), True))
    variables.append(Variable(f"{path}/lora_b:0", (adapter.rank, *made), True))
    return Factors(node.variables[0], len(variables) - 2, len(variables) - 1, adapter.scale)


def _beside(frozen: Node, pair: Factors, variables: Sequence[Variable], before: int) -> list[Node]:
    """The nodes of an adapter, after a frozen layer that comes after ``before`` nodes."""
    base = before + 1
    contracted = variables[pair.down].shape[:-1]

    def product(inputs: tuple[int, ...], variable: int, sizes: tuple[int, ...]) -> Node:
        weighted = EinsumDense(sizes, bias=False)
        return Node(f"{frozen.name}/adapter", inputs, (variable,), weighted, True, None, 0.0, None)

    return [
        product(frozen.inputs, pair.down, contracted),
        product((base + 1,), pair.up, variables[pair.up].shape[:1]),
        Node(frozen.name, (base, base + 2), (), None, False, _Sum(pair.scale, frozen.plain), 0.0, None),
    ]
