"""Which format a file or a folder has, and the fingerprint of what it holds."""

import hashlib
from io import BufferedReader
from pathlib import Path

from dpaudit.data.formats.arrays import ArrayFile
from dpaudit.data.formats.hugging_face import ONE, SEVERAL, SavedDataset
from dpaudit.data.formats.image_folder import ImageFolder
from dpaudit.data.formats.json_lines import JsonLines
from dpaudit.data.formats.record_file import RecordFile
from dpaudit.data.formats.table import CsvTable, ParquetTable
from dpaudit.runtime.errors import InputError

READERS = {
    ".csv": CsvTable,
    ".parquet": ParquetTable,
    ".npz": ArrayFile,
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
}


def open_records(path: Path) -> RecordFile:
    """The records of a file or folder.

    Raises:
        InputError: it is missing, unreadable or of no known format, or it holds no records.
    """
    if path.is_dir():
        saved = (path / ONE).exists() or (path / SEVERAL).exists()
        records: RecordFile = SavedDataset.read(path) if saved else ImageFolder.read(path)
    elif path.suffix in READERS:
        records = READERS[path.suffix].read(path)  # type: ignore[attr-defined]  # a class method of each
    else:
        raise InputError(
            f"{path} must end in {', '.join(READERS)}, or be a folder of images or of a data set saved by the library "
            "datasets."
        )
    if len(records) == 0:
        raise InputError(f"{path} holds no records.")
    return records


def fingerprint_of(path: Path) -> str:
    """SHA-256 of a file; of a folder, of the paths and contents of all files in it but hidden ones.

    Raises:
        InputError: it is missing or unreadable.
    """
    try:
        if not path.is_dir():
            with path.open("rb") as stream:
                return _of_stream(stream)
        total = hashlib.sha256()
        for file in sorted(each for each in path.rglob("*") if each.is_file() and not each.name.startswith(".")):
            total.update(f"{file.relative_to(path).as_posix()}\0{fingerprint_of(file)}\0".encode())
        return total.hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}.") from error


def _of_stream(stream: BufferedReader) -> str:
    total = hashlib.sha256()
    while chunk := stream.read(1 << 20):
        total.update(chunk)
    return total.hexdigest()
