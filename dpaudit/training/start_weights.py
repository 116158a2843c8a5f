"""Start weights of a Keras model from a file, each array checked by its name, shape and values."""

import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.runtime.errors import InputError, one_line
from dpaudit.runtime.files import read_npz
from dpaudit.training.load_model import KERAS_ERRORS
from dpaudit.training.model_file import arrays_in

SUFFIXES = (".npz", ".safetensors", ".weights.h5", ".keras")
StoredArrays = dict[str, npt.NDArray[Any]]
# Of safetensors; numpy has no bfloat16, whose bits are the upper half of a float32.
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
LONGEST_HEADER = 10**8  # bytes, as the format itself limits it
STORED = re.compile(r"^weights/\d{3,}:")


def load_start(model: Any, path: Path) -> None:
    """Give a Keras model the weights of a file.

    Args:
        model: built, freshly initialised.
        path: ``models/NAME-HASH.npz`` of a run, ``.safetensors`` with the model's variable names, or what Keras 2
            saves of the same architecture, ``.weights.h5`` or ``.keras``.

    Raises:
        InputError: the file cannot be read, or its arrays are not those of the model: another name, shape or kind of
            number, or one that is not finite.
    """
    if not path.is_file():
        raise InputError(f"start weights: there is no file {path}.")
    if path.name.endswith((".weights.h5", ".keras")):
        _load_keras(model, path)
        arrays = {_plain(variable.name): variable.numpy() for variable in model.weights}
    elif path.suffix == ".npz":
        stored = read_npz(path)
        arrays = {_plain(STORED.sub("", name)): value for name, value in stored.items() if STORED.match(name)}
        if not arrays:
            raise InputError(f"start weights: {path} holds no weights of a run; take a file of its folder models/.")
    elif path.suffix == ".safetensors":
        arrays = read_safetensors(path)
    else:
        raise InputError(f"start weights: {path} must end in {', '.join(SUFFIXES)}.")
    model.set_weights(_checked(model, arrays, path))


def read_safetensors(path: Path) -> StoredArrays:
    """StoredArrays of a `safetensors <https://huggingface.co/docs/safetensors>`_ file by name, as float32 or float64.

    The format is the length of a JSON table of types, shapes and places, the table, and the bytes of all arrays.

    Raises:
        InputError: no such file, or an array of another type than floating-point numbers.
    """
    content = path.read_bytes()
    arrays = {}
    try:
        (length,) = struct.unpack("<Q", content[:8])
        if length > min(LONGEST_HEADER, len(content)):
            raise ValueError(f"its table would have {length} bytes")
        table = json.loads(content[8 : 8 + length])
        data = memoryview(content)[8 + length :]
        for name, entry in table.items():
            if name == "__metadata__":
                continue
            if entry["dtype"] not in DTYPES:
                raise InputError(
                    f"start weights: {name!r} of {path} has dtype {entry['dtype']}; known are {', '.join(DTYPES)}."
                )
            begin, end = entry["data_offsets"]
            values = np.frombuffer(data[begin:end], np.dtype(DTYPES[entry["dtype"]])).reshape(entry["shape"])
            if entry["dtype"] == "BF16":
                values = (values.astype(np.uint32) << 16).view(np.float32)
            arrays[name] = values if values.dtype == np.float64 else values.astype(np.float32)
    except InputError:
        raise
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError, struct.error) as error:
        raise InputError(f"start weights: {path} is no safetensors file: {one_line(error)}") from error
    return arrays


def _load_keras(model: Any, path: Path) -> None:
    """By Keras itself, which takes a file apart by the kinds and order of its layers."""
    held = arrays_in(path)
    try:
        model.load_weights(str(path))
    except KERAS_ERRORS as error:
        raise InputError(f"start weights: {path} does not fit the architecture: {one_line(error)}") from error
    if held != len(model.weights):
        raise InputError(
            f"start weights: {path} holds {held} arrays, the architecture has {len(model.weights)}; it is another one."
        )


def _plain(name: str) -> str:
    return name.partition(":")[0]


def _checked(model: Any, arrays: Mapping[str, npt.NDArray[Any]], path: Path) -> list[npt.NDArray[np.float32]]:
    """StoredArrays in the order of ``model.weights``."""
    wanted = {_plain(variable.name): tuple(variable.shape) for variable in model.weights}
    for name, shape in wanted.items():
        if name not in arrays:
            raise InputError(f"start weights: {path} has no {name!r}, which the architecture has with shape {shape}.")
        found = arrays[name]
        if found.shape != shape:
            raise InputError(
                f"start weights: {name!r} has shape {found.shape} in {path}; the architecture needs {shape}."
            )
        if not np.issubdtype(found.dtype, np.floating):
            raise InputError(f"start weights: {name!r} of {path} has dtype {found.dtype}; it must be floating-point.")
        if not np.isfinite(found).all():
            raise InputError(f"start weights: {name!r} of {path} holds values that are not finite.")
    if more := sorted(set(arrays) - set(wanted)):
        raise InputError(f"start weights: {path} holds {more[0]!r}, which the architecture does not have.")
    return [np.asarray(arrays[name], np.float32) for name in wanted]
