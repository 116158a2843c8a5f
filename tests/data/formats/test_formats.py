"""Files of records in every format: what is read is written again as it was, whatever is taken."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from dpaudit.data.formats.arrays import ArrayFile
from dpaudit.data.formats.hugging_face import SavedDataset
from dpaudit.data.formats.image_folder import ImageFolder
from dpaudit.data.formats.json_lines import JsonLines
from dpaudit.data.formats.opening import fingerprint_of, open_records
from dpaudit.data.formats.record_file import refuse_repeated, words_of
from dpaudit.data.formats.table import CsvTable, ParquetTable
from dpaudit.runtime.errors import InputError, MissingDependency

ROWS = np.array([2, 0])
needs_datasets = pytest.mark.skipif(find_spec("datasets") is None, reason="pip install datasets")


def write_csv(path: Path) -> Path:
    path = path / "d.csv"
    path.write_text('name,zip,x,label\n"a, b",007,1.10,NA\n"say ""hi""",,1e5,no\nç,0100,-0.0,yes\n')
    return path


def write_parquet(path: Path) -> Path:
    table = pa.table(
        {
            "n": pa.array([1, None, 3], pa.int32()),
            "when": pa.array([1, 2, 3], pa.timestamp("ms")),
            "list": [[1], [], [2, 3]],
            "label": pa.array(["a", "b", "a"]).dictionary_encode(),
        }
    )
    parquet.write_table(table, path / "d.parquet")
    return path / "d.parquet"


def write_npz(path: Path) -> Path:
    np.savez(path / "d.npz", features=np.arange(12, dtype=np.uint8).reshape(3, 2, 2), labels=[0, 1, 2], other=[1, 2])
    return path / "d.npz"


def write_lines(path: Path) -> Path:
    rows = [{"text": "é", "n": 2**70}, {"text": "b", "more": [1, None]}, {"text": "c", "n": 0.1}]
    (path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    return path / "d.jsonl"


def write_images(path: Path) -> Path:
    for at, (kind, mode) in enumerate([("cat", "L"), ("dog", "RGB"), ("dog/old", "P")]):
        (path / "d" / kind).mkdir(parents=True, exist_ok=True)
        Image.new(mode, (4 + at, 5)).save(path / "d" / kind / "1.png")
    (path / "d" / ".hidden").write_text("")
    return path / "d"


def write_saved(path: Path) -> Path:
    import datasets

    made = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 1, 0]})
    made.cast_column("label", datasets.ClassLabel(names=["no", "yes"])).save_to_disk(str(path / "saved"))
    return path / "saved"


FORMATS: list[tuple[Callable[[Path], Path], type]] = [
    (write_csv, CsvTable),
    (write_parquet, ParquetTable),
    (write_npz, ArrayFile),
    (write_lines, JsonLines),
    (write_images, ImageFolder),
]


@pytest.mark.parametrize(("make", "kind"), [*FORMATS, pytest.param(write_saved, SavedDataset, marks=needs_datasets)])
def test_what_is_written_is_what_was_read(make: Callable[[Path], Path], kind: type, tmp_path: Path) -> None:
    """All values of all columns, of all records and of some in another order, and of two parts put together."""
    records = open_records(make(tmp_path))
    assert type(records) is kind
    assert len(records) == 3
    names = [name for name in records.names if name != "features"]
    for number, (part, rows) in enumerate(
        [
            (records, [0, 1, 2]),
            (records.take(ROWS), [2, 0]),
            (records.take(np.array([1])).followed_by(records.take(ROWS)), [1, 2, 0]),
        ]
    ):
        to = tmp_path / f"again-{number}{records.suffix}"
        part.write(to)
        again = open_records(to)
        order = np.argsort([str(value) for value in again.values(names[0])])
        wanted = np.array(rows)[np.argsort([str(records.values(names[0])[row]) for row in rows])]
        for name in names:
            assert [str(again.values(name)[row]) for row in order] == [
                str(records.values(name)[row]) for row in wanted
            ], name


def test_cells_of_csv_stay_as_they_are_written(tmp_path: Path) -> None:
    """Zeros in front, decimals at the end, NA as a word, blanks: none is taken for a number or a gap."""
    records = open_records(write_csv(tmp_path))
    assert records.values("zip").tolist() == ["007", "", "0100"]
    assert records.values("x").tolist() == ["1.10", "1e5", "-0.0"]
    assert records.values("label").tolist() == ["NA", "no", "yes"]
    records.write(tmp_path / "again.csv")
    again = pd.read_csv(tmp_path / "again.csv", dtype=str, keep_default_na=False)
    assert again["name"].tolist() == ["a, b", 'say "hi"', "ç"]


def test_types_of_parquet_stay(tmp_path: Path) -> None:
    """Its schema is that of the source, with a column of ids in front."""
    records = open_records(write_parquet(tmp_path))
    made = records.with_values("dpaudit_id", np.array(["a", "b", "c"]))
    made.take(ROWS).write(tmp_path / "again.parquet")
    schema = parquet.read_schema(tmp_path / "again.parquet")
    assert schema.names == ["dpaudit_id", "n", "when", "list", "label"]
    assert [schema.field(name).type for name in schema.names[1:]] == list(
        parquet.read_schema(tmp_path / "d.parquet").types
    )


