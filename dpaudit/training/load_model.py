"""Somebody's trained Keras model from a file, without running code from it.

Keras 2 and Keras 3 files (``.keras`` and ``.h5``) are read. The layer configs are read first, as data; a Lambda layer
is refused there. Everything is then rebuilt with the Keras that trains the reference models; what a Keras 3 file holds
is loaded by Keras 3 in safe mode and copied over layer by layer, and the copy must predict the same.
"""

import json
import zipfile
from dataclasses import dataclass
from importlib import import_module, metadata
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from dpaudit.data.dataset import Task
from dpaudit.runtime.errors import InputError, MissingDependency
from dpaudit.scores.from_outputs import OutputKind
from dpaudit.training.keras_config import objects, refuse_code
from dpaudit.training.trainer import Predict

SUFFIXES = (".keras", ".h5", ".hdf5")


@dataclass(frozen=True)
class Compiled:
    """What the model was compiled with, as far as the file says.

    Args:
        optimizer: lower-case name, for example ``adam``; empty when unknown.
        learning_rate: None when unknown, or when it follows a schedule.
        momentum: of SGD.
        loss: name in snake case; empty when unknown.
        from_logits: whether the loss takes logits.
    """

    optimizer: str = ""
    learning_rate: float | None = None
    momentum: float = 0.0
    loss: str = ""
    from_logits: bool = False


@dataclass(frozen=True)
class LoadedModel:
    """A trained model and how it was made.

    Args:
        predict: outputs of records, in inference mode, shape (records, outputs).
        kind: what the outputs are; a softmax or sigmoid at the end is taken off, so that they are logits.
        task: what the model predicts, from its loss and its last layer.
        input_shape: of one record.
        outputs: numbers per record.
        parameters: number of trained numbers.
        architecture: config of the model without its last activation, for training others like it.
        compiled: optimizer and loss.
        keras: version of Keras that wrote the file.
    """

    predict: Predict
    kind: OutputKind
    task: Task
    input_shape: tuple[int, ...]
    outputs: int
    parameters: int
    architecture: "SameArchitecture"
    compiled: Compiled
    keras: str


@dataclass(frozen=True)
class SameArchitecture:
    """The architecture of a loaded model, freshly initialised at every call; it returns logits."""

    config: str

    def __call__(self, input_shape: tuple[int, ...], outputs: int) -> Any:
        """The model, refused when it does not fit the data."""
        model = _built(json.loads(self.config))
        if model.input_shape[1:] != tuple(input_shape) or model.output_shape[1:] != (outputs,):
            raise InputError(
                f"the model maps {model.input_shape[1:]} to {model.output_shape[1:]}, the data needs "
                f"{tuple(input_shape)} to ({outputs},)."
            )
        return model


