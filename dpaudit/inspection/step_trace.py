"""A file of who was in the batch of each step, with what the accountant was told: written by a training, judged later.

It is an NPZ file: ``records``, the size of each step's batch (``sizes``) and their record numbers one after the other
(``drawn``); and, where the training knows them, ``noise_multiplier``, ``steps``, ``sampling`` and its number
(``rate``, with ``largest_batch`` where batches are truncated, ``batch_size`` or ``batches_per_epoch``) as they were
accounted, ``noise_draws`` and ``accounted_steps``.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.accounting.claim import (
    SAMPLINGS,
    FixedSize,
    GaussianSteps,
    Poisson,
    Sampling,
    Shuffled,
    TruncatedPoisson,
)
from dpaudit.inspection.recorded import RecordedBatches
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import read_npz, write_npz

COUNTS = ("noise_draws", "accounted_steps")  # that a training may not know


def write_steps(path: str | Path, batches: RecordedBatches, accounted: GaussianSteps | None = None) -> None:
    """Write who was in which step, for ``dpaudit inspect PATH``.

    Args:
        path: ending in ``.npz``, so that it is known for one.
        batches: what happened.
        accounted: what the accountant was told; None leaves it to whoever inspects the file.

    Raises:
        InputError: another ending.
    """
    place = checked_path(path)
    known: dict[str, Any] = {name: value for name in COUNTS if (value := getattr(batches, name)) is not None}
    if accounted is not None:
        known |= {"noise_multiplier": accounted.noise_multiplier, "steps": accounted.steps}
        known |= {"sampling": SAMPLINGS[type(accounted.sampling)], **_numbers(accounted.sampling)}
    drawn = [np.asarray(batch, np.int64) for batch in batches.batches]
    arrays = {
        "records": np.asarray(batches.records),
        "sizes": np.array([len(batch) for batch in drawn], np.int64),
        "drawn": np.concatenate(drawn),
        **{name: np.asarray(value) for name, value in known.items()},
    }
    write_npz(place, arrays)


def checked_path(path: str | Path) -> Path:
    """A path ending in ``.npz``, so that the file is known for a trace of steps.

    Raises:
        InputError: another ending.
    """
    place = Path(path)
    if place.suffix != ".npz":
        raise InputError(f"a trace of steps is an .npz file, got {place}.")
    return place


def read_steps(path: str | Path) -> tuple[RecordedBatches, GaussianSteps | None]:
    """Who was in which step, and what was accounted where the file says so.

    Raises:
        InputError: no file, another file, or sizes that do not fit the record numbers.
    """
    place = Path(path)
    arrays = read_npz(place)
    missing = [name for name in ("records", "sizes", "drawn") if name not in arrays]
    if missing:
        raise InputError(f"{place} is no trace of steps: it holds no {missing[0]!r} ({__name__} has the format).")
    sizes, drawn = (_whole(place, name, arrays[name]) for name in ("sizes", "drawn"))
    if (sizes < 0).any() or sizes.sum() != drawn.size:
        raise InputError(f"{place}: the batches hold {int(sizes.sum())} records, and {drawn.size} are listed.")
    steps = np.split(drawn, np.cumsum(sizes)[:-1])
    counts = {name: int(_one(place, name, arrays[name])) for name in COUNTS if name in arrays}
    try:
        batches = RecordedBatches(int(_one(place, "records", arrays["records"])), steps if sizes.size else [], **counts)
        return batches, _accounted(place, arrays)
    except InputError as error:
        raise InputError(str(error) if str(error).startswith(str(place)) else f"{place}: {error}") from error


def with_stated(
    accounted: GaussianSteps | None,
    *,
    noise_multiplier: float | None,
    rate: float | None,
    steps: int | None,
    ran: int,
) -> GaussianSteps:
    """What was accounted, with what is typed in the place of what the file says.

    Args:
        accounted: what the file says; None says nothing.
        noise_multiplier: as typed.
        rate: of Poisson batches, as typed.
        steps: as typed; where nothing says them, as many as ran.
        ran: steps of the trace.

    Raises:
        InputError: neither says it.
    """
    if accounted is None:
        if noise_multiplier is None or rate is None:
            missing = "--noise-multiplier" if noise_multiplier is None else "--rate"
            raise InputError(f"{missing} is needed: the trace of steps does not say what was accounted.")
        return GaussianSteps(noise_multiplier, ran if steps is None else steps, Poisson(rate))
    return GaussianSteps(
        accounted.noise_multiplier if noise_multiplier is None else noise_multiplier,
        accounted.steps if steps is None else steps,
        accounted.sampling if rate is None else Poisson(rate),
    )


def with_cut(accounted: GaussianSteps, largest_batch: int, records: int) -> GaussianSteps:
    """What was accounted, with Poisson batches that are cut at a largest size.

    Raises:
        InputError: its batches are not Poisson.

    >>> with_cut(GaussianSteps(1.0, 10, Poisson(0.1)), 12, 100).sampling
    TruncatedPoisson(rate=0.1, largest_batch=12, records=100)
    """
    if not isinstance(accounted.sampling, Poisson | TruncatedPoisson):
        raise InputError("only Poisson batches are cut at a largest size: give --rate, their rate, too.")
    return replace(accounted, sampling=TruncatedPoisson(accounted.sampling.rate, largest_batch, records))


def _numbers(sampling: Sampling) -> dict[str, float]:
    match sampling:
        case Poisson():
            return {"rate": sampling.rate}
        case TruncatedPoisson():
            return {"rate": sampling.rate, "largest_batch": sampling.largest_batch}
        case FixedSize():
            return {"batch_size": sampling.batch_size}
        case Shuffled():
            return {"batches_per_epoch": sampling.batches_per_epoch}


def _accounted(place: Path, arrays: dict[str, npt.NDArray[Any]]) -> GaussianSteps | None:
    if "sampling" not in arrays:
        return None
    held = {
        name: _one(place, name, arrays[name]) for name in arrays if name not in ("sizes", "drawn", "records", *COUNTS)
    }
    check.one_of("sampling", held["sampling"], tuple(SAMPLINGS.values()))
    try:
        sampling: Sampling
        match held["sampling"]:
            case "poisson":
                sampling = Poisson(held["rate"])
            case "truncated-poisson":
                sampling = TruncatedPoisson(held["rate"], int(held["largest_batch"]), int(arrays["records"]))
            case "fixed-size":
                sampling = FixedSize(int(held["batch_size"]), int(arrays["records"]))
            case _:
                sampling = Shuffled(int(held["batches_per_epoch"]))
        return GaussianSteps(held["noise_multiplier"], int(held["steps"]), sampling)
    except KeyError as error:
        raise InputError(f"{place} states sampling {str(held['sampling'])!r} without {error}.") from error


def _one(place: Path, name: str, value: npt.NDArray[Any]) -> Any:
    if value.shape != ():
        raise InputError(f"{place}: {name} must be a single value, got shape {value.shape}.")
    return value.item()


def _whole(place: Path, name: str, values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
        raise InputError(f"{place}: {name} must be whole numbers, got {values.dtype} of shape {values.shape}.")
    return values.astype(np.int64)