def test_arrays_that_are_no_records_go_along(tmp_path: Path) -> None:
    """An array of another length is in every part, whole; dtypes stay, and ids are an array of their own."""
    records = open_records(write_npz(tmp_path)).with_values("id", np.array(["a", "b", "c"]))
    records.take(ROWS).write(tmp_path / "again.npz")
    again = np.load(tmp_path / "again.npz")
    assert again["other"].tolist() == [1, 2]
    assert again["features"].dtype == np.uint8
    assert again["features"][0].tolist() == [[8, 9], [10, 11]]
    assert again["id"].tolist() == ["c", "a"]


def test_images_keep_their_bytes_and_their_paths(tmp_path: Path) -> None:
    """Files are copied, not encoded again; the first folder is the class, and pixels are read in three modes."""
    folder = write_images(tmp_path)
    records = open_records(folder)
    assert isinstance(records, ImageFolder)
    assert records.values("path").tolist() == ["cat/1.png", "dog/1.png", "dog/old/1.png"]
    assert records.values("class").tolist() == ["cat", "dog", "dog"]
    records.write(tmp_path / "again")
    for path in records.paths:
        assert (tmp_path / "again" / path).read_bytes() == (folder / path).read_bytes()
    assert [records.pixels(row).shape for row in range(3)] == [(5, 4), (5, 5, 3), (5, 6, 3)]
    moved = records.with_values("class", np.array(["dog", "dog", "cat"]))
    assert moved.paths == ["dog/1.png", "dog/1.png", "cat/old/1.png"]


def test_fingerprints(tmp_path: Path) -> None:
    """Equal contents have equal ones; another byte, another name of a file, or a file more changes them."""
    folder = write_images(tmp_path)
    before = fingerprint_of(folder)
    assert before == fingerprint_of(folder)
    (folder / "cat" / "1.png").rename(folder / "cat" / "2.png")
    renamed = fingerprint_of(folder)
    (folder / "cat" / "2.png").write_bytes(b"other")
    assert len({before, renamed, fingerprint_of(folder)}) == 3
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    assert fingerprint_of(empty).startswith("e3b0c44298fc1c149afbf4c8996fb924")  # FIPS 180-4, of nothing
    with pytest.raises(InputError, match="No such file"):
        fingerprint_of(tmp_path / "none")


def test_what_cannot_be_read_is_said_in_a_line(tmp_path: Path) -> None:
    """Formats that are none, empty files, broken lines, loose images, several splits."""
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\n[1]\n')
    (tmp_path / "worse.jsonl").write_text('{"a": 1}\n{"a": \n')
    (tmp_path / "head.csv").write_text("a,b\n")
    np.savez(tmp_path / "x.npz", x=np.zeros(3))
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "1.png").write_bytes(b"")
    (tmp_path / "none").mkdir()
    (tmp_path / "texts" / "a").mkdir(parents=True)
    (tmp_path / "texts" / "a" / "b.txt").write_text("")
    (tmp_path / "dict").mkdir()
    (tmp_path / "dict" / "dataset_dict.json").write_text("{}")
    (tmp_path / "dict" / "test").mkdir()
    for name, message in [
        ("a.txt", r"must end in \.csv, \.parquet"),
        ("bad.jsonl", "line 2: a record must be a JSON object"),
        ("worse.jsonl", "line 2: this is no JSON"),
        ("head.csv", "holds no records"),
        ("x.npz", "needs an array 'features' or 'labels'"),
        ("loose", r"'1\.png' lies in no folder of a class"),
        ("none", "is empty: a folder must be images"),
        ("texts", r"holds 'a/b\.txt': a folder must be images"),
        ("dict", r"several splits \(test\)"),
        ("gone.parquet", "no such file"),
        ("gone.jsonl", "No such file"),
    ]:
        with pytest.raises(InputError, match=message) as error:
            open_records(tmp_path / name)
        assert "\n" not in str(error.value)


def test_a_saved_data_set_needs_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the library datasets is missing, one line says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(MissingDependency, match=r"pip install 'dpaudit\[huggingface\]'"):
        open_records(tmp_path)


def test_ids_are_words(tmp_path: Path) -> None:
    """Of a number, however it is written; a gap and a repetition are refused with an example."""
    pd.DataFrame({"a": [1.0, 2.0, 2.0], "b": ["x", None, "y"]}).to_csv(tmp_path / "d.csv")
    records = open_records(tmp_path / "d.csv")
    assert words_of(records, "a", "the id").tolist() == ["1", "2", "2"]
    with pytest.raises(InputError, match=r"'2' \(2 times\)"):
        refuse_repeated(words_of(records, "a", "the id"), "d.csv")
    with pytest.raises(InputError, match="lacks 1 of 3 values, the first at row 1"):
        words_of(records, "b", "the id")
    with pytest.raises(InputError, match=r"no column 'aa'.*Did you mean 'a'"):
        words_of(records, "aa", "the id")
