"""Which records are to be forgotten, and which stay."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dpaudit.audits.audit import Audit
from dpaudit.data.dataset import Dataset
from dpaudit.data.source import with_added
from dpaudit.runtime.check import IntArray, printable
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import read_text

LONGEST = 15  # digits of a row number


@dataclass(frozen=True)
class ForgetSet:
    """The records of an unlearning audit.

    Args:
        records: those to be forgotten first, then those that stay.
        names: row numbers in the source of those to be forgotten, shape (forgotten,).
        population: records that no model is trained on.
    """

    records: Dataset
    names: IntArray
    population: Dataset


def choose_forget_set(forget: int | str, audit: Audit) -> ForgetSet:
    """The records to be forgotten: some training records at random, or those that a file names.

    Training records that are not to be forgotten stay. A named record may be one that no model under audit was trained
    on: each model here draws for itself whether it is.

    Raises:
        InputError: the file names no records, or one that there is not, or one twice; or no training record stays.
    """
    if isinstance(forget, int):
        members = np.flatnonzero(audit.member)
        if forget >= len(members):
            raise InputError(
                f"unlearning.forget = {forget} of {len(members)} training records leaves none to train on."
            )
        chosen = np.random.default_rng(audit.seed_for("forget")).permutation(members)[:forget]
        names = audit.dataset.source_rows[np.sort(chosen)]
    else:
        names = read_names(Path(forget))
    everything, aside = audit.dataset, audit.population
    known = np.concatenate([everything.source_rows, aside.source_rows])
    unknown = names[~np.isin(names, known)]
    if unknown.size:
        raise InputError(
            f"{printable(str(forget))} names record {unknown[0]}, which {everything.name} does not have: its "
            f"{len(known)} records are rows {known.min()} to {known.max()}."
        )
    place = {name: at for at, name in enumerate(known.tolist())}
    rows = np.array([place[name] for name in names.tolist()])
    stays = np.flatnonzero(audit.member & ~np.isin(everything.source_rows, names))
    if not stays.size:
        raise InputError(f"{printable(str(forget))} names every training record; forget fewer.")
    together = with_added(everything, aside)
    untouched = np.flatnonzero(~np.isin(aside.source_rows, names))
    if not untouched.size:
        raise InputError(f"{printable(str(forget))} names every record of the population; forget fewer.")
    return ForgetSet(together.take(np.concatenate([rows, stays])), names, aside.take(untouched))


def read_names(path: Path) -> IntArray:
    """Row numbers from a file, one on each line.

    Raises:
        InputError: it holds fewer than two, something else, or one of them twice.
    """
    lines = [(number, line.strip()) for number, line in enumerate(read_text(path).splitlines(), start=1)]
    found: dict[int, int] = {}
    for number, line in lines:
        if not line:
            continue
        if not line.isdecimal() or len(line) > LONGEST:
            raise InputError(
                f"line {number} of {path} must be the row number of a record, from 0 on, got {printable(line[:40])!r}."
            )
        if int(line) in found:
            raise InputError(f"{path} names record {line} twice, on lines {found[int(line)]} and {number}.")
        found[int(line)] = number
    if len(found) < 2:
        raise InputError(f"{path} must name at least 2 records, one row number on each line; it names {len(found)}.")
    return np.array(list(found), np.int64)
