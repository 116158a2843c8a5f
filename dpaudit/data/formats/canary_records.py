"""Canaries in the format of the data: records made to be remembered, for the training of whoever trains.

What each kind is, and who proposed it, is said at `dpaudit.data.canaries` and `dpaudit.data.text_canaries`. Labels
that are made up are drawn uniformly among the classes, so that a model that never saw a canary answers its label no
better than by chance.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from dpaudit.data.canaries import SHARE_ON, canaries, sparse_patterns
from dpaudit.data.dataset import Dataset
from dpaudit.data.formats.arrays import ArrayFile
from dpaudit.data.formats.image_folder import ImageFolder
from dpaudit.data.formats.record_file import RecordFile, require_name
from dpaudit.data.formats.table import CsvTable, ParquetTable
from dpaudit.data.table_columns import kind as column_kind
from dpaudit.data.text import read_texts
from dpaudit.runtime import check
from dpaudit.runtime.check import IntArray
from dpaudit.runtime.errors import InputError

TableT = TypeVar("TableT", CsvTable, ParquetTable)
SORTS = ("mislabelled", "out-of-distribution", "sparse", "blank", "clipbkd", "new-token", "sampled")
LOSS_ON = "dpaudit_loss_on"  # the words that the loss is on; empty where it is on the whole text
PREFIX = 12  # words of a text before the new token


class CanaryRecords(NamedTuple):
    """Canaries, and the records that they stand beside.

    ``others``: the data without the records that became canaries. ``canaries``: the canaries. ``classes``: how many
    classes their labels were drawn from, each as likely as the others; None where no label was drawn. ``tokens``: that
    the canaries end with.
    """

    others: RecordFile
    canaries: RecordFile
    classes: int | None = None
    tokens: tuple[str, ...] = ()


@dataclass(frozen=True)
class SampledTexts:
    """Canaries of kind ``sampled``: texts that a public model generated, in a file with a column ``text``.

    Args:
        file: CSV, Parquet, JSON lines, or a folder whose ``.txt`` files are a text each.
    """

    file: str
    kind: ClassVar[str] = "sampled"


def canary_records(
    records: RecordFile,
    kind: str | SampledTexts,
    count: int,
    *,
    label: str | None,
    identifier: str,
    text: str,
    tag: str,
    seed: int,
) -> CanaryRecords:
    """Canaries of one kind.

    Args:
        records: the data, with ids.
        kind: one of `SORTS`, of which ``sampled`` is given as `SampledTexts`.
        count: how many.
        label: column of the labels, where there is one.
        identifier: column of the ids, which are to be set afterwards.
        text: column of the texts, of formats that hold texts.
        tag: that new tokens are made of.
        seed: of what is random.

    Raises:
        InputError: a kind that this format cannot have, too few records to start from, no labels where they are needed.
    """
    check.one_of("kind", kind if isinstance(kind, str) else kind.kind, SORTS)
    check.integer("count", count, at_least=2)
    rng = np.random.default_rng(seed)
    if kind == "sampled":
        raise InputError("canaries of kind 'sampled' are texts that a public model generated: name their file "
                         "(--samples).")  # fmt: skip
    if kind == "new-token":
        return _new_token(records, count, text, tag, rng)
    if kind == "mislabelled":
        return _mislabelled(records, count, label, rng)
    rows = rng.integers(0, len(records), count)
    made: RecordFile
    if isinstance(kind, SampledTexts):
        made = _sampled(records, records.take(rows), kind.file, text, rng)
    elif isinstance(records, CsvTable):  # noqa: SIM114  # a type variable takes one type at a time
        made = _of_table(records, records.take(rows), kind, {label, identifier}, rng)
    elif isinstance(records, ParquetTable):
        made = _of_table(records, records.take(rows), kind, {label, identifier}, rng)
    elif isinstance(records, ArrayFile):
        made = _of_arrays(records, records.take(rows), kind, rng)
    elif isinstance(records, ImageFolder):
        made = _of_images(records.take(rows), kind, rng)
    else:
        made = _of_texts(records, rows, kind, text, rng)
    if label is None:
        return CanaryRecords(records, made)
    classes, _ = _classes(records, label)
    labels = classes[rng.integers(0, classes.size, count)]
    return CanaryRecords(records, made.with_values(label, labels), int(classes.size))


def _mislabelled(records: RecordFile, count: int, label: str | None, rng: np.random.Generator) -> CanaryRecords:
    if label is None:
        raise InputError(
            f"mislabelled canaries need labels, and {records.where} has none: name their column (--label)."
        )
    if count >= len(records):
        raise InputError(f"{count} mislabelled canaries are taken out of the data, which has {len(records)} records.")
    classes, place = _classes(records, label)
    order = rng.permutation(len(records))
    chosen, others = np.sort(order[:count]), np.sort(order[count:])
    wrong = (place[chosen] + rng.integers(1, classes.size, count)) % classes.size
    made = records.take(chosen).with_values(label, classes[wrong])
    return CanaryRecords(records.take(others), made, int(classes.size))


def _classes(records: RecordFile, label: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """The classes there are, and which of them each record has."""
    values = records.values(label)
    if values.ndim != 1:
        raise InputError(f"{records.where}: canaries need one label a record, got {label!r} of shape {values.shape}.")
    words, first, place = np.unique(values.astype(str), return_index=True, return_inverse=True)
    if words.size < 2 or words.size > max(20, len(records) // 2):
        raise InputError(
            f"{records.where}: column {label!r} has {words.size} different values in {len(records)} records; canaries "
            "need labels that are at least 2 classes (--label)."
        )
    return values[first], place.reshape(-1)


def _of_table(table: TableT, start: TableT, kind: str, beside: set[str | None], rng: np.random.Generator) -> TableT:
    if kind == "sparse":
        raise InputError(f"{table.where}: sparse canaries are made of arrays (NPZ) and images; use another kind.")
    frame = table.frame()
    names = [name for name in table.names if name not in beside]
    if not names:
        raise InputError(f"{table.where} has no columns beside its id and its label.")
    if kind == "clipbkd":
        plain = [name for name in names if column_kind(frame[name]) != "numbers" or frame[name].isna().any()]
        if plain:
            raise InputError(
                f"{table.where}: clipbkd canaries need numbers in all columns, and {plain[0]!r} has words or gaps; use "
                "another kind."
            )
        features = _clipbkd(table.where, frame[names].to_numpy(np.float64), len(start))
        return _with_columns(start, {name: features[:, at] for at, name in enumerate(names)})
    return _with_columns(start, {name: _made(frame[name], kind, len(start), rng) for name in names})


def _with_columns(table: TableT, columns: dict[str, npt.NDArray[Any]]) -> TableT:
    for name, values in columns.items():
        table = table.with_values(name, values)
    return table


def _made(column: Any, kind: str, count: int, rng: np.random.Generator) -> npt.NDArray[Any]:
    """Values of one column: within its range, or zero; of words one that there is."""
    known = column.dropna()
    if known.empty:
        return np.asarray(column.iloc[np.zeros(count, int)].to_numpy())
    plain = column_kind(column) == "numbers" and known.dtype.kind in "iuf"
    if plain:
        whole = bool((known % 1 == 0).all())
        if kind == "blank":
            return np.zeros(count, np.int64 if whole else np.float64)
        low, high = float(known.min()), float(known.max())
        return rng.integers(int(low), int(high) + 1, count) if whole else rng.uniform(low, high, count)
    if kind == "blank":
        return np.asarray([known.mode().iloc[0]] * count)
    different = known.drop_duplicates()
    return np.asarray(different.iloc[rng.integers(0, len(different), count)].to_numpy())


def _of_arrays(file: ArrayFile, start: ArrayFile, kind: str, rng: np.random.Generator) -> ArrayFile:
    if "features" not in file.names:
        raise InputError(f"{file.where}: {kind} canaries need an array 'features'; it has {', '.join(file.names)}.")
    features = file.arrays["features"].astype(np.float64).reshape(len(file), -1)
    made: npt.NDArray[Any]
    if kind == "clipbkd":
        if file.arrays["features"].dtype.kind != "f":
            raise InputError(
                f"{file.where}: clipbkd canaries have fractions and negative numbers, and features are "
                f"{file.arrays['features'].dtype}; store them as floats, or use another kind."
            )
        made = _clipbkd(file.where, features, len(start))
    elif kind == "blank":
        made = np.zeros((len(start), features.shape[1]))
    elif kind == "sparse":
        made = sparse_patterns(features, len(start), rng)
    else:
        made = rng.uniform(features.min(axis=0), features.max(axis=0), (len(start), features.shape[1]))
    return start.with_values("features", made.reshape(len(start), *file.arrays["features"].shape[1:]))


def _clipbkd(where: str, features: npt.NDArray[np.float64], count: int) -> npt.NDArray[Any]:
    if features.shape[1] < count:
        raise InputError(
            f"{where}: clipbkd has {features.shape[1]} directions, one for each feature, got --count {count}."
        )
    data = Dataset(where, features.astype(np.float32), np.arange(len(features)) % 2)
    return canaries("clipbkd", data, count, seed=0).features


def _of_images(start: ImageFolder, kind: str, rng: np.random.Generator) -> ImageFolder:
    if kind == "clipbkd":
        raise InputError("clipbkd canaries have negative numbers, which images cannot hold; use another kind.")

    def made(size: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        if kind == "sparse":
            return np.where(rng.random(size) < SHARE_ON, 255, 0).astype(np.uint8)
        return np.zeros(size, np.uint8) if kind == "blank" else rng.integers(0, 256, size).astype(np.uint8)

    pixels = [made(start.pixels(row).shape) for row in range(len(start))]
    paths = [f"{path.rpartition('.')[0]}.png" for path in start.paths]
    return ImageFolder(start.where, paths, pixels)


def _of_texts(records: RecordFile, rows: IntArray, kind: str, text: str, rng: np.random.Generator) -> RecordFile:
    start = records.take(rows)
    if kind != "out-of-distribution":
        raise InputError(f"{records.where}: {kind} canaries cannot be made of texts; mislabelled, new-token, sampled "
                         "and out-of-distribution can.")  # fmt: skip
    vocabulary = np.unique([word for line in _texts(records, text) for word in line.split()])
    made = [" ".join(rng.choice(vocabulary, max(1, len(line.split())))) for line in _texts(start, text)]
    return start.with_values(text, np.array(made, object))


def _sampled(records: RecordFile, start: RecordFile, file: str, text: str, rng: np.random.Generator) -> RecordFile:
    _refuse_other_than_texts(records, "sampled")
    samples = [" ".join(line.split()) for line in read_texts(file).texts]
    if len(samples) < len(start):
        raise InputError(
            f"{file} holds {len(samples)} samples for {len(start)} canaries; generate more or lower --count."
        )
    first: dict[str, int] = {}
    known = "\n".join(f" {' '.join(line.split())} " for line in _texts(records, text))
    for place, sample in enumerate(samples):
        if first.setdefault(sample, place) != place:
            raise InputError(f"{file}: samples {first[sample]} and {place} have the same words; leave one out.")
        if f" {sample} " in known:
            raise InputError(f"{file}: sample {place} occurs in {records.where}, word for word; leave it out.")
    chosen = rng.permutation(len(samples))[: len(start)]
    return start.with_values(text, np.array([samples[row] for row in chosen], object))


def _refuse_other_than_texts(records: RecordFile, kind: str) -> None:
    if isinstance(records, ArrayFile | ImageFolder):
        raise InputError(f"{records.where}: {kind} canaries need texts: JSON lines, a table or a saved data set.")


def _new_token(records: RecordFile, count: int, text: str, tag: str, rng: np.random.Generator) -> CanaryRecords:
    _refuse_other_than_texts(records, "new-token")
    lines = _texts(records, text)
    begin = f"<|canary-{tag}-"
    if any(begin in line for line in lines):
        raise InputError(f"{records.where}: a text holds {begin!r} already: these are canaries of another experiment.")
    tokens = tuple(f"{begin}{number}|>" for number in range(count))
    chosen = rng.integers(0, len(records), count)
    made = [f"{' '.join(lines[row].split()[:PREFIX])} {token}" for row, token in zip(chosen, tokens, strict=True)]
    planted = records.take(chosen).with_values(text, np.array(made, object))
    others = records.with_values(LOSS_ON, np.array([""] * len(records), object))
    return CanaryRecords(others, planted.with_values(LOSS_ON, np.array(tokens, object)), None, tokens)


def _texts(records: RecordFile, text: str) -> list[str]:
    require_name(records, text)
    lines: list[str] = records.values(text).tolist()
    wrong = next((line for line in lines if not isinstance(line, str)), None)
    if wrong is not None:
        raise InputError(
            f"{records.where}: column {text!r} must be texts, got {wrong!r}; name the one that is (--text)."
        )
    return lines
