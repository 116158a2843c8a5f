"""What the trainers of PyTorch share: the network of a plan, its loss, its optimizer, and the weights it leaves."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dpaudit.accounting.claim import GaussianSteps
from dpaudit.data.dataset import Dataset, Task
from dpaudit.runtime.errors import AuditFailed, InputError, one_line
from dpaudit.runtime.pytorch import checked_parameters, torch_module
from dpaudit.runtime.took import epoch_done
from dpaudit.training.named_function import find_function, name_function
from dpaudit.training.torch_module import module_outputs
from dpaudit.training.trainer import TrainedModel
from dpaudit.training.watched import StepWatch

TorchOptimizerName = Literal["sgd", "adam"]
NetworkOf = str | Callable[[tuple[int, ...], int], Any]
LOSSES: dict[Task, str] = {
    "multiclass": "CrossEntropyLoss",
    "binary": "BCEWithLogitsLoss",
    "multilabel": "BCEWithLogitsLoss",
    "regression": "MSELoss",
}


def build_network(network: NetworkOf, dataset: Dataset) -> Any:
    """The network for a data set, with fresh weights: ``network(input shape, outputs)``.

    Raises:
        InputError: it cannot be imported, is no ``torch.nn.Module``, or has lazy layers or half precision.
    """
    torch = torch_module()
    built = find_function(network, key="network")(dataset.features.shape[1:], dataset.outputs)
    name = name_function(network)
    if not isinstance(built, torch.nn.Module):
        raise InputError(f"network {name} must return a torch.nn.Module, got {type(built).__name__}.")
    if not checked_parameters(built, name=f"network {name}"):
        raise InputError(f"network {name} has no weights to train.")
    _refuse_other_outputs(built, dataset, name)
    return built


def _refuse_other_outputs(module: Any, dataset: Dataset, name: str) -> None:
    torch = torch_module()
    modes = [(part, part.training) for part in module.modules()]
    try:
        with torch.no_grad():
            found = module.eval()(torch.as_tensor(np.ascontiguousarray(dataset.features[:2])))
    except (RuntimeError, TypeError, ValueError) as error:
        reason = one_line(error)
        raise InputError(
            f"network {name} does not take records of shape {dataset.features.shape[1:]}: {reason}"
        ) from error
    for part, training in modes:
        part.training = training
    wanted = (min(2, len(dataset)), dataset.outputs)
    if getattr(found, "shape", None) != wanted:
        raise InputError(f"network {name} must return shape {wanted}, got {tuple(getattr(found, 'shape', ()))}.")


def loss_of(loss: str | None, task: Task) -> Any:
    """A loss of ``torch.nn`` by name, averaged over the batch; the usual one of the task for None.

    Raises:
        InputError: ``torch.nn`` has no loss of that name.
    """
    torch = torch_module()
    kind = getattr(torch.nn, loss or LOSSES[task], None)
    if not (isinstance(kind, type) and issubclass(kind, torch.nn.modules.loss._Loss)):
        raise InputError(f"loss must be the name of a loss of torch.nn, such as 'CrossEntropyLoss', got {loss!r}.")
    return kind()


def optimizer_of(module: Any, name: TorchOptimizerName, *, learning_rate: float, momentum: float = 0.0) -> Any:
    """A new optimizer of a module's weights."""
    torch = torch_module()
    if name == "adam":
        return torch.optim.Adam(module.parameters(), lr=learning_rate)
    return torch.optim.SGD(module.parameters(), lr=learning_rate, momentum=momentum)


def targets_of(records: Dataset) -> Any:
    """Labels as the losses of PyTorch take them."""
    labels = torch_module().as_tensor(np.ascontiguousarray(records.labels))
    return labels.long() if records.task == "multiclass" else labels.float().reshape(len(records), -1)


def loader_of(records: Dataset, batch_size: int, *, seed: int) -> Any:
    """Records as a loader that shuffles them anew in each epoch."""
    torch = torch_module()
    data = torch_module("torch.utils.data")
    pairs = data.TensorDataset(torch.as_tensor(np.ascontiguousarray(records.features)), targets_of(records))
    return data.DataLoader(
        pairs, batch_size=batch_size, shuffle=True, generator=torch.Generator().manual_seed(seed % 2**63)
    )


def weights_of(module: Any) -> tuple[npt.NDArray[np.float32], ...]:
    """A copy of the trained weights, each (1, ...): a stack of one model."""
    return tuple(value.detach().cpu().numpy()[None].copy() for value in module.parameters() if value.requires_grad)


def fit(
    module: Any, optimizer: Any, criterion: Any, batches: Any, *, epochs: int, seed: int, watch: StepWatch | None
) -> None:
    """The training loop, with or without Opacus around its parts.

    Args:
        module: what is trained.
        optimizer: of its weights.
        criterion: its loss.
        batches: a loader, passed over once an epoch.
        epochs: passes.
        seed: of the model, by which it is told apart.
        watch: sees [seed], the step, and the trained weights before and after it; None watches nothing.
    """
    module.train()
    step = 0
    for _ in range(epochs):
        for features, targets in batches:
            before = weights_of(module) if watch is not None else ()
            optimizer.zero_grad()
            criterion(module(features), targets).backward()
            optimizer.step()
            if watch is not None:
                watch([seed], step, before, weights_of(module))
            step += 1
        epoch_done()


def as_trained(module: Any, mechanism: GaussianSteps | None, *, learning_rate: float) -> TrainedModel:
    """A trained module with its weights by position and name.

    Raises:
        AuditFailed: a weight is not finite.
    """
    weights = {f"{i:03d}:{name}": value.cpu().numpy() for i, (name, value) in enumerate(module.state_dict().items())}
    if not all(np.isfinite(value).all() for value in weights.values()):
        raise AuditFailed(f"the weights are not finite; a lower learning_rate than {learning_rate}?")
    return TrainedModel(module_outputs(module.eval()), weights, mechanism)


def restored(network: NetworkOf, weights: dict[str, npt.NDArray[np.float32]], dataset: Dataset) -> TrainedModel:
    """The network again with stored weights.

    Raises:
        InputError: they are of another network.
    """
    module = build_network(network, dataset)
    load_weights(module, [weights[key] for key in sorted(weights)])
    return TrainedModel(module_outputs(module.eval()), weights, None)


def load_weights(module: Any, values: Sequence[npt.NDArray[np.float32]]) -> None:
    """Give a module stored weights, in the order of its state.

    Raises:
        InputError: they are of another network.
    """
    torch = torch_module()
    own = module.state_dict()
    if [value.shape for value in values] != [tuple(value.shape) for value in own.values()]:
        raise InputError("the stored weights do not fit the network of the plan.")
    module.load_state_dict({name: torch.as_tensor(value) for name, value in zip(own, values, strict=True)})
