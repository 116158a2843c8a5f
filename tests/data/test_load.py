"""Data sets come in whole and typed, or are refused in one clear line."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dpaudit import Dataset
from dpaudit.data.inclusion import fair_coins
from dpaudit.data.load import ColumnRoles, from_parquet, load
from dpaudit.runtime.errors import InputError


@pytest.fixture
def table(tmp_path: Path) -> Any:
    """Six records of two features, two classes and three users, as CSV, Parquet and NPZ."""
    frame = pd.DataFrame(
        {"a": [0.0, 1, 2, 3, 4, 5], "b": [1, 1, 0, 0, 1, 1], "label": [0, 1, 0, 1, 0, 1], "who": list("xxyyzz")}
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    np.savez(tmp_path / "t.npz", features=frame[["a", "b"]], labels=frame["label"], users=frame["who"].to_numpy(str))
    return frame


# Arrays of an NPZ file have the names of what they are.
USERS = {"csv": "who", "parquet": "who", "npz": "users"}


def test_every_format_gives_the_same_records(table: pd.DataFrame, tmp_path: Path) -> None:
    """Features without the label and user columns, labels as whole numbers."""
    sets = [load(str(tmp_path / f"t.{suffix}"), user=user) for suffix, user in USERS.items()]
    for dataset in sets:
        np.testing.assert_array_equal(dataset.features, table[["a", "b"]])
        assert dataset.classes.tolist() == table["label"].tolist()
        assert dataset.users is not None
        assert dataset.users.tolist() == list("xxyyzz")
    assert len({dataset.fingerprint for dataset in sets}) == 1


def test_columns_to_slice_by_stay_features_when_they_are_numbers(table: pd.DataFrame, tmp_path: Path) -> None:
    """Words to slice by are no feature; numbers are both, so naming them changes nothing about the training."""
    for suffix in ("csv", "parquet"):
        dataset = load(str(tmp_path / f"t.{suffix}"), groups=["who", "b"])
        np.testing.assert_array_equal(dataset.features, table[["a", "b"]])
        assert dataset.groups["who"].tolist() == list("xxyyzz")
        assert dataset.groups["b"].tolist() == table["b"].tolist()
        part = dataset.take(np.array([1, 4])).take(np.array([1]))
        assert part.groups["who"].tolist() == ["z"]
        assert part.source_rows.tolist() == [4]
    assert load(str(tmp_path / "t.npz"), groups=["users"]).groups["users"].tolist() == list("xxyyzz")
    for source, message in {
        str(tmp_path / "t.csv"): "has no column 'wo'.*Did you mean 'who'",
        str(tmp_path / "t.npz"): "has no array 'wo'; it has features, labels, users",
        "digits": "digits has no column 'wo'; it has none",
    }.items():
        with pytest.raises(InputError, match=message):
            load(source, groups=["wo"])


def test_what_is_wrong_with_a_file_is_said(table: pd.DataFrame, tmp_path: Path) -> None:
    """Missing columns, words where numbers belong, float labels, gaps, other formats."""
    table.assign(a=table["who"]).to_csv(tmp_path / "words.csv", index=False)
    table.assign(label=table["label"] + 0.5).to_csv(tmp_path / "float.csv", index=False)
    table.assign(a=[np.nan, *table["a"][1:]]).to_csv(tmp_path / "gap.csv", index=False)
    table.assign(label=table["label"] - 1).to_csv(tmp_path / "negative.csv", index=False)
    table[["label"]].to_csv(tmp_path / "bare.csv", index=False)
    np.savez(tmp_path / "lengths.npz", features=np.zeros((3, 2)), labels=np.zeros(2, int))
    np.savez(tmp_path / "flat.npz", features=np.zeros(3), labels=np.zeros(3, int))
    np.savez(tmp_path / "names.npz", x=np.zeros((3, 2)), y=np.zeros(3, int))
    for name, message in {
        "t.csv": "features must be numbers",  # the user column was not named
        "words.csv": r"words\.csv: features must be numbers: 'a' holds words \(3 different\)",
        "float.csv": r"labels of float must be classes, got 0\.5; to predict numbers say task 'regression'",
        "gap.csv": "'a' lacks 1 of 6 values",
        "negative.csv": "labels of negative must be classes 0, got values from -1 to 0",
        "bare.csv": "no feature columns beside 'label'",
        "lengths.npz": "labels of lengths must have 3 values, got 2",
        "flat.npz": r"features of flat must have shape \(records, ...\), got \(3,\)",
        "names.npz": "no array 'features'; it has x, y",
        "missing.csv": "no such file",
        "t.txt": r"must end in \.csv, \.npz, \.parquet",
        "folder/t": r"must end in \.csv, \.npz, \.parquet",
    }.items():
        user = None if name == "t.csv" or name.endswith(".npz") else "who"
        with pytest.raises(InputError, match=message):
            load(str(tmp_path / name), user=user if name not in ("bare.csv",) else None)
    with pytest.raises(InputError, match="Did you mean 'label'"):
        load(str(tmp_path / "t.csv"), label="lable", user="who")
    with pytest.raises(InputError, match="Did you mean 'digits'"):
        load("digit")


def test_labels_outside_a_binary_task() -> None:
    """Class 2 of 2."""
    with pytest.raises(InputError, match="must be classes 0 to 1, got values from 0 to 2"):
        Dataset("d", np.zeros((3, 1), np.float32), np.array([0, 1, 2]), "binary")


def test_outputs_of_every_task() -> None:
    """What a model of each task returns for one record."""
    x = np.zeros((4, 2), np.float32)
    assert Dataset("d", x, np.array([0, 1, 2, 2])).outputs == 3
    assert Dataset("d", x, np.array([0, 1, 1, 0]), "binary").outputs == 1
    assert Dataset("d", x, np.zeros((4, 5)), "multilabel").outputs == 5
    assert Dataset("d", x, np.zeros(4), "regression").outputs == 1


def test_coins_are_fair_and_independent_of_the_number_of_records() -> None:
    """100,000 coins: the share of heads is within 5 standard deviations of a half (6e-7 by chance)."""
    coins = fair_coins(100_000, seed=1)
    assert abs(coins.mean() - 0.5) < 5 * 0.5 / np.sqrt(100_000)
    assert abs((coins[1:] == coins[:-1]).mean() - 0.5) < 5 * 0.5 / np.sqrt(100_000)
    np.testing.assert_array_equal(coins[:50], fair_coins(50, seed=1))


def test_the_fingerprint_sees_every_part() -> None:
    """Another pixel, label, user or task is another data set."""
    x, y = np.zeros((3, 2), np.float32), np.array([0, 1, 0])
    other = x.copy()
    other[2, 1] = 1e-3
    prints = {
        Dataset("d", x, y).fingerprint,
        Dataset("d", other, y).fingerprint,
        Dataset("d", x, np.array([0, 1, 1])).fingerprint,
        Dataset("d", x, y, "binary").fingerprint,
        Dataset("d", x, y, users=np.array(["a", "b", "a"])).fingerprint,
    }
    assert len(prints) == 5
    assert Dataset("renamed", x, y).fingerprint in prints


def test_parquet_in_batches_is_parquet_at_once(tmp_path):
    """A file of several row groups, read 3 rows at a time: the records that pandas reads."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(11, 2)), columns=["a", "b"])
    frame["label"], frame["who"], frame["c"] = rng.integers(2, size=11), list("aabbccddeef"), np.arange(11)[::-1]
    frame.index = pd.Index(range(5, 16), name="kept")
    path = tmp_path / "table.parquet"
    frame.to_parquet(path, row_group_size=4)
    found = from_parquet(path, "multiclass", ColumnRoles("label", "who"), batch=3)
    np.testing.assert_array_equal(found.features, frame[["a", "b", "c"]].to_numpy(np.float32))
    np.testing.assert_array_equal(found.labels, frame["label"])
    assert found.users is not None
    assert list(found.users) == list(frame["who"])


def test_float32_features_are_not_copied():
    """A data set of float32 takes no second copy, and still refuses what is not finite."""
    features = np.ones((4, 2), np.float32)
    data = Dataset("four", features, np.array([0, 1, 0, 1]))
    assert np.shares_memory(data.features, features)
    features[2, 1] = np.nan
    with pytest.raises(InputError, match=r"1 of 8 values are NaN or infinite, the first at index \(2, 1\)"):
        Dataset("four", features, np.array([0, 1, 0, 1]))
