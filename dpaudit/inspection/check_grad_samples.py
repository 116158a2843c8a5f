"""Whether the per-example gradients that Opacus computes in a network's layers are those of the network.

The optimizer clips what the layers' hooks give it. Here the first records of the data go through the private model as
one batch, and through the network itself one by one; the norms must be the same. Nothing is random, so there is no
false alarm.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from dpaudit.bounds.lower_bound import Finding, Unchecked
from dpaudit.inspection.probe import RAISED
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import one_line
from dpaudit.runtime.pytorch import torch_module

ASKED = 4  # records
ROUNDING = 1e-2  # of a norm, in single precision and over two ways of summing
CHECK = "the network's own per-example gradients"


def check_grad_samples(module: Any, dataset: Any, *, seed: int) -> tuple[list[Finding], list[Unchecked]]:
    """A finding where a norm differs, or why nothing was compared.

    Args:
        module: what ``make_private`` returned for the model.
        dataset: of the loader; the first part of a record is what the model takes.
        seed: of the weights of the outputs in the loss.
    """
    torch = torch_module()
    network = getattr(module, "_module", None)
    if network is None or not hasattr(module, "enable_hooks"):
        return [], [Unchecked(CHECK, "the model is not wrapped by Opacus")]
    try:
        records = torch.stack([torch.as_tensor(dataset[i][0]) for i in range(min(ASKED, len(dataset)))])
        records = records.to(next(network.parameters()).device)
        with torch.random.fork_rng(devices=[]), _without_dropout(module):
            weights = torch.as_tensor(np.random.default_rng(seed).normal(size=tuple(network(records[:1]).shape[1:])))
            weights = weights.to(records.device, torch.float32)
            alone, again = (_one_by_one(network, records, weights) for _ in range(2))
            together = _as_a_batch(module, records, weights)
    except RAISED as error:
        return [], [Unchecked(CHECK, f"{type(error).__name__}: {one_line(error)}")]
    if not np.allclose(alone, again, rtol=ROUNDING):
        return [], [Unchecked(CHECK, "the network answers with random numbers")]
    ratio = (together + 1e-12) / (alone + 1e-12)
    worst = int(np.argmax(np.abs(np.log(ratio))))
    if abs(float(ratio[worst]) - 1) <= ROUNDING:
        return [], []
    return [
        Finding(
            check="per-example gradients",
            severity="violation",
            fed=f"record {worst} of the data, in a batch of {len(records)} and alone",
            observed=f"in the batch its gradient has norm {together[worst]:.4g}, by which it is clipped; alone "
            f"{alone[worst]:.4g}",
            expected="the same norm: the gradient of one example, whoever else is in the batch",
            remedy="compare register_grad_sampler of each custom layer with its forward pass; use no layer that "
            "mixes examples",
            rung=1,
        )
    ], []


def _one_by_one(network: Any, records: Any, weights: Any) -> FloatArray:
    """Norms of the gradients of single records, by autograd alone."""
    torch = torch_module()
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    norms = []
    for record in records:
        loss = (network(record[None]) * weights).sum()
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        norms.append(sum(float((each.double() ** 2).sum()) for each in found if each is not None) ** 0.5)
    return np.array(norms)


def _as_a_batch(module: Any, records: Any, weights: Any) -> FloatArray:
    """Norms of the per-example gradients as Opacus computes them."""
    torch = torch_module()
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    module.enable_hooks()
    losses = (module(records) * weights).flatten(1).sum(dim=1)
    (losses.mean() if module.loss_reduction == "mean" else losses.sum()).backward()
    if hasattr(module, "get_norm_sample"):
        norms = module.get_norm_sample()
    else:
        norms = torch.stack([parameter.grad_sample.flatten(1).norm(dim=1) for parameter in parameters]).norm(dim=0)
    for parameter in parameters:
        parameter.grad_sample = parameter.grad = None
    return np.asarray(norms.detach().cpu().numpy(), np.float64)


@contextmanager
def _without_dropout(module: Any) -> Iterator[None]:
    """In training mode, as the hooks need it, but for dropout; hooks off, and each part back in its mode."""
    torch = torch_module()
    modes = [(part, part.training) for part in module.modules()]
    module.train()
    for part in module.modules():
        if isinstance(part, torch.nn.modules.dropout._DropoutNd):
            part.training = False
    module.disable_hooks()
    try:
        yield
    finally:
        module.enable_hooks()
        for part, training in modes:
            part.training = training
