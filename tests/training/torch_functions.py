"""Networks that plans of tests name."""

from typing import Any


def mlp(input_shape: tuple[int, ...], outputs: int) -> Any:
    from torch import nn

    return nn.Sequential(nn.Linear(input_shape[0], 8), nn.Tanh(), nn.Linear(8, outputs))


def normalised(input_shape: tuple[int, ...], outputs: int) -> Any:
    from torch import nn

    return nn.Sequential(nn.Linear(input_shape[0], 8), nn.BatchNorm1d(8), nn.Linear(8, outputs))


def wide(input_shape: tuple[int, ...], outputs: int) -> Any:
    from torch import nn

    return nn.Linear(input_shape[0], outputs + 1)


def narrow(input_shape: tuple[int, ...], outputs: int) -> Any:
    from torch import nn

    return nn.Linear(input_shape[0] + 1, outputs)


def number(input_shape: tuple[int, ...], outputs: int) -> int:
    return outputs


def flat(input_shape: tuple[int, ...], outputs: int) -> Any:
    from math import prod

    from torch import nn

    return nn.Sequential(nn.Flatten(), nn.Linear(prod(input_shape), outputs))
