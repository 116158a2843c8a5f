"""Any framework: a function that trains is a trainer."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.accounting.claim import GaussianSteps
from dpaudit.data.dataset import Dataset
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import AuditFailed, InputError
from dpaudit.training.named_function import digest_function, find_function, name_function
from dpaudit.training.trainer import TrainedModel


@dataclass(frozen=True)
class CheckedPredict:
    """Predictions of a function's model, refused where they are no logits.

    Args:
        answer: what the function returned: features (records, ...) -> logits (records, outputs).
        name: of the function.
    """

    answer: Callable[..., Any]
    name: str

    def __call__(self, features: npt.NDArray[np.float32]) -> FloatArray:
        """Logits of features (records, ...), shape (records, outputs).

        Raises:
            AuditFailed: they have another shape, or are not finite.
        """
        logits = np.asarray(self.answer(features), np.float64)
        if logits.ndim != 2 or len(logits) != len(features):
            raise AuditFailed(
                f"predictions of {self.name} must have shape ({len(features)}, outputs), got {logits.shape}."
            )
        if not np.isfinite(logits).all():
            raise AuditFailed(f"predictions of {self.name} are not finite.")
        return logits


@dataclass(frozen=True)
class Function:
    """Trains with ``train(dataset, included, *, seed) -> predict`` of any framework.

    Args:
        train: the function, or where it is as ``"package.module:name"`` (in a plan, and for worker processes). What it
            returns maps features (records, ...) to logits (records, outputs).
        noise_multiplier: what its accountant is told, with ``steps`` and ``rate``; None when it trains without DP.
        steps: noisy releases of one training.
        rate: probability with which a record is in a batch, for each batch by an independent coin.

    >>> import numpy as np
    >>> def train(dataset, included, *, seed):
    ...     mean = dataset.features[included].mean(axis=0)
    ...     return lambda features: features @ np.stack([mean, -mean], axis=1)
    >>> data = Dataset("line", np.array([[1.0], [2.0]]), np.array([0, 1]))
    >>> Function(train)(data, np.array([True, False]), seed=0).predict(np.array([[3.0]]))
    array([[ 3., -3.]])
    """

    train: str | Callable[..., Any]
    noise_multiplier: float | None = None
    steps: int | None = None
    rate: float | None = None

    def __post_init__(self) -> None:
        given = [value is not None for value in (self.noise_multiplier, self.steps, self.rate)]
        if any(given) and not all(given):
            raise InputError("noise_multiplier, steps and rate belong together: give all three or none.")

    def mechanism(self, records: int) -> GaussianSteps | None:
        """What the plan says of it."""
        from dpaudit.accounting.claim import Poisson

        if self.noise_multiplier is None or self.steps is None or self.rate is None:
            return None
        return GaussianSteps(self.noise_multiplier, self.steps, Poisson(self.rate))

    def adds_noise(self) -> bool | None:
        """What the plan says; None where it says nothing, for nobody sees into the function."""
        return None if self.noise_multiplier is None else self.noise_multiplier > 0

    def outside_code(self) -> str | None:
        """Where the function is, when it is named."""
        return self.train if isinstance(self.train, str) else None

    def refuse(self, dataset: Dataset) -> None:
        """Refuse a function that cannot be imported."""
        find_function(self.train, key="train")

    def gives_weights(self) -> bool:
        """No: the function keeps them."""
        return False

    def restore(self, weights: dict[str, npt.NDArray[np.float32]], dataset: Dataset) -> TrainedModel:
        """Refused: the function keeps its own weights."""
        raise InputError("a model trained by a function cannot be restored from weights; train it again.")

    def __call__(self, dataset: Dataset, included: BoolArray, *, seed: int) -> TrainedModel:
        """Call the function.

        Raises:
            InputError: the function cannot be imported, or returns something that cannot be called.
            AuditFailed: its predictions are not (records, outputs) finite numbers.
        """
        function = find_function(self.train, key="train")
        answer = function(dataset, included, seed=seed)
        if not callable(answer):
            raise InputError(f"{self._name} must return a function from features to logits, got {answer!r}.")

        return TrainedModel(CheckedPredict(answer, self._name), {}, self.mechanism(int(included.sum())))

    @cached_property
    def fingerprint(self) -> str:
        """Its name, and a hash of its code: results of other code are not used.

        The code is the file of the function's module and what that imports from the same folder or package; see
        `dpaudit.training.reference_models.code_fingerprint.code_files` for what is not looked at.

        Raises:
            InputError: it was defined in no file, or holds variables of a function around it.
        """
        code = digest_function(self.train, key="train")
        return f"{self._name} {code} {self.noise_multiplier} {self.steps} {self.rate}"

    @property
    def _name(self) -> str:
        return name_function(self.train)
