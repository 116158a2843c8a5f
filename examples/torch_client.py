"""A client of PyTorch sends the gradient of one record; whoever reads it has the record.

python examples/torch_client.py
"""

import numpy as np
import torch

from dpaudit.attacks.gradient.linear_layer import DenseInversion
from dpaudit.attacks.gradient.torch_view import parameter_names, torch_gradient

torch.manual_seed(1)
module = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))

# The client: one image of 8x8 pixels with its label, one backward pass.
image, label = torch.rand(1, 64), torch.tensor([3])
torch.nn.functional.cross_entropy(module(image), label).backward()

# The attacker: the module and what was sent.
view = torch_gradient(module, batch_size=1, box=(0.0, 1.0))
found = DenseInversion()(view)
error = float(np.abs(found.records - image.numpy()).max())
print(
    f"{len(view.gradient)} arrays ({', '.join(parameter_names(module))}): the image within {error:.1g} of every pixel"
)

# With clipping and noise, as one step of DP-SGD sends it.
norm = torch.sqrt(sum((parameter.grad**2).sum() for parameter in module.parameters()))
noisy = [parameter.grad / max(1.0, float(norm)) + torch.randn_like(parameter) for parameter in module.parameters()]
found = DenseInversion()(torch_gradient(module, noisy, batch_size=1, box=(0.0, 1.0)))
error = float(np.abs(found.records - image.numpy()).mean())
print(f"with clip norm 1 and noise multiplier 1: a mean error of {error:.2f}, as good as a guess")
