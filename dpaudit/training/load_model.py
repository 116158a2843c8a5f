"""Somebody's trained model from a file, run by the Keras that wrote it, without running code from the file.

Keras 2 and Keras 3 files (``.keras`` and ``.h5``) are read. The layer configs are read first, as data, and what is not
part of Keras is refused there. Then the Keras that wrote the file loads it in safe mode; nothing is converted for
predictions.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.data.dataset import Task
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError, MissingDependency, one_line
from dpaudit.scores.from_outputs import OutputKind
from dpaudit.training.keras_3_config import as_keras_2
from dpaudit.training.keras_config import objects, refuse_code
from dpaudit.training.last_activation import ending, take_off, without_ending
from dpaudit.training.model_file import Compiled, Description, read_description, steps_made
from dpaudit.training.model_inputs import Inputs
from dpaudit.training.trainer import Predict

SUFFIXES = (".keras", ".h5", ".hdf5")
PROBED = 512  # records on which the outputs are looked at
BATCH = 2048
# What Keras raises on a file or on records that do not fit.
KERAS_ERRORS = (AttributeError, ImportError, IndexError, KeyError, NotImplementedError, OSError, TypeError, ValueError)


@dataclass(frozen=True)
class LoadedModel:
    """A trained model and how it was made.

    Args:
        model: of the Keras that wrote it.
        keras: the module of that Keras.
        path: of the file.
        description: what the file says of itself.
        inputs: names and shapes of what it takes.
        outputs: numbers per record.
        kind: what its outputs are.
        stripped: whether a last softmax or sigmoid was taken off.
        imports: modules that register classes of the model.
        trust_code: whether code in the file may run.
    """

    model: Any
    keras: Any
    path: Path
    description: Description
    inputs: Inputs
    outputs: int
    kind: OutputKind = "logits"
    stripped: bool = False
    imports: tuple[str, ...] = ()
    trust_code: bool = False

    @property
    def compiled(self) -> Compiled:
        """Optimizer and loss."""
        return self.description.compiled

    @property
    def made_by(self) -> str:
        """What wrote the file."""
        return f"Keras {self.description.version}"

    @cached_property
    def task(self) -> Task:
        """What the model predicts, from its loss and its last layer."""
        found = ending(self.model)
        return _task(self.compiled, "" if found is None else found[1], self.outputs)

    @cached_property
    def steps(self) -> int | None:
        """How many steps the optimizer had made when the file was written; None when the file does not say."""
        return steps_made(self.path)

    @property
    def parameters(self) -> int:
        """Number of trained numbers."""
        return int(sum(np.size(weight) for weight in self.model.get_weights()))

    @cached_property
    def architecture(self) -> "SameArchitecture":
        """The same model for Keras 2, freshly initialised and with logits for outputs.

        Raises:
            InputError: Keras 2 has no such model.
        """
        return SameArchitecture(json.dumps(_keras_2_config(self)), self.stripped)

    @cached_property
    def original(self) -> Any:
        """The model once more as it is in the file, its last activation included."""
        model, _ = opened(self.path, self.description, trust_code=self.trust_code, imports=self.imports)
        return model

    @cached_property
    def predict(self) -> Predict:
        """From records (records, ...) to outputs (records, outputs), in inference mode."""
        return predict_with(self.model, self.inputs)

    def settled(self, records: npt.NDArray[Any], *, task: Task, stated: OutputKind | None = None) -> "LoadedModel":
        """What the outputs are, decided by the outputs themselves and by the loss; call it once, before ``predict``.

        A last softmax or sigmoid is taken off where the outputs on ``records`` prove that this gives logits.

        Args:
            records: some records, shape (records, ...).
            task: what is predicted.
            stated: what the user says the outputs are; None decides.

        Raises:
            InputError: the outputs and the loss contradict each other, and the user did not say which is right.
        """
        if task == "regression":
            return self

        def forward(part: npt.NDArray[Any]) -> FloatArray:
            return _forward(self.model, self.inputs, part)

        some = records[:PROBED]
        try:
            before = forward(some)
        except KERAS_ERRORS as error:
            raise InputError(f"the model does not take records of shape {some.shape[1:]}: {one_line(error)}") from error
        kind = stated or kind_of(before, ending(self.model), self.compiled, self.path)
        if kind == "logits":
            return self
        stripped = without_ending(self.model, some, forward)
        return replace(self, kind="logits" if stripped else "probabilities", stripped=stripped)


@dataclass(frozen=True)
class SameArchitecture:
    """The architecture of a loaded model, freshly initialised at every call.

    Args:
        config: of the layers, in the words of Keras 2.
        stripped: whether its last softmax or sigmoid is taken off.
    """

    config: str
    stripped: bool = True

    def __call__(self, input_shape: tuple[int, ...], outputs: int) -> Any:
        """The model, refused when it does not fit the data."""
        model = _built(json.loads(self.config))
        if self.stripped:
            take_off(model)
        if model.input_shape[1:] != tuple(input_shape) or model.output_shape[1:] != (outputs,):
            raise InputError(
                f"the model maps {model.input_shape[1:]} to {model.output_shape[1:]}, the data needs "
                f"{tuple(input_shape)} to ({outputs},)."
            )
        return model


def kind_of(outputs: FloatArray, ended: tuple[Any, str] | None, compiled: Compiled, path: Path) -> OutputKind:
    """What a classifier's outputs are, from their values, the model's last activation and its loss.

    Outputs of several classes are probabilities where all lie in [0, 1] and every row sums to one (to 0.01, for half
    precision). One output, or one per label, is a probability where all lie in [0, 1] and neither the last layer nor
    the loss speaks against it.

    Raises:
        InputError: the loss says the opposite of what the outputs are.

    >>> kind_of(np.array([[0.2, 0.8]]), None, Compiled(), Path("m.keras"))
    'probabilities'
    >>> kind_of(np.array([[-2.0, 0.8]]), None, Compiled(loss="binary_crossentropy", from_logits=False), Path("m.keras"))
    Traceback (most recent call last):
    ...
    dpaudit.runtime.errors.InputError: outputs of m.keras lie between -2 and 0.8, but its loss 'binary_crossentropy' \