def load_model(path: Path, *, trust_code: bool = False) -> LoadedModel:
    """Read a Keras model.

    Args:
        path: a ``.keras`` or ``.h5`` file.
        trust_code: run the Python code that a Lambda layer in the file holds. Only for files you wrote yourself.

    Raises:
        InputError: no such file, not a Keras model, a Lambda layer, a layer Keras does not know.
        MissingDependency: a Keras 3 file where Keras 3 is not installed.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path} must be a Keras model and end in {', '.join(SUFFIXES)}.")
    description = read_description(path)
    if not trust_code:
        refuse_code(description.config, path, allow="--trust-code (trust_code=True)")
    model = (
        _loaded_by_keras_3(path, description, trust_code)
        if description.major >= 3
        else _loaded_by_keras_2(path, trust_code)
    )
    config = {"class_name": type(model).__name__, "config": model.get_config()}
    activation = _last_activation(config)
    if activation in ("softmax", "sigmoid"):
        config = _without_last_activation(config)
        bare = _built(config)
        bare.set_weights(model.get_weights())
        model = bare
    if len(model.output_shape) != 2:
        raise InputError(f"{path} returns outputs of shape {model.output_shape[1:]}; one row per record is needed.")
    outputs = int(model.output_shape[1])
    from dpaudit.training.keras_model import as_trained_model

    return LoadedModel(
        predict=as_trained_model(model, None).predict,
        kind="logits",
        task=_task(description.compiled, activation, outputs),
        input_shape=tuple(model.input_shape[1:]),
        outputs=outputs,
        parameters=int(sum(np.size(weight) for weight in model.get_weights())),
        architecture=SameArchitecture(json.dumps(config)),
        compiled=description.compiled,
        keras=description.version,
    )


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
                config = json.loads(file.attrs["model_config"])
                version = str(file.attrs["keras_version"])
                compiled = json.loads(file.attrs["training_config"]) if "training_config" in file.attrs else None
    except FileNotFoundError as error:
        raise InputError(f"cannot read {path}: no such file.") from error
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a Keras model with its architecture: {str(error).splitlines()[0]}.") from error
    return Description(config, _compiled(compiled), version)


def _compiled(config: dict[str, Any] | None) -> Compiled:
    if not config:
        return Compiled()
    optimizer = config.get("optimizer_config") or config.get("optimizer") or {}
    if isinstance(optimizer, str):
        optimizer = {"class_name": optimizer, "config": {}}
    settings = optimizer.get("config", {})
    rate = settings.get("learning_rate")
    loss = config.get("loss") or ""
    from_logits = False
    if isinstance(loss, dict):
        from_logits = bool(loss.get("config", {}).get("from_logits", False))
        loss = loss.get("config", {}).get("name") or loss.get("class_name", "")
    return Compiled(
        optimizer=str(optimizer.get("class_name", "")).rpartition(">")[2].lower(),
        learning_rate=float(f"{rate:.6g}") if isinstance(rate, int | float) else None,
        momentum=float(settings.get("momentum") or 0.0),
        loss=loss if isinstance(loss, str) else "",
        from_logits=from_logits,
    )


def _loaded_by_keras_2(path: Path, trust_code: bool) -> Any:
    from dpaudit.runtime.tensorflow import keras

    try:
        return keras.models.load_model(path, compile=False, safe_mode=not trust_code)
    except (TypeError, ValueError, KeyError, OSError) as error:
        raise InputError(f"Keras cannot load {path}: {_first_line(error)}") from error


def _loaded_by_keras_3(path: Path, description: Description, trust_code: bool) -> Any:
    try:
        installed = metadata.version("keras")
    except metadata.PackageNotFoundError:
        installed = "none"
    if not installed.startswith("3."):
        raise MissingDependency(
            f"{path} was written by Keras {description.version}; reading it needs Keras 3 beside TensorFlow 2.16 or "
            f"later (installed: {installed}). Or save it with Keras 2, or hand a predict function to "
            "dpaudit.attack_model in Python."
        )
    from dpaudit.runtime.tensorflow import tf  # set up before Keras 3 takes it as its backend

    keras_3 = import_module("keras")

    try:
        theirs = keras_3.models.load_model(path, compile=False, safe_mode=not trust_code)
        model = _built(_as_keras_2(description.config))
        for layer in theirs.layers:
            if layer.get_weights():
                model.get_layer(layer.name).set_weights(layer.get_weights())
    except (TypeError, ValueError, KeyError, OSError) as error:
        raise InputError(
            f"{path} was written by Keras {description.version} and holds what Keras 2 has no counterpart of: "
            f"{_first_line(error)} Hand its predict function to dpaudit.attack_model in Python instead."
        ) from error
    probe = np.random.default_rng(0).random((8, *model.input_shape[1:]), np.float32)
    expected, got = (np.asarray(one(tf.constant(probe), training=False)) for one in (theirs, model))
    if not np.allclose(expected, got, rtol=1e-4, atol=1e-5):
        raise InputError(
            f"{path} does not predict the same once rebuilt; hand its predict function to dpaudit instead."
        )
    return model


def _built(config: dict[str, Any]) -> Any:
    from dpaudit.runtime.tensorflow import keras

    kinds = {"Sequential": keras.Sequential, "Functional": keras.Model, "Model": keras.Model}
    if config["class_name"] not in kinds:
        raise InputError(
            f"the model is a {config['class_name']}; only Sequential and Functional models can be rebuilt. Hand its "
            "predict function to dpaudit.attack_model in Python instead."
        )
    return kinds[config["class_name"]].from_config(config["config"])


def _as_keras_2(config: dict[str, Any]) -> dict[str, Any]:
    """The config of a Keras 3 model in the words of Keras 2."""
    layers = [_layer_as_keras_2(layer) for layer in config["config"]["layers"]]
    inner = {"name": config["config"]["name"], "layers": layers}
    for ends in ("input_layers", "output_layers"):
        if ends in config["config"]:
            value = config["config"][ends]
            inner[ends] = [value] if value and isinstance(value[0], str) else value
    return {"class_name": config["class_name"], "config": inner}


def _layer_as_keras_2(layer: dict[str, Any]) -> dict[str, Any]:
    from dpaudit.runtime.tensorflow import keras

    kind = layer["class_name"]
    cls = getattr(keras.layers, kind, None)
    if cls is None:
        raise ValueError(f"layer {kind}.")
    settings = dict(layer["config"])
    if "batch_shape" in settings:
        settings["batch_input_shape"] = settings.pop("batch_shape")
    if isinstance(settings.get("dtype"), dict):
        settings["dtype"] = settings["dtype"]["config"]["name"]
    for value in settings.values():
        if isinstance(value, dict) and value.get("module") == "keras.initializers":
            value["config"] = {k: v for k, v in value["config"].items() if k not in ("input_axes", "output_axes")}
    known = {"name", "trainable", "dtype", "batch_input_shape", *signature(cls.__init__).parameters}
    # A setting that came with Keras 3 is left away where it is switched off; switched on it has no counterpart.
    settings = {name: value for name, value in settings.items() if name in known or value not in (None, False)}
    translated = {"class_name": kind, "config": settings}
    if "inbound_nodes" in layer:
        translated["name"] = layer["name"]
        translated["inbound_nodes"] = [_node_as_keras_2(node) for node in layer["inbound_nodes"]]
    return translated


def _node_as_keras_2(node: dict[str, Any]) -> list[Any]:
    tensors = [one for one in objects(node["args"]) if one.get("class_name") == "__keras_tensor__"]
    return [[*tensor["config"]["keras_history"], {}] for tensor in tensors]


def _last_layer(config: dict[str, Any]) -> dict[str, Any]:
    layers = config["config"]["layers"]
    ends = config["config"].get("output_layers")
    if not ends:
        found: dict[str, Any] = layers[-1]
        return found
    if len(ends) != 1 and isinstance(ends[0], list):
        raise InputError(f"the model has {len(ends)} outputs; an audit needs one.")
    name = ends[0][0] if isinstance(ends[0], list) else ends[0]
    return next(layer for layer in layers if layer["config"]["name"] == name)


def _last_activation(config: dict[str, Any]) -> str:
    layer = _last_layer(config)
    if layer["class_name"] in ("Softmax",):
        return "softmax"
    return str(layer["config"].get("activation", "linear"))


def _without_last_activation(config: dict[str, Any]) -> dict[str, Any]:
    bare: dict[str, Any] = json.loads(json.dumps(config))
    layer = _last_layer(bare)
    if layer["class_name"] == "Softmax":
        layer["class_name"] = "Activation"
        layer["config"] = {"name": layer["config"]["name"]}
    layer["config"]["activation"] = "linear"
    return bare


def _task(compiled: Compiled, activation: str, outputs: int) -> Task:
    loss = compiled.loss.replace("_", "").lower()
    if "meansquared" in loss or "meanabsolute" in loss or loss in ("mse", "mae", "huber", "huberloss", "logcosh"):
        return "regression"
    if "binary" in loss or activation == "sigmoid":
        return "binary" if outputs == 1 else "multilabel"
    return "binary" if outputs == 1 else "multiclass"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300]
