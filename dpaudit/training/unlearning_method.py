"""What makes trained models forget: a function of the caller's, exact retraining, or training on with the rest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.data.dataset import Dataset
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.training.dp_sgd import DpSgd
from dpaudit.training.function import CheckedPredict
from dpaudit.training.named_function import digest_function, find_function
from dpaudit.training.reference_models.pool import train_each
from dpaudit.training.trainer import Predict, TrainedModel, Trainer

BUILT_IN = ("retrain", "finetune")
AT_A_TIME = 2048  # records that a model answers at a time


@dataclass(frozen=True)
class Requests:
    """What each of several models is to forget.

    Args:
        dataset: all records.
        asked: what is to be forgotten, shape (models, records).
        rest: what stays, shape (models, records). Each model was trained on both together.
        seeds: of the unlearning, one for each model.
    """

    dataset: Dataset
    asked: BoolArray
    rest: BoolArray
    seeds: Sequence[int]


@dataclass(frozen=True)
class UnlearningMethod:
    """A method of unlearning, by name.

    A function is called as ``method(model, forget, retain, *, seed)``. ``model`` is the trained model as its framework
    knows it: an uncompiled Keras model, or what the training function of a `Function` trainer returned. ``forget`` and
    ``retain`` are each a `Dataset`, whose ``features`` and ``labels`` are arrays. It returns the model after
    unlearning: a Keras model, or any function from features (records, ...) to logits (records, outputs).

    Args:
        name: ``retrain``: a new training on the rest; ``finetune``: further epochs on the rest; or the function, as
            ``"package.module:name"``.
        epochs: of ``finetune``.
    """

    name: str
    epochs: int | None = None

    @property
    def outside_code(self) -> str | None:
        """The function, when it is none of the built-in methods."""
        return None if self.name in BUILT_IN else self.name

    @cached_property
    def fingerprint(self) -> str:
        """The name, and a hash of the function's code: results of other code are not used."""
        code = digest_function(self.name, key="unlearning.method") if self.outside_code else ""
        return f"{self.name} {self.epochs} {code}"

    def __call__(self, trainer: Trainer, held: Sequence[TrainedModel], requests: Requests) -> list[Predict]:
        """What the models answer after unlearning.

        Args:
            trainer: of the models.
            held: the models, which hold what is to be forgotten.
            requests: what that is.

        Raises:
            InputError: the trainer's models cannot be handed to this method, or what the method returns is no model of
                these records.
        """
        data, rest, seeds = requests.dataset, requests.rest, requests.seeds
        if self.name == "retrain":
            return [model.predict for model in train_each(trainer, data, rest, seeds)]
        if self.name == "finetune":
            if not isinstance(trainer, DpSgd) or self.epochs is None:
                raise InputError(
                    "unlearning.method 'finetune' needs a trainer that the stacked engine runs, and "
                    f"{type(trainer).__name__} is none; name a function of your own, or 'retrain'."
                )
            further = trainer.with_epochs(self.epochs)
            start = [weights_in_order(model) for model in held]
            return [model.predict for model in further.train_many(data, rest, seeds=seeds, start=start)]
        function = find_function(self.name, key="unlearning.method")
        found = []
        for model, asked, kept, seed in zip(held, requests.asked, rest, seeds, strict=True):
            given = handed_over(trainer, model, data)
            found.append(
                checked_answers(self.name, function(given, data.take(asked), data.take(kept), seed=seed), data)
            )
        return found


def weights_in_order(model: TrainedModel) -> list[npt.NDArray[np.float32]]:
    """The weights of a model in the order of its variables."""
    return [model.weights[key] for key in sorted(model.weights)]


def handed_over(trainer: Trainer, model: TrainedModel, dataset: Dataset) -> Any:
    """A trained model as its framework knows it.

    Raises:
        InputError: it is of a trainer whose models are not handed out.
    """
    if isinstance(model.predict, CheckedPredict):
        return model.predict.answer
    architecture = getattr(trainer, "architecture", None)
    if architecture is None:
        raise InputError(
            f"the models of a {type(trainer).__name__} trainer are not handed to an unlearning.method; use sgd, "
            "dp-sgd, tf-privacy, or a function that trains."
        )
    network = architecture(*dataset.network_shape)
    network.set_weights(weights_in_order(model))
    return network


def checked_answers(name: str, model: Any, dataset: Dataset) -> Predict:
    """What a method returned, as a function that refuses answers which are no logits of these records.

    Raises:
        InputError: it cannot be called.

    >>> data = Dataset("line", np.array([[1.0], [2.0]]), np.array([0, 1]))
    >>> checked_answers("m:f", lambda features: features @ np.array([[1.0, -1.0]]), data)(data.features)
    array([[ 1., -1.],
           [ 2., -2.]])
    """
    answer: Callable[..., Any] = model
    if not callable(answer):
        raise InputError(
            f"unlearning.method {name!r} must return the model, or a function from features to logits, got {model!r}."
        )

    def predict(features: npt.NDArray[np.float32]) -> FloatArray:
        parts = [np.asarray(answer(features[at : at + AT_A_TIME])) for at in range(0, len(features), AT_A_TIME)]
        shapes = {(part.shape[1:], part.ndim) for part in parts}
        rows = sum(len(part) for part in parts if part.ndim)
        if shapes != {((dataset.outputs,), 2)} or rows != len(features):
            raise InputError(
                f"a model of unlearning.method {name!r} must answer {len(features)} records with logits of shape "
                f"({len(features)}, {dataset.outputs}), got {parts[0].shape} for the first {len(features[:AT_A_TIME])}."
            )
        logits = np.concatenate(parts)
        if logits.dtype.kind not in "fiu" or not np.isfinite(logits).all():
            raise InputError(
                f"a model of unlearning.method {name!r} answers with logits that are not finite; does it diverge?"
            )
        return np.asarray(logits, np.float64)

    return predict