takes probabilities. Say which is right with --outputs logits or --outputs probabilities (kind= in Python).
    """
    ends = "" if ended is None else ended[1]
    unit = bool(outputs.min() >= 0 and outputs.max() <= 1)
    rows = unit and outputs.shape[-1] > 1 and bool(np.abs(outputs.sum(axis=-1) - 1).max() < 0.01)
    crossentropy = "crossentropy" in compiled.loss.replace("_", "").lower()
    takes_logits = compiled.from_logits if crossentropy else None
    probable = rows or ends in ("softmax", "sigmoid") or (unit and takes_logits is not True and ends != "linear")
    if takes_logits is None:
        return "probabilities" if probable else "logits"
    if takes_logits == (not probable):
        return "logits" if takes_logits else "probabilities"
    if takes_logits is False and unit and outputs.shape[-1] == 1:
        return "probabilities"  # a linear layer that happens to stay in [0, 1], as its loss wants it
    look = "are probabilities" if probable else f"lie between {outputs.min():.3g} and {outputs.max():.3g}"
    wants = "logits" if takes_logits else "probabilities"
    raise InputError(
        f"outputs of {path} {look}, but its loss {compiled.loss!r} takes {wants}. Say which is right with --outputs "
        "logits or --outputs probabilities (kind= in Python)."
    )


def load_model(path: Path, *, trust_code: bool = False, imports: Sequence[str] = ()) -> LoadedModel:
    """Read a Keras model.

    Args:
        path: a ``.keras`` or ``.h5`` file.
        trust_code: run the Python code that a Lambda layer in the file holds. Only for files you wrote yourself.
        imports: modules to import first, which register the model's own classes with Keras.

    Raises:
        InputError: no such file, not a Keras model, a Lambda layer, a layer Keras does not know.
        MissingDependency: a Keras 3 file where Keras 3 is not installed.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path} must be a Keras model and end in {', '.join(SUFFIXES)}, or be a SavedModel folder.")
    description = read_description(path)
    model, keras = opened(path, description, trust_code=trust_code, imports=tuple(imports))
    inputs = Inputs.of(model, description.config)
    ends = getattr(model, "outputs", None)  # of a subclassed model Keras keeps no graph
    if ends and len(ends) != 1:
        raise InputError(
            f"{path} has {len(ends)} outputs, and an audit needs one: hand a predict function of one of them to "
            "dpaudit.attack_model in Python."
        )
    try:
        shape = ends[0].shape if ends else _forward(model, inputs, np.zeros((1, *inputs.shape), np.float32)).shape
    except KERAS_ERRORS as error:
        raise InputError(f"Keras {description.version} cannot run {path}: {one_line(error)}") from error
    if len(shape) != 2 or shape[1] is None:
        raise InputError(f"{path} returns outputs of shape {tuple(shape[1:])}; one row per record is needed.")
    return LoadedModel(
        model, keras, path, description, inputs, int(shape[1]), imports=tuple(imports), trust_code=trust_code
    )


def opened(path: Path, description: Description, *, trust_code: bool, imports: tuple[str, ...]) -> tuple[Any, Any]:
    """The model as its own Keras loads it, not compiled, and that Keras.

    Raises:
        InputError: code in the file, or a file that Keras cannot load.
        MissingDependency: a Keras 3 file where Keras 3 is not installed.
    """
    keras = keras_of(description, path)
    for name in imports:
        try:
            import_module(name)
        except ImportError as error:
            raise InputError(f"--import {name}: {error}") from error
    if not trust_code:
        known = frozenset(keras.saving.get_custom_objects())
        try:
            refuse_code(
                description.config, path, allow="--import MODULE, where it is registered with Keras", registered=known
            )
        except InputError as error:
            if "which would run code" not in str(error):
                raise
            refuse_code(description.config, path, allow="--trust-code (trust_code=True)", registered=known)
    try:
        by_name = _operations(description) if description.major >= 3 and path.suffix != ".keras" else None
        return keras.models.load_model(path, by_name, compile=False, safe_mode=not trust_code), keras
    except KERAS_ERRORS as error:
        own = (
            "" if imports else " A class of your own is found when --import MODULE names the module that registers it."
        )
        raise InputError(f"Keras {description.version} cannot load {path}: {one_line(error)}{own}") from error


