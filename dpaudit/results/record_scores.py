"""Scores of single records: they lie beside ``result.json``, in ``scores.npz``, and are no part of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import read_npz, write_npz

FILE = "scores.npz"


@dataclass(frozen=True, eq=False)
class RecordScores:
    """What each attack scored each record, or each user, with.

    Args:
        record: row number in the source of the data (of two files: members first), or the user, shape (records,).
        member: who was trained on, shape (records,).
        model: model under each attack, shape (attacks,).
        attack: its name, shape (attacks,).
        score: higher means more likely a member, shape (attacks, records); 0 where ``judged`` is false.
        judged: whether the attack was judged on the record, shape (attacks, records): it is not on records whose
            membership it was told.
    """

    record: npt.NDArray[np.generic]
    member: BoolArray
    model: tuple[str, ...]
    attack: tuple[str, ...]
    score: FloatArray
    judged: BoolArray

    @classmethod
    def of(
        cls,
        record: npt.NDArray[np.generic],
        member: BoolArray,
        found: Sequence[tuple[str, str, FloatArray, BoolArray]],
    ) -> "RecordScores":
        """From the model, the attack, the scores of the judged records and who they are, for each attack.

        >>> scores = RecordScores.of(np.array([5, 7]), np.array([True, False]), [("m", "a", [0.5], [False, True])])
        >>> scores.score, scores.judged
        (array([[0. , 0.5]]), array([[False,  True]]))
        """
        score, judged = np.zeros((len(found), member.size)), np.zeros((len(found), member.size), bool)
        for row, (_, _, values, kept) in enumerate(found):
            judged[row] = kept
            score[row, judged[row]] = values
        return cls(record, member, tuple(one[0] for one in found), tuple(one[1] for one in found), score, judged)

    def write(self, path: Path) -> None:
        """An NPZ file with the fields as arrays."""
        names: dict[str, npt.NDArray[Any]] = {"model": np.array(self.model, str), "attack": np.array(self.attack, str)}
        record = self.record if self.record.dtype.kind in "biufU" else self.record.astype(str)
        rest = {"record": record, "member": self.member, "score": self.score, "judged": self.judged}
        write_npz(path, {**names, **rest})

    @classmethod
    def read(cls, path: Path) -> "RecordScores":
        """What `write` wrote.

        Raises:
            InputError: the file is missing, or its arrays do not fit together.
        """
        arrays = read_npz(path)
        missing = [name for name in ("record", "member", "model", "attack", "score", "judged") if name not in arrays]
        if missing:
            raise InputError(f"{path} has no array {missing[0]!r}; it is no file of scores beside a result.")
        shape = (arrays["model"].size, arrays["record"].size)
        given = [arrays[name].shape for name in ("score", "judged")]
        if given != [shape, shape] or arrays["attack"].shape != shape[:1] or arrays["member"].shape != shape[1:]:
            raise InputError(f"{path}: score and judged must have the shape {shape} (attacks, records), got {given}.")
        return cls(
            arrays["record"],
            arrays["member"].astype(bool),
            tuple(map(str, arrays["model"])),
            tuple(map(str, arrays["attack"])),
            arrays["score"].astype(np.float64),
            arrays["judged"].astype(bool),
        )


@dataclass(frozen=True)
class ScoresBeside:
    """Where the scores are: in memory after an audit, in a file after reading one. Two results do not differ by it."""

    held: RecordScores | None = field(default=None, compare=False)
    path: Path | None = field(default=None, compare=False)

    @property
    def known(self) -> bool:
        """Whether there are any."""
        return self.held is not None or (self.path is not None and self.path.exists())

    def read(self) -> RecordScores:
        """The scores.

        Raises:
            InputError: there are none.
        """
        if self.held is not None:
            return self.held
        if self.path is None:
            raise InputError("the scores of single records were not kept with this result.")
        if not self.path.exists():
            raise InputError(
                f"{self.path} is not there: the scores of single records lie beside result.json; a result that was "
                "moved without them, or written before they were kept, has none."
            )
        return RecordScores.read(self.path)
