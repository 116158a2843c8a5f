"""JSON lines as files of records: one object a line."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.runtime.check import IntArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import replacing


@dataclass(frozen=True)
class JsonLines:
    """Objects, one a record.

    >>> lines = JsonLines("a.jsonl", ({"text": "a"}, {"text": "b", "label": 1}))
    >>> lines.names, lines.values("text").tolist()
    (['text', 'label'], ['a', 'b'])
    """

    where: str
    rows: Sequence[Mapping[str, Any]]
    suffix: str = ".jsonl"
    kind: str = "JSON lines"
    id_name: str = "dpaudit_id"
    label_name: str = "label"

    @classmethod
    def read(cls, path: Path) -> "JsonLines":
        """The objects of a file; blank lines are none.

        Raises:
            InputError: it is missing, or a line is no JSON object; the line is named.
        """
        rows = []
        try:
            with path.open(encoding="utf-8-sig") as stream:
                for number, line in enumerate(stream, 1):
                    if not line.strip():
                        continue
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise InputError(f"{path}, line {number}: a record must be a JSON object, got {line[:40]!r}.")
                    rows.append(row)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}.") from error
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {number}: this is no JSON ({error.msg}).") from error
        except UnicodeDecodeError as error:
            raise InputError(f"cannot read {path}: it is not UTF-8 text ({error.reason}).") from error
        return cls(str(path), rows, path.suffix)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def names(self) -> list[str]:
        """The keys that any object has."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def values(self, name: str) -> npt.NDArray[Any]:
        """The values of a key; None where an object has it not."""
        found = np.empty(len(self.rows), object)
        found[:] = [row.get(name) for row in self.rows]
        return found

    def with_values(self, name: str, values: npt.NDArray[Any]) -> "JsonLines":
        """The same with a key set; a new one is the first."""
        rows = [
            {**row, name: value} if name in row else {name: value, **row}
            for row, value in zip(self.rows, values.tolist(), strict=True)
        ]
        return replace(self, rows=rows)

    def take(self, rows: IntArray) -> "JsonLines":
        """Some of the objects."""
        return replace(self, rows=[self.rows[row] for row in rows])

    def followed_by(self, other: "JsonLines") -> "JsonLines":
        """Both, one after the other."""
        return replace(self, rows=[*self.rows, *other.rows])

    def write(self, path: Path) -> None:
        """Write one object a line."""
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows)