def _operations(description: Description) -> dict[str, Any]:
    """Operations such as ``x / 255`` in an HDF5 file, which Keras 3 writes without their module and then misses.

    Unlike a layer, an operation has no ``trainable``.
    """
    places = [import_module(f"keras.src.ops.{part}") for part in ("core", "image", "linalg", "math", "nn", "numpy")]
    base = import_module("keras").Operation
    found = {}
    for one in objects(description.config):
        if "module" not in one and "trainable" not in one["config"]:
            known = [getattr(place, one["class_name"], None) for place in places]
            kinds = [kind for kind in known if isinstance(kind, type) and issubclass(kind, base)]
            if kinds:
                found[one["class_name"]] = kinds[0]
    return found


def keras_of(description: Description, path: Path) -> Any:
    """The Keras that wrote a file, of the same major version.

    Raises:
        MissingDependency: it is not installed.
    """
    from dpaudit.runtime.tensorflow import keras  # set up before Keras 3 takes TensorFlow as its backend

    if description.major < 3:
        return keras
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
    return import_module("keras")


def predict_with(model: Any, inputs: Inputs) -> Predict:
    """A function from records to outputs, in inference mode, for a model of either Keras."""
    from dpaudit.runtime.tensorflow import tf

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def forward(*parts: Any) -> Any:
        return model(inputs.arranged(parts), training=False)

    def predict(features: npt.NDArray[np.float32]) -> FloatArray:
        found = []
        for at in range(0, len(features), BATCH):
            parts = [tf.constant(part) for part in inputs.parts(features[at : at + BATCH])]
            try:
                found.append(forward(*parts).numpy())
            except (*KERAS_ERRORS, tf.errors.OpError) as error:
                raise InputError(
                    f"the model does not take records of shape {features.shape[1:]}: {one_line(error)}"
                ) from error
        return np.asarray(np.concatenate(found), np.float64)

    return predict


def _forward(model: Any, inputs: Inputs, features: npt.NDArray[Any]) -> FloatArray:
    """Outputs as the model is at this moment; no program is kept of it."""
    from dpaudit.runtime.tensorflow import tf

    parts = [tf.constant(part) for part in inputs.parts(features)]
    try:
        return np.asarray(model(inputs.arranged(parts), training=False))
    except tf.errors.OpError as error:
        raise ValueError(one_line(error)) from error


def _built(config: dict[str, Any]) -> Any:
    from dpaudit.runtime.tensorflow import keras

    kinds = {"Sequential": keras.Sequential, "Functional": keras.Model, "Model": keras.Model}
    if config["class_name"] not in kinds:
        raise InputError(f"the model is a {config['class_name']}; only Sequential and Functional can be rebuilt.")
    return kinds[config["class_name"]].from_config(config["config"])


def _keras_2_config(loaded: LoadedModel) -> dict[str, Any]:
    """The config for Keras 2; of a Keras 3 file only where the rebuilt model predicts the same."""
    if loaded.description.major < 3:
        return loaded.description.config
    try:
        config = as_keras_2(loaded.description.config)
        model = _built(config)
        for layer in loaded.model.layers:
            if layer.get_weights():
                model.get_layer(layer.name).set_weights(layer.get_weights())
        if loaded.stripped:
            take_off(model)
        probe = np.random.default_rng(0).random((8, *loaded.inputs.shape), np.float32)
        expected, got = (_forward(one, loaded.inputs, probe) for one in (loaded.model, model))
    except (*KERAS_ERRORS, InputError) as error:
        raise InputError(
            f"{loaded.path} was written by {loaded.made_by} and holds what Keras 2 has no counterpart of: "
            f"{one_line(error)}"
        ) from error
    if not np.allclose(expected, got, rtol=1e-4, atol=1e-5):
        raise InputError(f"{loaded.path} does not predict the same once rebuilt for Keras 2.")
    return config


def _task(compiled: Compiled, activation: str, outputs: int) -> Task:
    loss = compiled.loss.replace("_", "").lower()
    if "meansquared" in loss or "meanabsolute" in loss or loss in ("mse", "mae", "huber", "huberloss", "logcosh"):
        return "regression"
    if activation == "softmax" and outputs > 1:
        return "multiclass"
    if "binary" in loss or activation == "sigmoid":
        return "binary" if outputs == 1 else "multilabel"
    return "binary" if outputs == 1 else "multiclass"
