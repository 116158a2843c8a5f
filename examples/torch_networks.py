"""Networks of PyTorch for a plan: network = "torch_networks:cnn"."""

import torch
from torch import nn


def mlp(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """One hidden layer."""
    width = int(torch.Size(input_shape).numel())
    return nn.Sequential(nn.Flatten(), nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, outputs))


def cnn(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Two convolutions for images of 8x8 pixels."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, outputs),
    )
