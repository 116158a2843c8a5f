"""A model in the open format ONNX, of any framework, run by ONNX Runtime: it holds operators and no code."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.data.dataset import Dataset, Task
from dpaudit.data.labels import canonical, ordered
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError, MissingDependency, one_line
from dpaudit.scores.from_outputs import OutputKind
from dpaudit.training.load_model import BATCH, PROBED, kind_of
from dpaudit.training.model_file import Compiled
from dpaudit.training.model_inputs import Inputs
from dpaudit.training.onnx_inputs import NUMBERS, OnnxInputs
from dpaudit.training.trainer import Predict

SUFFIX = ".onnx"
FLOATS = ("tensor(float)", "tensor(double)", "tensor(float16)")
NAMES = ("tensor(int64)", "tensor(int32)", "tensor(string)", "tensor(bool)")
LEARNED = 4096  # records on which the columns' classes are read from the labels that the model gives


@dataclass(frozen=True)
class OnnxModel:
    """A model with one output of scores per record; how it was made is not in it.

    Args:
        session: that runs it.
        path: of the file.
        inputs: what it takes.
        scores: name of the output that is judged.
        answers: name of an output of labels beside it, as scikit-learn's models have; None without one.
        task: what is predicted, as far as the outputs show it.
        kind: what its outputs are.
        order: of the outputs, where it is another than the model's.
    """

    session: Any
    path: Path
    inputs: OnnxInputs
    scores: str
    answers: str | None
    task: Task
    kind: OutputKind = "logits"
    order: tuple[int, ...] = ()

    @property
    def made_by(self) -> str:
        """What wrote it."""
        return "ONNX"

    @cached_property
    def predict(self) -> Predict:
        """From records (records, ...) to outputs (records, outputs)."""
        columns = list(self.order) or slice(None)
        return lambda features: self._run(features)[0][:, columns]

    def settled(self, records: npt.NDArray[Any], *, task: Task, stated: OutputKind | None = None) -> "OnnxModel":
        """What the outputs are, decided by the outputs themselves where nobody says it."""
        outputs = self._run(records[:PROBED])[0]
        if task == "binary" and outputs.shape[1] == 2:
            raise InputError(f"{self.path} has an output for each of 2 classes: leave the task 'binary' out (--task).")
        if task == "regression":
            return self
        return replace(self, kind=stated or kind_of(outputs, None, Compiled(), self.path))

    def by_class(self, datasets: Sequence[Dataset]) -> tuple["OnnxModel", list[Dataset]]:
        """The model with its outputs in the order of its classes, and the records with labels that number them.

        Nothing changes where the model names no classes.

        Args:
            datasets: with the same classes (`dpaudit.data.given.aligned`).

        Raises:
            InputError: a label that is none of the model's classes, or outputs whose class is not known.
        """
        first = datasets[0]
        if first.task != "multiclass" or (self.answers is None and not self._maps):
            return self, list(datasets)
        used = sorted({int(code) for data in datasets for code in np.unique(data.classes)})
        labels = [canonical(first.class_names[code] if first.class_names else code) for code in used]
        outputs, answers, keys = self._run(first.features[:LEARNED])
        classes = keys or _classes(outputs, answers, labels)
        if classes is None:
            raise InputError(
                f"which output of {self.path} is which class is not known: its answers do not show it. Export it with "
                "names of classes (zipmap, the default of skl2onnx), or give its outputs with --predictions."
            )
        strangers = [label for label in labels if label not in classes]
        if strangers:
            raise InputError(f"{self.path} has no class {strangers[0]!r}; its classes are {', '.join(classes[:20])}.")
        names = tuple(ordered(classes))
        places = {code: names.index(label) for code, label in zip(used, labels, strict=True)}
        model = replace(self, order=tuple(classes.index(name) for name in names))
        numbered = names == tuple(str(at) for at in range(len(names)))
        return model, [
            replace(
                data,
                labels=np.array([places[int(code)] for code in data.classes], np.int64),
                class_names=() if numbered else names,
                class_count=len(names),
            )
            for data in datasets
        ]

    @property
    def _maps(self) -> bool:
        return any(one.name == self.scores and one.type.startswith("seq(map(") for one in self.session.get_outputs())

    def _run(self, features: npt.NDArray[Any]) -> tuple[FloatArray, npt.NDArray[Any], tuple[str, ...]]:
        """Outputs (records, outputs), the model's own labels (none where it gives none), and the keys of its maps."""
        wanted = [self.scores, *([] if self.answers is None else [self.answers])]
        found: list[FloatArray] = []
        answers: list[npt.NDArray[Any]] = []
        keys: tuple[str, ...] = ()
        size = self.inputs.batch or BATCH
        for at in range(0, len(features), size):
            part = features[at : at + size]
            short = size - len(part) if self.inputs.batch else 0
            filled = np.concatenate([part, np.repeat(part[-1:], short, axis=0)]) if short else part
            given = self.inputs.arrays(filled)
            try:
                scores, *labels = self.session.run(wanted, given)
            except _runtime_errors() as error:
                raise InputError(f"{self.path} does not take these records: {_said(error)}") from error
            rows, keys = _rows(scores)
            if rows.ndim != 2 or len(rows) != len(filled):
                raise InputError(
                    f"{self.path} returns outputs of shape {rows.shape} for {len(filled)} records; one row per record "
                    "is needed."
                )
            found.append(rows[: len(part)])
            answers += [np.asarray(one)[: len(part)] for one in labels]
        return np.concatenate(found), np.concatenate(answers) if answers else np.empty(0), keys


