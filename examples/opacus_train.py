"""DP-SGD with Opacus, to be inspected: dpaudit inspect examples/opacus_train.py:build"""

from typing import Any

import torch
from opacus import PrivacyEngine
from torch.utils.data import DataLoader, TensorDataset


def build() -> Any:
    """Model, optimizer and loader as the training uses them; the divisor does not depend on the records."""
    drawn = torch.Generator().manual_seed(0)
    data = TensorDataset(torch.randn(1000, 20, generator=drawn), torch.randint(0, 3, (1000,), generator=drawn))
    model = torch.nn.Sequential(torch.nn.Linear(20, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    model, optimizer, loader = PrivacyEngine().make_private(
        module=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        data_loader=DataLoader(data, batch_size=50),
        noise_multiplier=1.1,
        max_grad_norm=1.0,
    )
    optimizer.expected_batch_size = 50
    return model, optimizer, loader


def from_the_records() -> Any:
    """The same as Opacus leaves it: 1000 records are divided by 50, 999 by 49."""
    model, optimizer, loader = build()
    optimizer.expected_batch_size = int(len(loader.dataset) / len(loader))
    return model, optimizer, loader
