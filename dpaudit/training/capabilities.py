"""What a trainer may say of itself beside training, and what holds for one that does not.

Each capability is a method that a trainer has or lacks, whoever wrote it. There is nothing to inherit from. The
functions below, and `dpaudit.training.on_engine`, are the one place that asks for a method and that says what follows
without it.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from dpaudit.bounds.lower_bound import Skipped
from dpaudit.data.dataset import Dataset
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray
from dpaudit.runtime.errors import InputError
from dpaudit.training.trainer import TrainedModel, Trainer

if TYPE_CHECKING:
    from dpaudit.engine.cost import Cost
    from dpaudit.inspection.under_test import UnderTest


@runtime_checkable
class StackedTrainer(Trainer, Protocol):
    """A trainer that trains many models at once; model i depends on its row and its seed alone."""

    def train_many(
        self,
        dataset: Dataset,
        included: BoolArray,
        *,
        seeds: Sequence[int],
        progress: Callable[[int], None] | None = None,
    ) -> list[TrainedModel]:
        """Train one model per row of ``included``."""
        ...

    def cost(self, dataset: Dataset) -> "Cost":
        """What one example costs, and what a step holds."""
        ...

    def steps(self, records: int) -> int:
        """Updates of a training on ``records`` records."""
        ...

    @property
    def batch_size(self) -> int:
        """(Expected) records per step."""
        ...


@runtime_checkable
class ByEpochs(Trainer, Protocol):
    """A trainer whose time is a line in a number of epochs."""

    @property
    def epochs(self) -> int:
        """Passes over the training records, at most."""
        ...

    def with_epochs(self, epochs: int) -> Trainer:
        """The same trainer for exactly so many epochs, whatever accuracy they reach."""
        ...


@runtime_checkable
class _HasReference(Protocol):
    def reference(self, dataset: Dataset) -> Trainer: ...


@runtime_checkable
class _HasCheckpoints(Protocol):
    def at_epoch(self, epochs: int) -> Trainer: ...


@runtime_checkable
class _HasProbe(Protocol):
    def probe(self, dataset: Dataset, *, seed: int) -> "UnderTest | Skipped": ...


@runtime_checkable
class _SaysNoise(Protocol):
    def adds_noise(self) -> bool | None: ...


@runtime_checkable
class _NeedsRecords(Protocol):
    def records_needed(self) -> int: ...


@runtime_checkable
class _Refuses(Protocol):
    def refuse(self, dataset: Dataset) -> None: ...


@runtime_checkable
class _SaysWeights(Protocol):
    def gives_weights(self) -> bool: ...


@runtime_checkable
class _ImportsCode(Protocol):
    def outside_code(self) -> str | None: ...


def reference_trainer(trainer: Trainer, dataset: Dataset) -> Trainer:
    """What trains the references of a trainer's model: ``trainer.reference(dataset)``, else the trainer itself.

    An attacker has the recipe and not the code, and no bound speaks of references, so the recipe may run on a faster
    engine. The audited model itself, and whatever stands in for it, comes from the trainer's own code.
    """
    return trainer.reference(dataset) if isinstance(trainer, _HasReference) else trainer


def at_epoch(trainer: Trainer, epochs: int) -> Trainer:
    """The trainer stopped after so many epochs: ``trainer.at_epoch(epochs)``.

    Raises:
        InputError: its earlier checkpoints are not the end of a shorter training, or it does not train that long.

    >>> from dpaudit.training.architecture import Mlp
    >>> from dpaudit.training.sgd import Sgd
    >>> at_epoch(Sgd(Mlp((8,)), epochs=20), 5).epochs
    5
    """
    if not isinstance(trainer, _HasCheckpoints):
        raise InputError(f"checkpoints need a trainer with a method at_epoch, and {_name(trainer)} has none.")
    return trainer.at_epoch(epochs)


def probe(trainer: Trainer, dataset: Dataset, *, seed: int) -> "UnderTest | Skipped":
    """The step of a trainer, to be asked chosen questions: ``trainer.probe(dataset, seed=seed)``."""
    if isinstance(trainer, _HasProbe):
        return trainer.probe(dataset, seed=seed)
    return no_probe(trainer)


def no_probe(trainer: Trainer) -> Skipped:
    """Why a trainer without a step that can be asked is not asked."""
    return Skipped(
        f"the gradients of a {_name(trainer)} trainer cannot be chosen from outside; "
        "write a factory for its step and use `dpaudit inspect`"
    )


def adds_noise(trainer: Trainer) -> bool | None:
    """Whether a trainer adds noise: ``trainer.adds_noise()``. False is no noise at all, None that nobody says.

    >>> from dpaudit.training.architecture import Mlp
    >>> from dpaudit.training.dp_sgd import DpSgd
    >>> from dpaudit.training.sgd import Sgd
    >>> adds_noise(Sgd(Mlp())), adds_noise(DpSgd(Mlp(), noise_multiplier=1.0))
    (False, True)
    """
    return trainer.adds_noise() if isinstance(trainer, _SaysNoise) else None


def gives_weights(trainer: Trainer) -> bool:
    """Whether a trained model can be restored from its weights: ``trainer.gives_weights()``, else yes.

    The answers of a model that cannot be restored are stored instead, and it is trained where they are asked for.
    """
    return trainer.gives_weights() if isinstance(trainer, _SaysWeights) else True


def outside_code(trainer: Trainer) -> str | None:
    """Code named in a plan that a training would import and call: ``trainer.outside_code()``, else none.

    A run asks to be trusted before it imports any.
    """
    return trainer.outside_code() if isinstance(trainer, _ImportsCode) else None


def require_records(trainer: Trainer, included: BoolArray, *, name: str) -> None:
    """Refuse models on fewer records than ``trainer.records_needed()`` says, before any of them is trained.

    Args:
        trainer: of the models.
        included: who is in which model, shape (records,) or (models, records).
        name: of the records.

    Raises:
        InputError: one model has too few.
    """
    least = int(included.sum(axis=-1).min()) if included.size else 0
    if isinstance(trainer, _NeedsRecords) and least < trainer.records_needed():
        raise InputError(
            f"a model on {name} has {least} training records; a {_name(trainer)} trainer needs at least "
            f"{trainer.records_needed()}."
        )


def refuse_model(trainer: Trainer, dataset: Dataset, *, name: str) -> None:
    """Refuse a model that its trainer could not train, before any other is trained: ``trainer.refuse(dataset)``.

    Raises:
        InputError: the trainer says why.
    """
    if isinstance(trainer, _Refuses):
        try:
            trainer.refuse(dataset)
        except InputError as error:
            raise InputError(f"model {name!r}: {error}") from error


def checked_epoch(trainer: ByEpochs, epochs: int) -> int:
    """An epoch before the last of a trainer.

    Raises:
        InputError: it is none, or the last one.
    """
    return check.integer("checkpoints", epochs, at_least=1, at_most=trainer.epochs - 1)


def _name(trainer: Trainer) -> str:
    return type(trainer).__name__
