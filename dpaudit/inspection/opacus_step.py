"""One step of an Opacus optimizer as a mechanism: its clipping, its noise and its divisor, on chosen gradients.

A `DPOptimizer` clips what lies in ``grad_sample``, so the audit writes there. With ghost clipping the model clips, in a
second backward pass; then the model's wrapper, the criterion and the optimizer are asked on linear layers whose loss
on example i is Σ ⟨xᵢ, w⟩, so that its gradient is xᵢ itself.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from dpaudit.inspection.mechanism import SHAPES, Array, Mechanism
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.pytorch import checked_parameters, opacus_module, torch_module

COORDINATES = 20_000  # of a large network only so many are fed; the other gradients are zero
BATCH = 32


def optimizer_step(optimizer: Any, *, seed: int) -> tuple[Mechanism, list[int]]:
    """A mechanism from an Opacus ``DPOptimizer``, and which of its parameters are fed.

    Args:
        optimizer: flat or per-layer clipping. It is not to be trained with afterwards: its step is taken from it.
        seed: where PyTorch's generator starts at ``reset``.

    Raises:
        InputError: it clips adaptively, leaves clipping to the model, or its parameters are lazy or in half precision.
    """
    torch = torch_module()
    parameters = checked_parameters(optimizer.params, name="the optimizer")
    if not parameters:
        raise InputError("the optimizer has no trainable parameters.")
    fed = _smallest(parameters)
    step = _taken_from(optimizer)

    def release(gradients: Sequence[Array]) -> list[Array]:
        chosen = dict(zip(fed, gradients, strict=True))
        size = len(gradients[0])
        for index, parameter in enumerate(parameters):
            like = {"device": parameter.device, "dtype": parameter.dtype}
            parameter.summed_grad = None
            parameter.grad_sample = (
                torch.as_tensor(np.ascontiguousarray(chosen[index])).to(**like)
                if index in chosen
                else torch.zeros(1, **like).expand(size, *parameter.shape)
            )
        step()
        return [parameters[index].grad.cpu().numpy() for index in fed]

    shapes = tuple(tuple(parameters[index].shape) or (1,) for index in fed)
    return _mechanism(release, optimizer, shapes, seed=seed), fed


def ghost_step(module: Any, optimizer: Any, criterion: Any, *, seed: int) -> Mechanism:
    """A mechanism from what ``make_private(..., grad_sample_mode="ghost")`` returns.

    Args:
        module: its wrapper, whose settings and clip norm are taken over to a linear network.
        optimizer: its noise and divisor are asked.
        criterion: its two backward passes are asked.
        seed: where PyTorch's generator starts at ``reset``.
    """
    torch = torch_module()
    widths = [int(np.prod(shape)) for shape in SHAPES]
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = torch.nn.ModuleList([torch.nn.Linear(width, 1, bias=False) for width in widths])
        network.forward = lambda features: sum(
            layer(part) for layer, part in zip(network, features.split(widths, dim=1), strict=True)
        )
        asked = type(module)(
            network,
            batch_first=module.batch_first,
            loss_reduction=module.loss_reduction,
            max_grad_norm=module.max_grad_norm,
            use_ghost_clipping=module.use_ghost_clipping,
        )
    parameters = list(network.parameters())
    alike = object.__new__(type(optimizer))  # a copy of an optimizer keeps what PyTorch knows of it only
    alike.__dict__.update(vars(optimizer))
    alike.original_optimizer = torch.optim.SGD(parameters, lr=1.0)
    for parameter in parameters:
        parameter.summed_grad = None
    losses = type(criterion)(asked, alike, _Outputs(), criterion.loss_reduction)
    step = _taken_from(alike)

    def release(gradients: Sequence[Array]) -> list[Array]:
        alike.zero_grad()
        parts = [np.reshape(g, (len(g), width)) for g, width in zip(gradients, widths, strict=True)]
        rows = np.concatenate(parts, axis=1)
        with _quiet():
            losses(asked(torch.as_tensor(rows)), torch.zeros(len(rows))).backward()
            step()
        return [parameter.grad.numpy().reshape(shape) for parameter, shape in zip(parameters, SHAPES, strict=True)]

    return _mechanism(release, optimizer, SHAPES, seed=seed)


class _Outputs:
    """The outputs of a network as its losses, one for each example."""

    reduction = "mean"  # the criterion asks for no reduction by setting it

    def __call__(self, outputs: Any, _: Any) -> Any:
        return outputs[:, 0]


def is_ghost(optimizer: Any) -> bool:
    """Whether the model clips, and the optimizer adds noise only."""
    return isinstance(optimizer, opacus_module("opacus.optimizers").DPOptimizerFastGradientClipping)


def _taken_from(optimizer: Any) -> Any:
    """The optimizer's step, up to where it would change the weights, and without its accountant."""
    optimizer.step_hook = None
    optimizer.original_optimizer.step = lambda *_, **__: None
    return optimizer.step


def _mechanism(release: Any, optimizer: Any, shapes: tuple[tuple[int, ...], ...], *, seed: int) -> Mechanism:
    torch = torch_module()

    def reset() -> None:
        torch.manual_seed(seed)
        if optimizer.generator is not None:
            optimizer.generator.manual_seed(seed)

    reset()
    resettable = not optimizer.secure_mode
    return Mechanism(
        release, shapes=shapes, batch_size=BATCH, reset=reset if resettable else None, name=type(optimizer).__name__
    )


def _smallest(parameters: Sequence[Any]) -> list[int]:
    """The parameters that are fed, in their order: the smallest ones up to ``COORDINATES``, one at least."""
    order = sorted(range(len(parameters)), key=lambda index: int(parameters[index].numel()))
    totals = np.cumsum([parameters[index].numel() for index in order])
    return sorted(order[: max(1, int((totals <= COORDINATES).sum()))])


@contextmanager
def _quiet() -> Iterator[None]:
    """PyTorch warns of hooks on inputs that need no gradient; here none does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
