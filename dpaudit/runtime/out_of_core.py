"""Arrays of all models and records, which may be larger than memory: on disk where they are large, and worked on in
blocks of records.

How large a block is, and from what size on an array is put on disk, follows from the `Room` there is: `within` sets it.
"""

import math
import mmap
import os
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.machine import free_memory, used_memory

BLOCK_BYTES = 8 * 2**20  # of one array in a block, as float64, at most: a few of them fit a processor's cache
PARTS = 128  # a block takes this part of memory: some ten of its size are held at a time
IN_MEMORY = 8  # an array takes at most this part of memory; larger ones are on disk
# Numbers that an attack and its verdict hold for every record, on one model and on every model of a pool in turn:
# measured on LiRA, which holds most (benchmarks/memory.py).
PER_RECORD, PER_RECORD_OF_POOL = 28, 34

AnyArray = npt.NDArray[Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Room:
    """What work on signals may hold in memory.

    Args:
        memory: bytes of the whole process; None is half of what is free.
        folder: for arrays that are larger than a part of that; None is the one for temporary files.
    """

    memory: int | None = None
    folder: Path | None = None

    @property
    def block_bytes(self) -> int:
        """Of one array in a block; larger blocks than `BLOCK_BYTES` would not be faster."""
        return BLOCK_BYTES if self.memory is None else min(BLOCK_BYTES, self.memory // PARTS)

    def holds(self, size: int) -> bool:
        """Whether an array of ``size`` bytes is kept in memory."""
        if self.memory is not None:
            return size * IN_MEMORY <= self.memory
        return size <= BLOCK_BYTES or size * 2 * IN_MEMORY <= free_memory()

    def wanted(self, records: int, models: int = 0) -> int:
        """Predicted bytes that attacks hold: of each record, and of blocks of them; arguments as in `need`."""
        each = 8 * PER_RECORD if not models else 8 * PER_RECORD_OF_POOL + models  # and who is in which model
        return each * records + 4 * self.block_bytes

    def need(self, records: int, models: int = 0) -> None:
        """Refuse an audit when what it holds of each record does not fit beside what is there already.

        Args:
            records: to be attacked.
            models: of a pool in which each is attacked in turn; 0 without one.

        Raises:
            InputError: it does not.
        """
        wanted = used_memory() + self.wanted(records, models)
        if self.memory is not None and wanted > self.memory:
            raise InputError(
                f"memory of {self.memory / 1e6:,.0f} MB is too little: attacks on {records:,} records need about "
                f"{wanted / 1e6:,.0f} MB in this process, {used_memory() / 1e6:,.0f} MB of which it has already."
            )


_ROOM: ContextVar[Room] = ContextVar("room", default=Room())  # noqa: B039  # frozen


def current_room() -> Room:
    """The room there is."""
    return _ROOM.get()


@contextmanager
def within(memory: int | None, folder: Path | None = None) -> Iterator[None]:
    """Within this block, arrays and blocks are as large as this `Room` allows.

    >>> with within(64_000_000):
    ...     current_room().block_bytes
    500000
    """
    before = _ROOM.set(Room(memory, folder))
    try:
        yield
    finally:
        _ROOM.reset(before)


@dataclass(frozen=True, eq=False)
class Rows(np.lib.mixins.NDArrayOperatorsMixin):
    """Rows of arrays, in memory or mapped, as one array: nothing is copied but what is asked for.

    >>> pool = np.arange(6.0).reshape(3, 2)
    >>> others = Rows([pool[0], pool[2]])
    >>> others.shape, others[1], others[:, :1].tolist(), (others + 1).tolist()
    ((2, 2), array([4., 5.]), [[0.0], [4.0]], [[1.0, 2.0], [5.0, 6.0]])
    """

    rows: Sequence[AnyArray]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all rows together: their number first."""
        return (len(self.rows), *(self.rows[0].shape if self.rows else (0,)))

    @property
    def ndim(self) -> int:
        """One axis more than a row has."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Numbers in all rows together."""
        return math.prod(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the first row."""
        return self.rows[0].dtype if self.rows else np.dtype(np.float64)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> Any:
        first, *others = key if isinstance(key, tuple) else (key,)
        if isinstance(first, int | np.integer):
            return self.rows[int(first)][tuple(others)]
        rows = self.rows[first] if isinstance(first, slice) else [self.rows[i] for i in np.arange(len(self))[first]]
        if not others:
            return Rows(rows)
        return np.stack([row[tuple(others)] for row in rows]) if rows else np.asarray(self)[key]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> AnyArray:
        whole = np.stack(self.rows) if self.rows else np.empty(self.shape)
        return whole if dtype is None else whole.astype(dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        plain = (np.asarray(each) if isinstance(each, Rows) else each for each in inputs)
        return getattr(ufunc, method)(*plain, **options)


def is_mapped(array: Any) -> bool:
    """Whether an array is looked at where it lies and not held in memory."""
    return isinstance(array, np.memmap | Rows)


def some_rows(array: Any, rows: Sequence[int]) -> Any:
    """Some rows of an array: a copy of a small one, a look at one that is mapped or takes much memory."""
    if is_mapped(array) or not current_room().holds(array.nbytes):
        return Rows([array[row] for row in rows])
    return array[list(rows)]


def empty(shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> AnyArray:
    """An array to be filled: in memory, or on disk where it would take too much of it.

    The file lives as long as the array.

    Raises:
        InputError: there is no space on the disk.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size == 0 or current_room().holds(size):
        return np.empty(shape, dtype)
    folder = current_room().folder or Path(tempfile.gettempdir())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".array.", suffix=".part", dir=folder)
    except OSError as error:
        raise InputError(f"cannot write an array of {size / 1e6:,.0f} MB to {folder}: {error.strerror}.") from error
    try:
        if hasattr(os, "posix_fallocate"):  # a disk that is full is said here, and not by a signal later
            os.posix_fallocate(handle, 0, size)
        else:
            os.truncate(handle, size)
        array = np.memmap(name, dtype, "r+", shape=shape)
    except OSError as error:
        Path(name).unlink()
        raise InputError(f"cannot write an array of {size / 1e6:,.0f} MB to {folder}: {error.strerror}.") from error
    finally:
        os.close(handle)
    weakref.finalize(array._mmap, _removed, name)  # type: ignore[attr-defined]  # what every view of it holds on to
    return array


def _removed(name: str) -> None:
    Path(name).unlink(missing_ok=True)


def release(*arrays: Any) -> None:
    """Give back the memory of pages that were looked at; nothing is lost, they are read again when they are wanted."""
    if not hasattr(mmap, "MADV_DONTNEED"):
        return
    parts = [part for array in arrays for part in (array.rows if isinstance(array, Rows) else (array,))]
    for base in {id(base): base for base in map(_base, parts)}.values():
        if isinstance(base, mmap.mmap):
            base.madvise(mmap.MADV_DONTNEED)


def releasing(items: Iterable[T], *arrays: Any) -> Iterator[T]:
    """The items; what was looked at of the arrays with one of them is given back before the next.

    >>> pool = np.eye(2)
    >>> [int(row.sum()) for row in releasing(pool, pool)]
    [1, 1]
    """
    for item in items:
        yield item
        release(*arrays)


def filled(shape: tuple[int, ...], parts: Iterable[tuple[int, AnyArray]]) -> FloatArray:
    """An array as from `empty`, from (first row, rows) one after the other.

    >>> filled((2, 2), ((row, np.full((1, 2), row)) for row in range(2))).tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """
    found = empty(shape)
    for first, rows in releasing(parts, found):
        found[first : first + len(rows)] = rows
    return found


def _base(array: Any) -> Any:
    while isinstance(array, np.ndarray):
        array = array.base
    return array


def over_records(work: Callable[..., tuple[AnyArray, ...]], *arrays: Any) -> tuple[AnyArray, ...]:
    """What ``work`` makes of blocks of records, put together again; large results are on disk.

    Args:
        work: arrays (models, some records, ...) -> arrays (some records,) or (models, some records, ...), record by
            record.
        arrays: each (models, records, ...), in memory or mapped from disk.

    >>> with within(64 * PARTS):  # two or three records at a time
    ...     over_records(lambda phi: (phi.sum(axis=0),), np.ones((2, 5)))
    (array([2., 2., 2., 2., 2.]),)
    """
    records = arrays[0].shape[1]
    each = max(1, *(array.size // max(1, records) for array in arrays))
    # A sum over models of a single record adds up in another order than that of many, so no block has one record.
    width = max(2, current_room().block_bytes // (16 * each))
    blocks = max(1, records // width)
    ends = [records * block // blocks for block in range(blocks + 1)]
    found: tuple[AnyArray, ...] = ()
    for part in map(slice, ends, ends[1:]):
        made = work(*(array[:, part] for array in arrays))
        if blocks == 1:
            release(*arrays)
            return made
        found = found or tuple(_for_all(one, records) for one in made)
        for whole, one in zip(found, made, strict=True):
            whole[part if one.ndim == 1 else (slice(None), part)] = one
            release(whole)
        release(*arrays)
    return found


def _for_all(block: AnyArray, records: int) -> AnyArray:
    leading = block.shape[: min(block.ndim - 1, 1)]
    return empty((*leading, records, *block.shape[2:]), block.dtype)


def select_records(array: Any, records: npt.NDArray[np.bool_]) -> AnyArray:
    """Some records of an array (models, records, ...), by a mask (records,)."""
    chosen = np.flatnonzero(records)  # a mask of many would be read once more for every model
    found = empty((len(array), chosen.size, *array.shape[2:]), array.dtype)
    for model in releasing(range(len(array)), found, array):
        found[model] = array[model][chosen]
    return found


def require_finite(name: str, values: object) -> FloatArray:
    """Numbers (models, records) without NaN or infinity, as float64; those that are mapped stay where they are.

    Raises:
        InputError: they are no such numbers.
    """
    if not is_mapped(values):
        return check.finite(name, values, ndim=2)
    mapped = cast(FloatArray, values)
    for model in releasing(range(len(mapped)), mapped):
        if not np.isfinite(mapped[model]).all():
            raise InputError(f"{name} must be finite: a value of model {model} is NaN or infinite.")
    return mapped
