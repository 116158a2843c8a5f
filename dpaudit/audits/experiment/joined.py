"""The inclusions of an experiment joined to what a model gave, by the ids of the records: the one place for it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dpaudit.audits.experiment.sealed import Experiment
from dpaudit.runtime.check import BoolArray, IntArray
from dpaudit.runtime.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class JoinedInclusions:
    """The audited records among rows that were given, with who was included; in the order of the experiment.

    Args:
        rows: of what was given, shape (records,): row ``rows[i]`` is the experiment's record i.
        member: who was included, shape (records,).
        users: whose they are; None where records were included one by one.
        labels: as words; None where the experiment has none.
        others: how many rows are no audited records.
    """

    rows: IntArray
    member: BoolArray
    users: npt.NDArray[np.str_] | None
    labels: npt.NDArray[np.str_] | None
    others: int = 0


def join_inclusions(experiment: Experiment, ids: npt.NDArray[np.str_], where: str) -> JoinedInclusions:
    """Find the audited records by their ids, whatever their order: the one place where membership enters.

    Args:
        experiment: as read.
        ids: of rows that were given, shape (rows,), written as `as_words` does.
        where: they come from, for messages.

    Raises:
        InputError: an id twice, audited records that are missing, or rows of another data set.
    """
    import pandas as pd

    given = pd.Index(ids)
    known = pd.Index(experiment.ids)
    repeated = given.duplicated()
    if repeated.any():
        raise InputError(
            f"{where} has {int(repeated.sum())} row(s) too many: id {given[repeated][0]!r} is there more than once. "
            "Give one row for each record."
        )
    rows = given.get_indexer(known)
    strange = given.difference(known)
    if (rows < 0).all():
        raise InputError(
            f"no id in {where} is one of this experiment: they are {_some(given)}, and its own {_some(known)}. Is it "
            "of another data set, or of another experiment?"
        )
    if (rows < 0).any():
        raise InputError(f"{where} lacks {_lacking(experiment, rows < 0)}: give every record, whoever was trained on.")
    if len(strange) and experiment.manifest.audited == "split":
        raise InputError(
            f"{where} has {len(strange)} id(s) that this experiment does not know, such as {strange[0]!r}: leave them "
            "out, or see whether it is of another data set."
        )
    return JoinedInclusions(
        rows.astype(np.int64), experiment.included, experiment.users, experiment.labels, len(strange)
    )


def _some(ids: "pd.Index[Any]") -> str:
    return ", ".join(repr(each) for each in ids[:2]) + (", ..." if len(ids) > 2 else "")


def _lacking(experiment: Experiment, missing: BoolArray) -> str:
    count = f"{int(missing.sum())} of {missing.size} audited records, such as {experiment.ids[missing.argmax()]!s}"
    if experiment.users is None:
        return count
    owner = np.unique(experiment.users)
    whole = np.setdiff1d(owner, experiment.users[~missing])
    if not whole.size:
        return count
    return f"{count}, and all records of {whole.size} of {owner.size} users, such as {whole[0]!s}"
