"""Reading and writing without surprises: whole files or none, no pickle, one clear line when it fails."""

import logging
import os
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dpaudit.runtime.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

logger = logging.getLogger(__name__)

LARGEST_TEXT = 256 * 2**20  # bytes; a result of 40 models under 12 attacks has 10 MB
LARGEST_ARRAYS = 16 * 2**30  # bytes once unpacked
LOCK = ".lock"
LEFT_OVER = ".*.part"  # names that a process killed in the middle of writing leaves behind


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


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Work in a folder that no other process works in: a second one waits until the first has ended, however it did.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / LOCK).open("a")
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}.") from error
    with stream:  # closing the file, which the end of the process does too, gives the lock back
        if not _locked(stream.fileno(), wait=False):
            logger.warning("another process works in %s; waiting for it to end", folder)
            while not _locked(stream.fileno(), wait=True):
                pass
        yield


if sys.platform == "win32":

    def _locked(handle: int, *, wait: bool) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        except OSError:  # taken; waiting gives up after ten seconds and is asked again
            return False
        return True

else:

    def _locked(handle: int, *, wait: bool) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_npz(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write named arrays, whole or not at all. Arrays of Python objects are refused: they would be pickled."""
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise InputError(f"{path}: array {name!r} holds Python objects and is not stored.")
    # Not by numpy.savez, which leaves the archive open when the disk is full, and Python then prints a traceback.
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)  # type: ignore[no-untyped-call]  # numpy types it not


def read_text(path: Path) -> str:
    """Read a UTF-8 text file.

    Raises:
        InputError: it is missing, unreadable, not UTF-8 or larger than any file of ours.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST_TEXT + 1)
        if len(content) > LARGEST_TEXT:
            raise InputError(f"cannot read {path}: it is larger than {LARGEST_TEXT >> 20} MiB.")
        return content.decode("utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"cannot read {path}: it is not UTF-8 text ({error.reason} at byte {error.start}).") from error


def parse_toml(text: str, where: object) -> dict[str, Any]:
    """TOML text as a table.

    Raises:
        InputError: it is no TOML.

    >>> parse_toml("rounds = 3", "here")
    {'rounds': 3}
    """
    try:
        table: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where} is not valid TOML: {error}.") from error
    except RecursionError as error:
        raise InputError(f"{where} is nested too deeply.") from error
    return table


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read all arrays of an NPZ file; pickled arrays are refused.

    Raises:
        InputError: it is missing, truncated, no NPZ file, holds pickled arrays, or unpacks to more than any of ours.
    """
    with _one_line_for(path), path.open("rb") as stream:
        archive = np.load(stream, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError(f"cannot read {path}: it is a single array, not an NPZ archive.")
        unpacked = sum(entry.file_size for entry in archive.zip.infolist())
        if unpacked > LARGEST_ARRAYS:
            raise InputError(f"cannot read {path}: it unpacks to {unpacked >> 30} GiB.")
        arrays = {name: archive[name] for name in archive.files}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise InputError(f"cannot read {path}: {name!r} is no array.")
    return arrays


def map_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Arrays of an NPZ file that was written by `write_npz`, left on disk and mapped; nothing checks their content.

    Raises:
        InputError: as for `read_npz`.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    with _one_line_for(path), path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                raise InputError(f"cannot read {path}: {entry.filename!r} is compressed and cannot be mapped.")
            stream.seek(entry.header_offset + 26)  # of a local header: the lengths of the two fields at its end
            lengths = stream.read(4)
            stream.seek(int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little"), os.SEEK_CUR)
            version = np.lib.format.read_magic(stream)  # type: ignore[no-untyped-call]  # numpy types it not
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, by_columns, dtype = header(stream)  # type: ignore[no-untyped-call]  # nor this
            if dtype.hasobject:
                raise InputError(f"cannot read {path}: it holds pickled Python objects, which could run code.")
            order: Literal["C", "F"] = "F" if by_columns else "C"
            if 0 in shape:
                arrays[entry.filename.removesuffix(".npy")] = np.empty(shape, dtype)
                continue
            mapped = np.memmap(stream, dtype, "r", offset=stream.tell(), shape=shape or (1,), order=order)
            arrays[entry.filename.removesuffix(".npy")] = mapped if shape else np.array(mapped[0])
    return arrays


@contextmanager
def _one_line_for(path: Path) -> Iterator[None]:
    """What is wrong with an NPZ file, in one line."""
    try:
        yield
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
    except _NO_NPZ as error:
        raise InputError(f"cannot read {path}: it is truncated or not an NPZ file ({error}).") from error


# What numpy, zipfile and zlib raise on bytes that are no NPZ: broken, encrypted or oddly packed members, headers
# that are no Python literal or claim more than there is memory for.
_NO_NPZ = (
    OSError, zipfile.BadZipFile, zlib.error, EOFError, KeyError, MemoryError, NotImplementedError, OverflowError,
    RuntimeError, SyntaxError, TypeError,
)  # fmt: skip
