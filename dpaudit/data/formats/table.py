"""Tables as files of records: CSV with every cell as it is written, Parquet with every type as it is."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.data.load import read_table
from dpaudit.runtime.check import IntArray
from dpaudit.runtime.errors import InputError, one_line
from dpaudit.runtime.files import replacing


@dataclass(frozen=True)
class CsvTable:
    """Rows of a CSV file, as text.

    >>> import pandas as pd
    >>> table = CsvTable("a.csv", pd.DataFrame({"x": ["007", "1.10"]}))
    >>> table.take(np.array([1])).values("x").tolist()
    ['1.10']
    """

    where: str
    table: Any
    kind: str = "CSV"
    suffix: str = ".csv"
    id_name: str = "dpaudit_id"
    label_name: str = "label"

    @classmethod
    def read(cls, path: Path) -> "CsvTable":
        """The rows of a file."""
        return cls(str(path), read_table(path, as_written=True))

    def __len__(self) -> int:
        return len(self.table)

    @property
    def names(self) -> list[str]:
        """The columns."""
        return [str(name) for name in self.table.columns]

    def values(self, name: str) -> npt.NDArray[Any]:
        """A column, as text."""
        return np.asarray(self.table[name].to_numpy(object).astype(str))

    def with_values(self, name: str, values: npt.NDArray[Any]) -> "CsvTable":
        """The table with a column set; a new one is the first."""
        return replace(self, table=_with_column(self.table, name, values.astype(str).astype(object)))

    def take(self, rows: IntArray) -> "CsvTable":
        """Some rows."""
        return replace(self, table=self.table.iloc[rows])

    def followed_by(self, other: "CsvTable") -> "CsvTable":
        """Both tables, one below the other."""
        import pandas as pd

        return replace(self, table=pd.concat([self.table, other.table[self.table.columns]], ignore_index=True))

    def frame(self) -> Any:
        """The columns as numbers where all their cells are."""
        return self.table.apply(_numbers)

    def write(self, path: Path) -> None:
        """Write a CSV file."""
        with replacing(path) as temporary:
            self.table.to_csv(temporary, index=False)


@dataclass(frozen=True)
class ParquetTable:
    """Rows of a Parquet file, as an Arrow table."""

    where: str
    table: Any
    kind: str = "Parquet"
    suffix: str = ".parquet"
    id_name: str = "dpaudit_id"
    label_name: str = "label"

    @classmethod
    def read(cls, path: Path) -> "ParquetTable":
        """The rows of a file.

        Raises:
            InputError: it is missing or no Parquet file.
        """
        from pyarrow.parquet import read_table as read_arrow

        try:
            return cls(str(path), read_arrow(path))
        except FileNotFoundError as error:
            raise InputError(f"cannot read {path}: no such file.") from error
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read {path}: {one_line(error)}.") from error

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def names(self) -> list[str]:
        """The columns."""
        return list(self.table.column_names)

    def values(self, name: str) -> npt.NDArray[Any]:
        """A column."""
        return np.asarray(self.table.column(name).to_pandas(integer_object_nulls=True))

    def with_values(self, name: str, values: npt.NDArray[Any]) -> "ParquetTable":
        """The table with a column set, in its type unless it cannot hold them; a new one is the first."""
        import pyarrow as pa

        column = pa.array(values, from_pandas=True)
        if name not in self.table.column_names:
            return replace(self, table=self.table.add_column(0, name, column))
        place, old = self.table.column_names.index(name), self.table.schema.field(name)
        if not pa.types.is_string(column.type) and not _fractions(column, old.type):
            column = column.cast(old.type)
        return replace(self, table=self.table.set_column(place, name, column))

    def take(self, rows: IntArray) -> "ParquetTable":
        """Some rows."""
        return replace(self, table=self.table.take(rows))

    def followed_by(self, other: "ParquetTable") -> "ParquetTable":
        """Both tables, one below the other."""
        import pyarrow as pa

        parts = [self.table, other.table.select(self.table.column_names)]
        return replace(self, table=pa.concat_tables(parts, promote_options="permissive"))

    def frame(self) -> Any:
        """The columns as a data frame."""
        return self.table.to_pandas(ignore_metadata=True)

    def write(self, path: Path) -> None:
        """Write a Parquet file."""
        from pyarrow.parquet import write_table

        with replacing(path) as temporary:
            write_table(self.table, temporary)


def _fractions(column: Any, wanted: Any) -> bool:
    """Whether numbers have fractions that whole ones cannot hold."""
    import pyarrow as pa

    return bool(pa.types.is_floating(column.type) and pa.types.is_integer(wanted))


def _with_column(table: Any, name: str, values: npt.NDArray[Any]) -> Any:
    if name in table.columns:
        return table.assign(**{name: values})
    made = table.copy()
    made.insert(0, name, values)
    return made


def _numbers(cells: Any) -> Any:
    import pandas as pd

    numbers = pd.to_numeric(cells.where(cells != ""), errors="coerce")
    return numbers if numbers.notna().sum() == (cells != "").sum() > 0 else cells
