"""What a factory built with Opacus: its claim read from where it stands, its step, and the batches of its loader."""

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dpaudit.accounting.claim import GaussianSteps, Poisson
from dpaudit.bounds.lower_bound import Finding, Unchecked
from dpaudit.inspection.built_training import BuiltTraining
from dpaudit.inspection.check_grad_samples import check_grad_samples
from dpaudit.inspection.mechanism import Mechanism, Stated
from dpaudit.inspection.neighbouring_build import compare_neighbours
from dpaudit.inspection.opacus_step import COORDINATES, ghost_step, is_ghost, optimizer_step
from dpaudit.inspection.recorded import RecordedBatches
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.pytorch import checked_parameters, is_of_torch, opacus_module, torch_module

DELTA = 1e-5  # at which the ε of a divisor that differs is given
STEPS = (200, 1000)  # batches that are drawn from the loader, at least and at most
DRAWS = 2e7  # numbers drawn for them, at most


def is_built_with_torch(built: Any) -> bool:
    """Whether a factory returned something of PyTorch or Opacus, alone or in a tuple."""
    return any(map(is_of_torch, built if isinstance(built, tuple | list) else [built]))


def read_training(factory: Callable[[], Any], built: Any, *, name: str, seed: int) -> BuiltTraining:
    """What a factory returned, as it can be inspected.

    Args:
        factory: it is called again for neighbouring data sets where the loader is returned too.
        built: what it returned: a ``DPOptimizer``, or what ``PrivacyEngine.make_private`` returns.
        name: of the factory, for messages.
        seed: where PyTorch's generator starts.

    Raises:
        InputError: the optimizer was not made private, or it clips adaptively, or what would be asked is missing.
    """
    torch = torch_module()
    parts = _parts(built, name)
    optimizer = parts.optimizer
    parameters = checked_parameters(optimizer.params, name="the optimizer")
    accountant, rate = _accounted(optimizer)
    loader = parts.loader
    sampler = getattr(loader, "batch_sampler", None)
    drawn_at = getattr(sampler, "sample_rate", None)
    unread: list[Unchecked] = []
    if rate is None:
        unread.append(Unchecked("the accounted sampling rate", "no accountant of Opacus is attached to the optimizer"))
        rate = 1.0 if drawn_at is None else float(drawn_at)
    history = list(getattr(accountant, "history", []))
    noise, clip = float(optimizer.noise_multiplier), float(optimizer.max_grad_norm)
    steps = sum(int(count) for _, _, count in history) or (len(loader) if loader is not None else 1)
    if len({(each[0], each[1]) for each in history}) > 1:
        unread.append(Unchecked("the accountant's history", "noise multiplier or rate changed while it was trained"))
    divisor = _divisor(optimizer)
    accounted = GaussianSteps(noise, steps, Poisson(rate))
    values = sum(int(parameter.numel()) for parameter in parameters) * steps
    findings: list[Finding] = []
    records, batches = None, None
    if loader is None:
        unread.append(Unchecked("the batches", f"{name} returns no loader"))
    elif sampler is None or not hasattr(loader.dataset, "__len__"):
        unread.append(Unchecked("the batches", "the loader draws from a stream, whose records have no numbers"))
    else:
        records = len(loader.dataset)
        torch.manual_seed(seed)
        batches = RecordedBatches(records, _drawn(sampler, records))
        if optimizer.loss_reduction == "mean":
            findings += compare_neighbours(
                lambda: _parts(_quietly(factory), name).optimizer,
                _divisor,
                here=divisor,
                records=records,
                values=values,
                delta=DELTA,
            )
        different, missing = check_grad_samples(parts.module, loader.dataset, seed=seed)
        findings += different
        unread += missing
    mechanism, fed = _mechanism(parts, name, seed=seed)
    every = len(parameters)
    if fed is not None and len(fed) < every:
        reason = f"only the {len(fed)} smallest of {every} are fed, up to {COORDINATES:,} numbers; the others get zeros"
        unread.append(Unchecked("the larger parameters", reason))
    stated = Stated(clip, noise, divisor, "add-remove")
    return BuiltTraining(mechanism, stated, accounted, batches, tuple(findings), tuple(unread))


