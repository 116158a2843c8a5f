"""Reading and writing without surprises: whole files or none, no pickle, one clear line when it fails."""

import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to; renamed to ``path`` when the block ends well, removed otherwise.

    Raises:
        InputError: the folder cannot be written, the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}.") from error
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_npz(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write named arrays, whole or not at all. Arrays of Python objects are refused: they would be pickled."""
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise InputError(f"{path}: array {name!r} holds Python objects and is not stored.")
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)


def read_text(path: Path) -> str:
    """Read a UTF-8 text file.

    Raises:
        InputError: it is missing, unreadable or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"cannot read {path}: it is not UTF-8 text ({error.reason} at byte {error.start}).") from error


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read all arrays of an NPZ file; pickled arrays are refused.

    Raises:
        InputError: it is missing, truncated, no NPZ file, or holds pickled arrays.
    """
    try:
        with path.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InputError(f"cannot read {path}: it is a single array, not an NPZ archive.")
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise InputError(f"cannot read {path}: no such file.") from error
    except InputError:
        raise
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise InputError(
                f"cannot read {path}: it holds pickled Python objects, which could run code; "
                "save plain arrays with numpy.savez."
            ) from error
        raise InputError(f"cannot read {path}: {error}.") from error
    except (OSError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise InputError(f"cannot read {path}: it is truncated or not an NPZ file ({error}).") from error