def load_onnx(path: Path) -> OnnxModel:
    """Read an ONNX model.

    Args:
        path: of the file.

    Raises:
        InputError: no such file, no ONNX model, operators that are not part of ONNX, not one output of scores.
        MissingDependency: ONNX Runtime is not installed.
    """
    try:
        runtime = import_module("onnxruntime")
    except ImportError as error:
        raise MissingDependency(f"reading {path} needs ONNX Runtime: pip install 'dpaudit[onnx]'") from error
    if not path.is_file():
        raise InputError(f"cannot read {path}: no such file.")
    runtime.set_default_logger_severity(4)  # what is wrong is raised as well
    try:
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except _runtime_errors() as error:
        own = re.search(r"error: (\S+):([^\s:(]+)\(-?\d+\) is not a registered function/op", str(error))
        if own is not None:
            raise InputError(
                f"{path} uses the operator {own[2]!r} of {own[1]!r}, which is not part of ONNX; custom operators are "
                "code and are not loaded: export the model without them, or give its outputs with --predictions."
            ) from error
        raise InputError(f"{path} cannot be read as an ONNX model: {_said(error)}") from error
    inputs = _inputs(session, path)
    scores, answers = _outputs(session, path)
    return OnnxModel(session, path, inputs, scores.name, answers, _task(session, scores, answers))


def _inputs(session: Any, path: Path) -> OnnxInputs:
    found = session.get_inputs()
    kinds = tuple(re.sub(r"tensor\((.*)\)", r"\1", one.type) for one in found)
    for one, kind in zip(found, kinds, strict=True):
        if kind not in NUMBERS and kind != "string":
            raise InputError(f"input {one.name!r} of {path} is {one.type}; tensors of numbers or words are taken.")
        if not one.shape:
            raise InputError(f"input {one.name!r} of {path} has no axis of records; export the model with one.")
    sizes = {one.shape[0] if isinstance(one.shape[0], int) else None for one in found}
    if len(sizes) != 1:
        raise InputError(f"the inputs of {path} take different numbers of records: export it with one batch size.")
    shapes = tuple(tuple(size if isinstance(size, int) else None for size in one.shape[1:]) for one in found)
    plain = Inputs(tuple(one.name for one in found), shapes, by_name=True)  # type: ignore[arg-type]  # None is any size
    return OnnxInputs(plain, kinds, sizes.pop())