@dataclass(frozen=True)
class _Parts:
    module: Any
    optimizer: Any
    criterion: Any
    loader: Any


def _parts(built: Any, name: str) -> _Parts:
    torch, opacus = torch_module(), opacus_module()
    given = list(built) if isinstance(built, tuple | list) else [built]
    data = torch_module("torch.utils.data")
    ghost = opacus_module("opacus.utils.fast_gradient_clipping_utils").DPLossFastGradientClipping
    kinds = (torch.optim.Optimizer, data.DataLoader, ghost)
    optimizer, loader, criterion = (next((part for part in given if isinstance(part, kind)), None) for kind in kinds)
    if optimizer is None:
        raise InputError(
            f"{name} returns a {type(given[0]).__name__} and no optimizer: return the optimizer, or all that "
            "PrivacyEngine.make_private returned."
        )
    if not isinstance(optimizer, opacus.optimizers.DPOptimizer):
        raise InputError(
            f"{name} returns a {type(optimizer).__name__} that was not made private: it adds no noise and states no "
            "claim; return what PrivacyEngine.make_private returned."
        )
    missing = [field for field in _READ if not hasattr(optimizer, field)]
    if missing:
        raise InputError(f"the optimizer of Opacus {opacus.__version__} has no {missing[0]}; install 1.5 or later.")
    if isinstance(optimizer, opacus_module("opacus.optimizers.adaclipoptimizer").AdaClipDPOptimizer):
        raise InputError(
            f"the clip of {type(optimizer).__name__} changes with every step, so no step states one; inspect the "
            "training with clipping='flat'."
        )
    module = next((part for part in given if isinstance(part, torch.nn.Module) and part is not criterion), None)
    return _Parts(module, optimizer, criterion, loader)


_READ = ("original_optimizer", "noise_multiplier", "max_grad_norm", "loss_reduction", "expected_batch_size",
  "step_hook", "generator", "secure_mode", "params")  # fmt: skip


def _mechanism(parts: _Parts, name: str, *, seed: int) -> tuple[Mechanism, list[int] | None]:
    if not is_ghost(parts.optimizer):
        return optimizer_step(parts.optimizer, seed=seed)
    wrapper = parts.module if hasattr(parts.module, "get_clipping_coef") else None
    if wrapper is None or parts.criterion is None:
        raise InputError(
            f"with ghost clipping the model clips: let {name} return all that PrivacyEngine.make_private returned "
            "(model, optimizer, criterion, loader)."
        )
    return ghost_step(wrapper, parts.optimizer, parts.criterion, seed=seed), None


def _accounted(optimizer: Any) -> tuple[Any, float | None]:
    """The accountant that is attached to an optimizer, and the sampling rate it is told."""
    if optimizer.step_hook is None:
        return None, None
    held = inspect.getclosurevars(optimizer.step_hook).nonlocals
    rate = held.get("sample_rate")
    return held.get("self"), None if rate is None else float(rate)


def _divisor(optimizer: Any) -> float:
    return float(optimizer.expected_batch_size) if optimizer.loss_reduction == "mean" else 1.0


def _drawn(sampler: Any, records: int) -> list[Any]:
    """Batches as the loader's own sampler draws them, epoch after epoch."""
    wanted = int(np.clip(DRAWS / records, *STEPS))
    found: list[Any] = []
    while len(found) < wanted:
        before = len(found)
        for batch in sampler:
            found.append(np.asarray(batch, np.int64))
            if len(found) == wanted:
                break
        if len(found) == before:
            raise InputError("the loader draws no batches.")
    return found


def _quietly(factory: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return factory()
