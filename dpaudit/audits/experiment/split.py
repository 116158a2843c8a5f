"""Divide data at random into what to train on and what to hold out, so that an audit of the training is valid."""

import hashlib
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dpaudit.audits.experiment.sealed import Experiment, refuse_full, sealed
from dpaudit.data.formats.opening import fingerprint_of, open_records
from dpaudit.data.formats.record_file import RecordFile, refuse_repeated, require_name, words_of
from dpaudit.data.inclusion import included_by_name
from dpaudit.results.result import VERSIONS_OF
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.machine import versions_of

if TYPE_CHECKING:
    import pandas as pd


def split_data(
    data: str | Path,
    out: str | Path,
    *,
    user: str | None = None,
    share: float = 0.5,
    seed: int | None = None,
    label: str | None = None,
    identifier: str | None = None,
) -> Experiment:
    """Include each record, or each user, independently with one probability, and seal who was included.

    Args:
        data: CSV, Parquet, NPZ, JSON lines, a folder of images (one folder a class), or a data set that the library
            ``datasets`` has saved.
        out: folder of the experiment: ``train`` and ``heldout`` in the format of the data, ``experiment.json`` and
            ``inclusion.csv``.
        user: column that says whose record it is: all records of a user are then included together.
        share: probability of inclusion; 1/2 shows most about a leak.
        seed: of the inclusions; None draws one.
        label: column of the labels; None is ``label`` (NPZ: ``labels``) where there is one.
        identifier: column of ids, one for each record; None is ``dpaudit_id`` (NPZ: ``id``), which is added where it
            is missing. Ids are words, and no features: leave them out of the training.

    Raises:
        InputError: data that cannot be read, an id that is there twice, records without a user, a folder that is there
            already, or so few units that all fall on one side.
    """
    source, folder = Path(data), Path(out)
    check.open_unit("share", share)
    refuse_full(folder)
    records = open_records(source)
    fingerprint = fingerprint_of(source)
    drawn = secrets.randbits(48) if seed is None else check.integer("seed", seed, at_least=0)
    label = label_of(records, label)
    if user is not None:
        require_name(records, user)
    name, records = with_ids(records, identifier, tag_of(fingerprint, drawn))
    ids = words_of(records, name, "the id")
    refuse_repeated(ids, f"{records.where}: column {name!r}")
    if user is not None and user in (name, label):
        raise InputError(
            f"column {user!r} cannot say whose a record is and be its {'id' if user == name else 'label'}."
        )
    users = None if user is None else words_of(records, user, "the user")
    units, place = np.unique(ids if users is None else users, return_inverse=True)
    chosen = included_by_name(units.tolist(), share, seed=drawn)
    refuse_one_sided(chosen, "records" if users is None else "users")
    included = chosen[place]
    return sealed(
        folder,
        records.take(np.flatnonzero(included)),
        records.take(np.flatnonzero(~included)),
        inclusion_table(records, ids, users, included, label),
        {
            "audited": "split",
            "kind": None,
            "classes": None,
            "unit": "record" if users is None else "user",
            "share": float(share),
            "seed": drawn,
            "units": int(units.size),
            "id": name,
            "label": label,
            "user": user,
            "source": source.name,
            "source_sha256": fingerprint,
            "versions": versions_of(VERSIONS_OF),
        },
    )


def tag_of(fingerprint: str, seed: int) -> str:
    """What ids begin with, so that those of another data set, or of other inclusions, are other ones."""
    return hashlib.sha256(f"{fingerprint} {seed}".encode()).hexdigest()[:6]


def with_ids(records: RecordFile, identifier: str | None, tag: str) -> tuple[str, RecordFile]:
    """The column of ids, and the records with it.

    Ids are words, so that a training which takes them for a feature fails at once and learns nothing from them. They
    begin with a letter: ``12345e-07`` would be read as a number.
    """
    name = identifier or records.id_name
    if identifier is not None:
        require_name(records, identifier)
    if name in records.names:
        return name, records
    return name, records.with_values(name, numbered(f"r{tag}", len(records)))


def numbered(begin: str, count: int) -> npt.NDArray[np.str_]:
    """Ids by number.

    >>> numbered("a1", 11)[[0, 10]].tolist()
    ['a1-00', 'a1-10']
    """
    width = len(str(count - 1))
    return np.array([f"{begin}-{number:0{width}d}" for number in range(count)], np.str_)


def label_of(records: RecordFile, label: str | None) -> str | None:
    """The column of labels, where there is one."""
    if label is not None:
        require_name(records, label)
        return label
    return records.label_name if records.label_name in records.names else None


def inclusion_table(
    records: RecordFile,
    ids: npt.NDArray[np.str_],
    users: npt.NDArray[np.str_] | None,
    included: BoolArray,
    label: str | None,
) -> "pd.DataFrame":
    """What ``inclusion.csv`` holds; labels of several numbers are left to the predictions."""
    import pandas as pd

    columns: dict[str, npt.NDArray[Any]] = {"id": ids, **({} if users is None else {"user": users})}
    columns["included"] = included.astype(int)
    labels = None if label is None else records.values(label)
    if labels is not None and labels.ndim == 1:
        columns["label"] = labels.astype(str)
    table: pd.DataFrame = pd.DataFrame(columns)
    return table


def refuse_one_sided(included: BoolArray, what: str) -> None:
    """Refuse inclusions that leave nothing to compare."""
    if included.all() or not included.any():
        raise InputError(
            f"all {included.size} {what} fell on one side ({'trained on' if included.all() else 'held out'}): "
            f"an experiment needs more {what}, or a share nearer to 1/2."
        )