def _outputs(session: Any, path: Path) -> tuple[Any, str | None]:
    """The output of scores, and the name of one of labels."""
    found = session.get_outputs()
    scores = [
        one for one in found if one.type.startswith("seq(") or (one.type in FLOATS and len(one.shape or (0,)) <= 2)
    ]
    if len(scores) != 1:
        listed = ", ".join(f"{one.name} {one.type} {_sizes(one.shape)}" for one in found)
        raise InputError(
            f"{path} has {len(scores)} outputs of one row of scores per record, and an audit needs one; it has "
            f"{listed}: export it with one (skl2onnx: options={{'zipmap': False}}), or give its outputs with "
            "--predictions."
        )
    labels = [one.name for one in found if one.type in NAMES and len(one.shape or (0,)) <= 2]
    return scores[0], labels[0] if len(labels) == 1 else None


def _task(session: Any, scores: Any, answers: str | None) -> Task:
    label = next((one for one in session.get_outputs() if one.name == answers), None)
    if scores.type.startswith("seq(tensor") or (label is not None and len(label.shape) == 2 and label.shape[1] != 1):
        return "multilabel"
    return "binary" if scores.type in FLOATS and (len(scores.shape) == 1 or scores.shape[-1] == 1) else "multiclass"


def _rows(scores: Any) -> tuple[FloatArray, tuple[str, ...]]:
    """Scores as an array (records, outputs), and the keys where each record's are a table of classes."""
    if isinstance(scores, list) and scores and isinstance(scores[0], dict):
        keys = list(scores[0])
        names = ordered(canonical(key) for key in keys)
        by_name = {canonical(key): key for key in keys}
        rows = [[float(one[by_name[name]]) for name in names] for one in scores]
        return np.array(rows, np.float64), tuple(names)
    if isinstance(scores, list):  # for each of several labels, the probabilities of no and of yes
        return np.stack([np.asarray(one, np.float64)[:, -1] for one in scores], axis=1), ()
    array = np.asarray(scores, np.float64)
    return (array[:, None] if array.ndim == 1 else array), ()


def _classes(outputs: FloatArray, answers: npt.NDArray[Any], labels: Sequence[str]) -> tuple[str, ...] | None:
    """What each output is called: the label the model gives where that output is the largest.

    Outputs that are never the largest are known where numbers from 0 name the others, or where the labels of the
    records, in order, are as many.

    >>> _classes(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array(["b", "c"]), ["b", "c"])
    ('b', 'c')
    """
    flat = answers.reshape(-1)
    width = outputs.shape[1]
    if flat.size != len(outputs) or width < 2:
        return None
    by_place: dict[int, str] = {}
    top = outputs.argmax(axis=1)
    single = (outputs == outputs.max(axis=1, keepdims=True)).sum(axis=1) == 1
    for place in range(width):
        given, counts = np.unique([canonical(one) for one in flat[single & (top == place)]], return_counts=True)
        if len(given) > 1 and counts.max() < 0.99 * counts.sum():
            return None
        if len(given):
            by_place[place] = str(given[counts.argmax()])
    if len(set(by_place.values())) < len(by_place):
        return None
    for classes in (tuple(map(str, range(width))), tuple(ordered(set(labels) | set(by_place.values())))):
        if len(classes) == width and all(classes[place] == name for place, name in by_place.items()):
            return classes
    return tuple(by_place[place] for place in range(width)) if len(by_place) == width else None


def _runtime_errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises; its classes have no base of their own."""
    module = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    own = [one for one in vars(module).values() if isinstance(one, type) and issubclass(one, Exception)]
    return (*own, RuntimeError, ValueError, TypeError)


def _said(error: Exception) -> str:
    """What ONNX Runtime says, without its codes."""
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from \S+ failed:)?", "", one_line(error))


def _sizes(shape: Any) -> str:
    return f"({', '.join(str(size) for size in shape or ())})"
