"""Training a model again as its file says: same layers, optimizer, schedule and loss, by the Keras that wrote it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import logit

from dpaudit.accounting.claim import GaussianSteps
from dpaudit.data.dataset import Dataset
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import AuditFailed, InputError
from dpaudit.scores.from_outputs import log_probabilities
from dpaudit.training.keras_config import refuse_code
from dpaudit.training.last_activation import take_off
from dpaudit.training.load_model import KERAS_ERRORS, LoadedModel, predict_with
from dpaudit.training.trainer import TrainedModel

SMALLEST = 1e-15  # probability of an output; nearer to 0 or 1 there is no logit in float64


@dataclass(frozen=True)
class AsCompiled:
    """``compile`` and ``fit`` with what a model file holds, on shuffled batches.

    What training makes starts afresh, drawn by the layers' own initializers. What training does not make is copied from
    the file: the weights of frozen layers, and the state of layers that were adapted to data before.

    Args:
        loaded: the model file.
        epochs: passes over the training records.
        batch_size: records per step.
        optimizer: name of a Keras optimizer; None is the file's.
        learning_rate: step size; None is the file's, with its schedule.
        momentum: of the optimizer; None is the file's.
        loss: name of a Keras loss; None is the file's.
        class_weight: weight of the loss of each class.
    """

    loaded: LoadedModel = field(compare=False)
    epochs: int
    batch_size: int = 32
    optimizer: str | None = None
    learning_rate: float | None = None
    momentum: float | None = None
    loss: str | None = None
    class_weight: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        check.integer("epochs", self.epochs, at_least=1)
        check.integer("batch_size", self.batch_size, at_least=1)
        if self.learning_rate is not None:
            check.positive("learning_rate", self.learning_rate)
        if self.momentum is not None:
            check.probability("momentum", self.momentum)
        for weight in self.class_weight or ():
            check.nonnegative("class_weight", weight)
        self._optimizer()  # what Keras does not know is refused before anything is trained
        self._loss()

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the file and of all that was given beside it."""
        content = hashlib.sha256(self.loaded.path.read_bytes()).hexdigest()
        given = (self.epochs, self.batch_size, self.optimizer, self.learning_rate, self.momentum, self.loss)
        return f"{content} {given} {self.class_weight} {self.loaded.stripped} {self.loaded.kind} {self.loaded.imports}"

    def mechanism(self, records: int) -> GaussianSteps | None:
        """None: there is no noise, so nothing is claimed."""
        return None

    def adds_noise(self) -> bool:
        """No."""
        return False

    def gives_weights(self) -> bool:
        """No: they stay in Keras."""
        return False

    def records_needed(self) -> int:
        """One: a last batch may be smaller."""
        return 1

    def restore(self, weights: dict[str, npt.NDArray[np.float32]], dataset: Dataset) -> TrainedModel:
        """Refused: the weights stay in Keras."""
        raise InputError("a model trained as its file says cannot be restored from weights; train it again.")

    def __call__(self, dataset: Dataset, included: BoolArray, *, seed: int) -> TrainedModel:
        """Train on the included records.

        Raises:
            InputError: labels or records that the loss or the model does not take.
            AuditFailed: the loss is not finite.
        """
        from dpaudit.training.keras_model import made_ready

        loaded, keras = self.loaded, self.loaded.keras
        records = dataset.take(included)
        keras.utils.set_random_seed(seed % 2**32)
        model = afresh(loaded)
        loss = self._loss()
        steps = -(-len(records) // self.batch_size)
        parts = loaded.inputs.parts(records.features)
        try:
            # All steps of an epoch as one program: Keras would spend more time between small steps than in them.
            model.compile(
                self._optimizer(),
                loss,
                loss_weights=loaded.compiled.loss_weights,
                steps_per_execution=steps,
                jit_compile=False,
            )
            made_ready(model)
            history = model.fit(
                loaded.inputs.arranged(parts),
                targets(records, loaded.outputs, loss),
                batch_size=self.batch_size,
                epochs=self.epochs,
                class_weight=None if self.class_weight is None else dict(enumerate(self.class_weight)),
                verbose=0,
            ).history["loss"]
        except KERAS_ERRORS as error:
            raise InputError(f"Keras cannot train the model of {loaded.path} again: {_last_line(error)}") from error
        if not np.isfinite(history).all():
            raise AuditFailed(f"the training loss of a reference model became {history[-1]}.")
        if loaded.stripped:
            take_off(model)
        return TrainedModel(_as_logits(predict_with(model, loaded.inputs), dataset, loaded), {}, None)

    def _optimizer(self) -> Any:
        keras, compiled = self.loaded.keras, self.loaded.compiled
        own = compiled.optimizer_config
        changes = {"learning_rate": self.learning_rate, "momentum": self.momentum}
        given = {name: value for name, value in changes.items() if value is not None}
        if self.optimizer is None and not own:
            raise InputError(f"recipe: {self.loaded.path} was saved without its optimizer; 'optimizer' must state it.")
        if self.optimizer is None or self.optimizer.lower() == compiled.optimizer:
            config = {**own, "config": {**own.get("config", {}), **given}}
        else:
            if self.learning_rate is None:
                raise InputError("recipe: 'optimizer' is not that of the file, so 'learning_rate' must be stated too.")
            config = {"class_name": self.optimizer, "config": given}
        _refuse(config, self.loaded, "optimizer")
        try:
            return keras.optimizers.get(config)
        except KERAS_ERRORS as error:
            raise InputError(
                f"recipe: Keras does not know the optimizer {config['class_name']!r} of {self.loaded.path}; "
                f"'optimizer' and 'learning_rate' must state one ({_last_line(error)})."
            ) from error

    def _loss(self) -> Any:
        compiled = self.loaded.compiled
        config = self.loss or compiled.loss_config
        if not config:
            raise InputError(f"recipe: {self.loaded.path} was saved without its loss; 'loss' must state it.")
        _refuse(config, self.loaded, "loss")
        try:
            return self.loaded.keras.losses.get(config)
        except KERAS_ERRORS as error:
            raise InputError(
                f"recipe: Keras does not know the loss {self.loss or compiled.loss!r} of {self.loaded.path}; 'loss' "
                f"must state one, or --import the module that registers it ({_last_line(error)})."
            ) from error


def kept_state(loaded: LoadedModel) -> list[str]:
    """Names of layers whose weights training does not make: frozen ones, and those that were adapted to data."""
    return [layer.name for layer in _leaves(loaded.original) if _is_kept(layer, loaded.original)]


def afresh(loaded: LoadedModel) -> Any:
    """The model with weights drawn anew, except those that training does not make."""
    original = loaded.original
    try:
        model = type(original).from_config(original.get_config())
        if not model.built:
            model.build((None, *loaded.inputs.shape))
    except KERAS_ERRORS as error:
        raise InputError(f"Keras cannot make the model of {loaded.path} anew: {_last_line(error)}") from error
    for old, new in zip(_leaves(original), _leaves(model), strict=True):
        new.trainable = old.trainable
        if _is_kept(old, original):
            _copy_state(old, new)
    return model


def targets(records: Dataset, outputs: int, loss: Any) -> npt.NDArray[Any]:
    """Labels in the shape a loss of Keras takes: classes for a sparse one, else one column per output."""
    if records.task != "multiclass":
        return records.labels.reshape(len(records), -1).astype(np.float32)
    name = str(getattr(loss, "name", None) or getattr(loss, "__name__", "")).lower()
    return records.classes if "sparse" in name else np.eye(outputs, dtype=np.float32)[records.classes]


def _as_logits(predict: Any, dataset: Dataset, loaded: LoadedModel) -> Any:
    if loaded.kind == "logits" or dataset.task == "regression":
        return predict

    def logits(features: npt.NDArray[np.float32]) -> FloatArray:
        probabilities = predict(features)
        if dataset.task == "multiclass":
            return log_probabilities(probabilities, kind="probabilities")
        return np.asarray(logit(np.clip(probabilities, SMALLEST, 1 - SMALLEST)), np.float64)

    return logits


def _leaves(model: Any) -> Iterator[Any]:
    """Every layer that holds no other layer, at any depth, in the order of the model."""
    for layer in model._flatten_layers(include_self=False):
        if not list(layer._flatten_layers(include_self=False)):
            yield layer


def _is_kept(layer: Any, model: Any) -> bool:
    """Whether a layer was adapted to data, is frozen, or belongs to a frozen part."""
    if hasattr(layer, "adapt"):
        return True
    made = {id(weight) for weight in model.trainable_weights}
    own = layer.trainable_weights
    return bool(layer.weights) and (
        not layer.trainable or (bool(own) and not any(id(weight) in made for weight in own))
    )


def _copy_state(old: Any, new: Any) -> None:
    if not hasattr(old, "adapt"):
        new.set_weights(old.get_weights())
        return
    kept: dict[str, Any] = {}
    old.save_own_variables(kept)
    new.load_own_variables({name: np.asarray(value) for name, value in kept.items()})
    if hasattr(old, "save_assets"):  # a vocabulary
        with TemporaryDirectory() as folder:
            old.save_assets(folder)
            new.load_assets(folder)


def _refuse(config: Any, loaded: LoadedModel, what: str) -> None:
    """Nothing in an optimizer or a loss may name code outside of Keras."""
    if isinstance(config, dict) and not loaded.trust_code:
        known = frozenset(loaded.keras.saving.get_custom_objects())
        allow = f"--import MODULE, where it is registered with Keras, or state {what!r} in the recipe"
        refuse_code(config, f"the {what} of {loaded.path}", allow=allow, registered=known)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
