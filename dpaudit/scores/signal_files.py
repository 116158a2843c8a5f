"""Signals on disk, for more records and reference models than fit in memory: mapped, and read in blocks of records.

A folder holds one array a file: ``phi.npy`` (records,), ``reference.npy`` and ``included.npy`` (models, records), and
perhaps ``labels.npy`` (records,), ``population-phi.npy`` (population,) and ``population-reference.npy`` (models,
population). The attacks `lira`, `lira-offline`, `rmia` and `base` read the references block by block; what they hold
beside is a few numbers per record.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import replacing
from dpaudit.runtime.out_of_core import require_finite
from dpaudit.scores.signals import Signals

REFERENCES = ("reference", "included", "population-reference")


def store_signals(folder: Path, signals: Signals) -> None:
    """Write signals as `stored_signals` reads them; references as float32, which is what a model's outputs are."""
    arrays: dict[str, npt.NDArray[Any] | None] = {
        "phi": signals.phi,
        "labels": signals.labels,
        "reference": signals.reference.astype(np.float32),
        "included": signals.included,
    }
    if signals.population is not None:
        arrays["population-phi"] = signals.population.phi
        arrays["population-reference"] = signals.population.reference.astype(np.float32)
    for name, array in arrays.items():
        if array is not None:
            with replacing(folder / f"{name}.npy") as temporary, temporary.open("wb") as stream:
                np.save(stream, array, allow_pickle=False)


def stored_signals(folder: Path) -> Signals:
    """Signals of a folder; the references stay on disk and are mapped.

    Raises:
        InputError: an array is missing, is no array, has the wrong shape or type, or holds values that are not finite.
    """
    phi, reference = _array(folder, "phi"), _array(folder, "reference")
    included = _array(folder, "included")
    if included.dtype != np.bool_:
        raise InputError(f"{folder / 'included.npy'} must hold true/false, got {included.dtype}.")
    _check_numbers(folder / "reference.npy", reference)
    population = None
    if (folder / "population-phi.npy").exists():
        others = _array(folder, "population-reference")
        _check_numbers(folder / "population-reference.npy", others)
        outside = np.zeros((1, 1), bool)  # of no model: one value stands for all
        population = Signals(
            _array(folder, "population-phi"),
            reference=others,
            included=np.broadcast_to(outside, others.shape),
        )
    labels = _array(folder, "labels") if (folder / "labels.npy").exists() else None
    return Signals(phi, labels, reference=reference, included=included, population=population)


def _array(folder: Path, name: str) -> npt.NDArray[Any]:
    path = folder / f"{name}.npy"
    try:
        return np.load(path, mmap_mode="r" if name in REFERENCES else None, allow_pickle=False)  # type: ignore[no-any-return]  # an array, for it is no archive
    except FileNotFoundError as error:
        raise InputError(f"cannot read {path}: no such file.") from error
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"cannot read {path}: {error}.") from error


def _check_numbers(path: Path, values: npt.NDArray[Any]) -> None:
    if values.ndim != 2 or not np.issubdtype(values.dtype, np.floating):
        raise InputError(f"{path} must hold numbers of shape (models, records), got {values.dtype} {values.shape}.")
    require_finite(str(path), values)
