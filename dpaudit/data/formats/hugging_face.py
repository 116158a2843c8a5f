"""A data set that the library ``datasets`` has saved (``save_to_disk``) as a file of records."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.runtime.check import IntArray
from dpaudit.runtime.errors import InputError, MissingDependency, one_line

ONE, SEVERAL = "state.json", "dataset_dict.json"  # what save_to_disk leaves in a folder


@dataclass(frozen=True)
class SavedDataset:
    """A ``datasets.Dataset``."""

    where: str
    dataset: Any
    kind: str = "Hugging Face data set"
    suffix: str = ""
    id_name: str = "dpaudit_id"
    label_name: str = "label"

    @classmethod
    def read(cls, folder: Path) -> "SavedDataset":
        """A saved data set.

        Raises:
            InputError: it holds several splits, or cannot be read.
            MissingDependency: the library is not installed.
        """
        if (folder / SEVERAL).exists():
            parts = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir()))
            raise InputError(f"{folder} holds several splits ({parts}): name the folder of one, such as its train.")
        datasets = _library()
        try:
            return cls(str(folder), datasets.load_from_disk(str(folder)))
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read {folder}: {one_line(error)}.") from error

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def names(self) -> list[str]:
        """The columns."""
        return list(self.dataset.column_names)

    def values(self, name: str) -> npt.NDArray[Any]:
        """A column."""
        found = np.empty(len(self.dataset), object)
        found[:] = list(self.dataset[name])
        return found

    def with_values(self, name: str, values: npt.NDArray[Any]) -> "SavedDataset":
        """The data set with a column set, in its type unless these are words of ids, or added."""
        plain = values.tolist()
        if name not in self.names:
            return replace(self, dataset=self.dataset.add_column(name, plain))
        features, order = self.dataset.features, self.names
        made = self.dataset.remove_columns(name).add_column(name, plain)
        made = made.select_columns(order)
        return replace(self, dataset=made if values.dtype.kind == "U" else made.cast(features))

    def take(self, rows: IntArray) -> "SavedDataset":
        """Some of the records."""
        return replace(self, dataset=self.dataset.select(rows))

    def followed_by(self, other: "SavedDataset") -> "SavedDataset":
        """Both, one after the other."""
        return replace(self, dataset=_library().concatenate_datasets([self.dataset, other.dataset]))

    def write(self, path: Path) -> None:
        """Save it to a folder."""
        try:
            self.dataset.save_to_disk(str(path))
        except OSError as error:
            shutil.rmtree(path, ignore_errors=True)
            raise InputError(f"cannot write {path}: {error}.") from error


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingDependency(
            "a data set saved by the library datasets needs it: pip install 'dpaudit[huggingface]'"
        ) from error
    datasets.disable_progress_bars()
    return datasets
