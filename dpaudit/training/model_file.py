"""What a Keras file says about itself, read as data: layers, version, and how the model was compiled."""

import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dpaudit.runtime.errors import InputError, one_line

# Settings of SGD and Adam that the stacked engine does not have, with the value at which they do nothing.
_IDLE = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "ema_momentum": 0.99, "ema_overwrite_frequency": 100}
_READ = ("name", "learning_rate", "momentum", "jit_compile", "is_legacy_optimizer")
_PLAIN_LOSSES = (
    "binary_crossentropy",
    "categorical_crossentropy",
    "mean_squared_error",
    "mse",
    "sparse_categorical_crossentropy",
)


@dataclass(frozen=True)
class Compiled:
    """What the model was compiled with, as far as the file says.

    Args:
        optimizer: lower-case name, for example ``adam``; empty when unknown.
        learning_rate: None when unknown, or when it follows a schedule.
        schedule: class of the schedule; empty when there is none.
        momentum: of SGD.
        loss: name in snake case; empty when unknown.
        from_logits: whether the loss takes logits; None when unknown.
        plain: whether SGD or Adam with its usual settings and a usual loss of Keras is all there is to it.
        optimizer_config: as Keras writes it.
        loss_config: as Keras writes it; a name, or a table.
        loss_weights: of the outputs, as Keras writes them.
    """

    optimizer: str = ""
    learning_rate: float | None = None
    schedule: str = ""
    momentum: float = 0.0
    loss: str = ""
    from_logits: bool | None = None
    plain: bool = False
    optimizer_config: dict[str, Any] = field(default_factory=dict)
    loss_config: Any = None
    loss_weights: Any = None


@dataclass(frozen=True)
class Description:
    """What a model file says about itself, read as data."""

    config: dict[str, Any]
    compiled: Compiled
    version: str

    @property
    def major(self) -> int:
        """Major version of the Keras that wrote it."""
        return int(self.version.split(".")[0])


def read_description(path: Path) -> Description:
    """Layer configs, compile state and Keras version of a file; no layer is made, no code runs.

    Raises:
        InputError: no such file, or not a Keras model.
    """
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                config = json.loads(archive.read("config.json"))
                version = json.loads(archive.read("metadata.json"))["keras_version"]
            compiled = config.get("compile_config")
        else:
            import h5py

            with h5py.File(path, "r") as file:
                if "model_config" not in file.attrs:
                    raise InputError(
                        f"{path} holds weights without their architecture; save the whole model, with model.save."
                    )
                config = json.loads(file.attrs["model_config"])
                version = str(file.attrs["keras_version"])
                compiled = json.loads(file.attrs["training_config"]) if "training_config" in file.attrs else None
    except FileNotFoundError as error:
        raise InputError(f"cannot read {path}: no such file.") from error
    except InputError:
        raise
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a Keras model with its architecture: {one_line(error)}.") from error
    return Description(config, compiled_from(compiled), version)


def arrays_in(path: Path) -> int:
    """Weights of the layers in a ``.weights.h5`` or ``.keras`` file.

    Raises:
        InputError: the file holds no weights as Keras saves them.
    """
    import h5py

    found: list[str] = []

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and "vars" in name.split("/") and not name.startswith("optimizer"):
            found.append(name)

    try:
        content = _weights_of(path)
        if content is not None:
            with h5py.File(content, "r") as file:
                file.visititems(note)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"cannot read {path}: {one_line(error)}.") from error
    if not found:
        raise InputError(f"{path} holds no weights as model.save_weights or model.save of Keras write them.")
    return len(found)


def _weights_of(path: Path) -> Any:
    """The HDF5 file in a ``.keras`` archive, None where there is none; any other path as it is."""
    if path.suffix != ".keras":
        return path
    with zipfile.ZipFile(path) as archive:
        if "model.weights.h5" not in archive.namelist():
            return None
        return io.BytesIO(archive.read("model.weights.h5"))


def steps_made(path: Path) -> int | None:
    """Steps that the optimizer in a Keras file had made; None where the file holds no optimizer state."""
    import h5py

    content = _weights_of(path)
    if content is None:
        return None
    with h5py.File(content, "r") as file:
        if "optimizer/vars/0" in file:
            counted = file["optimizer/vars/0"]
        elif "optimizer_weights" in file:
            found: list[Any] = []
            file["optimizer_weights"].visititems(
                lambda name, item: found.append(item) if name.split("/")[-1].startswith("iter") else None
            )
            if not found:
                return None
            counted = found[0]
        else:
            return None
        return int(counted[()]) if counted.shape == () else None


def compiled_from(config: dict[str, Any] | None) -> Compiled:
    """The compile state from what Keras writes of it.

    >>> found = compiled_from({"optimizer": {"class_name": "Adam", "config": {"learning_rate": 0.002}},
    ...                        "loss": "sparse_categorical_crossentropy"})
    >>> found.optimizer, found.learning_rate, found.from_logits, found.plain
    ('adam', 0.002, False, True)
    >>> compiled_from({"optimizer": "sgd", "loss": "mse"}).learning_rate
    0.01
    """
    if not config:
        return Compiled()
    optimizer = config.get("optimizer_config") or config.get("optimizer") or {}
    if isinstance(optimizer, str):  # given by name, so with the rate that Keras gives it
        rate = 0.01 if optimizer.lower() == "sgd" else 0.001
        optimizer = {"class_name": optimizer, "config": {"learning_rate": rate}}
    settings = optimizer.get("config", {})
    rate = settings.get("learning_rate")
    name = str(optimizer.get("class_name", "")).rpartition(">")[2].lower()
    loss = _single(config.get("loss"))
    inner = loss.get("config", {}) if isinstance(loss, dict) else {}
    called = _loss_name(loss)
    weights = config.get("loss_weights")
    usual_optimizer = name in ("adam", "sgd") and not isinstance(rate, dict) and _idle(settings)
    usual_loss = called in _PLAIN_LOSSES and weights is None and _usual_loss(inner)
    return Compiled(
        optimizer=name,
        learning_rate=float(f"{rate:.6g}") if isinstance(rate, int | float) else None,
        schedule=str(rate.get("class_name", "")) if isinstance(rate, dict) else "",
        momentum=float(settings.get("momentum") or 0.0),
        loss=called,
        from_logits=bool(isinstance(inner, dict) and inner.get("from_logits", False)) if called else None,
        plain=usual_optimizer and usual_loss,
        optimizer_config=optimizer,
        loss_config=loss,
        loss_weights=weights,
    )


def _single(loss: Any) -> Any:
    """The loss of the only output, which may be given in a list or by the name of the output."""
    while isinstance(loss, list) and len(loss) == 1:
        loss = loss[0]
    if isinstance(loss, dict) and "class_name" not in loss and len(loss) == 1:
        return _single(next(iter(loss.values())))
    return loss


def _loss_name(loss: Any) -> str:
    if isinstance(loss, str):
        return loss
    if not isinstance(loss, dict):
        return ""
    settings = loss.get("config")
    if isinstance(settings, str):  # a function
        return settings
    return str((settings or {}).get("name") or loss.get("class_name", ""))


def _idle(settings: dict[str, Any]) -> bool:
    return all(
        name in _READ or value in (None, False, 0) or _IDLE.get(name) == value for name, value in settings.items()
    )


def _usual_loss(settings: Any) -> bool:
    if not isinstance(settings, dict):
        return True
    return (
        not settings.get("label_smoothing")
        and settings.get("ignore_class") is None
        and settings.get("axis", -1) == -1
        and settings.get("reduction", "auto") in ("auto", "sum_over_batch_size")
    )
