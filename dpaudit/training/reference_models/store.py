"""A folder of results, each under a hash of what it depends on: written whole or not at all, checked when read."""

import hashlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import map_npz, read_npz, write_npz
from dpaudit.runtime.out_of_core import releasing

logger = logging.getLogger(__name__)

NamedArrays = dict[str, npt.NDArray[Any]]
VERSION = "_version"
DIGEST = "_digest"
LONGEST_LABEL = 64
HASHED = 2**20  # numbers at a time, so that an array that is mapped is never in memory as a whole


def digest(*parts: object) -> str:
    """SHA-256 of what a result depends on: arrays by their bytes, everything else by its text.

    >>> digest("a", 1) == digest("a", 1), digest("a", 1) == digest("a", 2)
    (True, False)
    """
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            total.update(f"{part.dtype}{part.shape}".encode())
            whole = part.flags.c_contiguous or part.ndim < 2
            for row in (part,) if whole else part:  # a copy of it all could be larger than memory
                content = np.ascontiguousarray(row).reshape(-1)
                for at in releasing(range(0, content.size, HASHED), content):
                    total.update(content[at : at + HASHED].view(np.uint8).data)  # without a copy
        else:
            total.update(repr(part).encode())
        total.update(b"\0")
    return total.hexdigest()


def describe_value(value: object) -> str:
    """Text that differs whenever a task would do something else with the value.

    A dataclass is its fields, a list its items and an array its bytes; what depends on a file, on code or on records
    has a ``fingerprint``.

    >>> from dpaudit.training.architecture import Mlp
    >>> describe_value(Mlp((8,)))
    "Mlp(hidden=(8), activation='relu')"
    """
    fingerprint = getattr(value, "fingerprint", None)
    if fingerprint is not None:
        return f"{type(value).__qualname__}({fingerprint})"
    if is_dataclass(value) and not isinstance(value, type):
        parts = ", ".join(f"{field.name}={describe_value(getattr(value, field.name))}" for field in fields(value))
        return f"{type(value).__qualname__}({parts})"
    if isinstance(value, list | tuple):
        return f"({', '.join(map(describe_value, value))})"
    return digest(value) if isinstance(value, np.ndarray) else repr(value)


def place(folder: Path, key: str, suffix: str = "", *, label: str = "") -> Path:
    """Where what has a key is in a folder, or would be put: ``KEY`` or ``LABEL-KEY``, and the suffix.

    The key alone says what it is. The label before it is for people, so anything is found whatever its label is.

    >>> place(Path("models"), "5eed", ".npz", label="plain, no DP").name
    'plain-no-DP-5eed.npz'
    """
    unlabelled = folder / f"{key}{suffix}"
    if unlabelled.exists():
        return unlabelled
    labelled = sorted(folder.glob(f"*-{key}{suffix}"))
    safe = re.sub("[^A-Za-z0-9_.-]+", "-", label)[:LONGEST_LABEL].strip(".-")
    return labelled[0] if labelled else folder / f"{safe}-{key}{suffix}" if safe else unlabelled


@dataclass(frozen=True)
class Store:
    """A folder of NPZ files.

    Args:
        folder: where; made when something is first put there.
        version: of what writes the results; a file from another version is not used.
    """

    folder: Path
    version: str

    def path(self, key: str, *, label: str = "") -> Path:
        """File of a key; a new one would have the label in its name."""
        return place(self.folder, key, ".npz", label=label)

    def put(self, key: str, arrays: Mapping[str, npt.NDArray[Any]], *, label: str = "") -> None:
        """Write arrays under a key, in a file whose name begins with the label."""
        extra = {VERSION: np.array(self.version), DIGEST: np.array(_digest(arrays))}
        write_npz(self.path(key, label=label), {**arrays, **extra})

    def get(self, key: str, *, mapped: bool = False) -> NamedArrays | None:
        """Arrays under a key; None, with a warning that says why, when the file is damaged or of another version.

        Args:
            key: as in `put`.
            mapped: leave them on disk and look at them there.
        """
        path = self.path(key)
        if not path.exists():
            return None
        try:
            arrays = map_npz(path) if mapped else read_npz(path)
        except InputError as error:
            logger.warning("%s; it is made again", str(error).rstrip("."))
            return None
        version, stated = arrays.pop(VERSION, None), arrays.pop(DIGEST, None)
        if version is None or stated is None or str(stated) != _digest(arrays):
            logger.warning("%s is damaged; it is made again", path)
            return None
        if str(version) != self.version:
            logger.warning("%s was written by version %s, this is %s; it is made again", path, version, self.version)
            return None
        return arrays

    def read_back(self, key: str) -> NamedArrays:
        """Arrays that were just put under a key, mapped.

        Raises:
            InputError: they are not there any more, or not what was written.
        """
        found = self.get(key, mapped=True)
        if found is None:
            raise InputError(f"cannot read {self.path(key)}, which was written just now.")
        return found


def _digest(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    return digest(*(part for name in sorted(arrays) for part in (name, arrays[name])))
