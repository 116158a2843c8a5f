"""A TensorFlow SavedModel: the folder that ``model.export`` writes, run by its serving signature."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.data.dataset import Task
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError, one_line
from dpaudit.scores.from_outputs import OutputKind
from dpaudit.training.load_model import BATCH, KERAS_ERRORS, PROBED, kind_of
from dpaudit.training.model_file import Compiled
from dpaudit.training.model_inputs import Inputs
from dpaudit.training.trainer import Predict

SIGNATURE = "serving_default"


@dataclass(frozen=True)
class SavedModel:
    """A program with one output per record; how it was made is not in it.

    Args:
        serve: the signature.
        owner: what holds the signature's variables; they go when it goes.
        path: of the folder.
        inputs: names and shapes of what it takes.
        outputs: numbers per record.
        kind: what its outputs are.
    """

    serve: Any
    owner: Any
    path: Path
    inputs: Inputs
    outputs: int
    kind: OutputKind = "logits"

    @property
    def made_by(self) -> str:
        """What wrote it."""
        return "SavedModel"

    @property
    def task(self) -> Task:
        """One output is one of two classes, several are classes."""
        return "binary" if self.outputs == 1 else "multiclass"

    @cached_property
    def predict(self) -> Predict:
        """From records (records, ...) to outputs (records, outputs)."""
        from dpaudit.runtime.tensorflow import tf

        specs = self.serve.structured_input_signature[1]

        def predict(features: npt.NDArray[np.float32]) -> FloatArray:
            found = []
            for at in range(0, len(features), BATCH):
                parts = self.inputs.parts(features[at : at + BATCH])
                try:
                    given = {
                        name: tf.cast(tf.constant(part), specs[name].dtype)
                        for name, part in zip(self.inputs.names, parts, strict=True)
                    }
                    (output,) = self.serve(**given).values()
                except (*KERAS_ERRORS, tf.errors.OpError) as error:
                    raise InputError(
                        f"the model does not take records of shape {features.shape[1:]}: {one_line(error)}"
                    ) from error
                found.append(output.numpy())
            return np.asarray(np.concatenate(found), np.float64)

        return predict

    def settled(self, records: npt.NDArray[Any], *, task: Task, stated: OutputKind | None = None) -> "SavedModel":
        """What the outputs are, decided by the outputs themselves where nobody says it."""
        if task == "regression":
            return self
        kind = stated or kind_of(self.predict(records[:PROBED]), None, Compiled(), self.path)
        return replace(self, kind=kind)


def load_saved_model(path: Path, *, trust_code: bool) -> SavedModel:
    """Read a SavedModel.

    Args:
        path: the folder.
        trust_code: whether it may run: it is a program, which may read and write files.

    Raises:
        InputError: no SavedModel, not trusted, or not one output per record.
    """
    if not (path / "saved_model.pb").is_file():
        raise InputError(f"{path} is a folder without a saved_model.pb; give a Keras file or a SavedModel folder.")
    if not trust_code:
        raise InputError(
            f"{path} is a SavedModel, a program that may read and write files; it is not loaded. If you trust it, "
            "allow it with --trust-code (trust_code=True)."
        )
    from dpaudit.runtime.tensorflow import tf

    try:
        owner = tf.saved_model.load(str(path))
    except (*KERAS_ERRORS, tf.errors.OpError) as error:
        raise InputError(f"TensorFlow cannot load {path}: {one_line(error)}") from error
    if SIGNATURE not in owner.signatures:
        raise InputError(f"{path} has no signature {SIGNATURE!r}; it has {', '.join(owner.signatures) or 'none'}.")
    serve = owner.signatures[SIGNATURE]
    specs, outputs = serve.structured_input_signature[1], serve.structured_outputs
    if len(outputs) != 1:
        raise InputError(
            f"{path} has {len(outputs)} outputs, and an audit needs one: hand a predict function of one of them to "
            "dpaudit.attack_model in Python."
        )
    shape = next(iter(outputs.values())).shape
    if shape.rank != 2 or shape[1] is None:
        raise InputError(f"{path} returns outputs of shape {tuple(shape[1:])}; one row per record is needed.")
    inputs = Inputs(tuple(specs), tuple(tuple(spec.shape[1:]) for spec in specs.values()), by_name=True)
    return SavedModel(serve, owner, path, inputs, int(shape[1]))
